//! The host's side: a child for one handler, its pipes, its bounds, its end.
//!
//! One thread does it all and blocks: it feeds the handler, takes the answer and what the child complains of, each as far as the pipe
//! has room, until the answer is there, a bound is reached or the child has gone. However it ends the child is killed and reaped. On
//! Linux a child also ends with the thread that started it: it is this one, which waits.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::Signal;

use super::confinement::{Allowance, Confinement};
use super::job::{Answer, Job};
use super::protocol::{Incoming, Request, Unsound};
use super::worker::{Arguments, is_of_memory};
use super::{ChildCompiler, CompileLimits};
use crate::handler::load_error::LoadError;
use crate::units::printable;

/// What of a child's complaints is kept for the log. Past it the pipe is closed.
const MAX_COMPLAINT_BYTES: usize = 8 << 10;
/// How long a child that has closed its output may take to end by itself, so that it can be told how it did.
const ENDING: Duration = Duration::from_secs(2);

/// Has a child do it. `elapsed`: how much of its time has passed.
///
/// # Errors
/// The child's refusal, or ours of the child.
pub(super) fn run(
    compiler: &ChildCompiler,
    job: Job,
    handler: &[u8],
    elapsed: &dyn Fn() -> Duration,
) -> Result<Answer, LoadError> {
    let limits = &compiler.limits;
    if handler.len() > limits.max_component_bytes {
        return Err(LoadError::ComponentTooLarge { limit: limits.max_component_bytes });
    }
    let time = Time { limit: limits.timeout, elapsed };
    let mut running = Running::start(compiler)
        .map_err(|error| LoadError::CompilerUnavailable(format!("its process does not start: {error}")))?;
    let head = Request::head(job, limits.max_artefact_bytes, handler.len());
    let mut talk = Talk {
        outgoing: [head.as_slice(), handler],
        incoming: Incoming::new(limits.max_artefact_bytes),
        complaint: Vec::new(),
    };
    let ended = talk.run(&mut running.0, &time);
    let complaint = printable(talk.complaint.trim_ascii_end());
    let said = ended.and_then(|()| talk.incoming.finish(limits).map_err(TalkEnd::Unsound));
    let why = match said {
        Ok(Some((confinement, said))) => {
            warn_of(confinement, &complaint);
            return said;
        }
        Err(TalkEnd::Late) => return Err(LoadError::CompileTimeout { limit: limits.timeout }),
        Err(TalkEnd::Unsound(Unsound::TooLarge)) => {
            return Err(LoadError::ArtefactTooLarge { limit: limits.max_artefact_bytes });
        }
        Ok(None) => "it gave no answer".to_owned(),
        Err(TalkEnd::Unsound(Unsound::Malformed(why))) => format!("its answer cannot be: {why}"),
        Err(TalkEnd::Pipe(error)) => format!("its pipe broke: {error}"),
    };
    let status = running.wait_until(Instant::now() + ENDING);
    Err(failure(limits, &why, status, &complaint))
}

/// What to say of a child that gave no sound answer.
fn failure(limits: &CompileLimits, why: &str, status: Option<ExitStatus>, complaint: &str) -> LoadError {
    let signal = status.and_then(|status| status.signal());
    if signal == Some(Signal::XCPU.as_raw()) {
        return LoadError::CompileTimeout { limit: limits.timeout };
    }
    if is_of_memory(complaint) {
        return LoadError::CompileMemory { limit: limits.max_memory_bytes };
    }
    let how = match status {
        Some(status) => status.to_string(),
        None => "it did not end".into(),
    };
    tracing::warn!(why, how, complaint, "the compiler's process failed");
    let hint = if signal == Some(Signal::KILL.as_raw()) { "; has the system run out of memory?" } else { "" };
    LoadError::CompilerFailed(format!("the compiler failed: {why} ({how}){hint}"))
}

/// Once is enough: it is the same for every handler.
fn warn_of(confinement: Confinement, complaint: &str) {
    static WARNED: Once = Once::new();
    if confinement == Confinement::Bounded {
        WARNED.call_once(|| {
            tracing::warn!(
                why = complaint,
                "handlers are compiled in a process that this system does not confine"
            );
        });
    }
}

/// The child's whole environment. The limit counts what may be written to, touched or not: the program's allocator, mimalloc, must not
/// reserve gigabytes that way.
const ALLOCATOR_SETTINGS: [(&str, &str); 2] =
    [("MIMALLOC_ARENA_EAGER_COMMIT", "0"), ("MIMALLOC_PAGE_COMMIT_ON_DEMAND", "1")];

/// A child that does not outlive this value.
struct Running(Child);

impl Running {
    fn start(compiler: &ChildCompiler) -> io::Result<Self> {
        let limits = &compiler.limits;
        let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let arguments = Arguments {
            allowance: Allowance {
                memory_bytes: limits.max_memory_bytes as u64,
                // Of all processors for the whole time: nobody gets there while the host lives.
                cpu_seconds: limits.timeout.as_secs().saturating_add(1).saturating_mul(processors),
            },
            require_confinement: compiler.require_confinement,
        };
        let child = Command::new(&compiler.program)
            .arg0("waterspout")
            .args(&compiler.arguments)
            .args(arguments.to_words())
            .env_clear()
            .envs(ALLOCATOR_SETTINGS)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// How it ended; none if it has not until then.
    fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        let mut pause = Duration::from_micros(200);
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(pause),
                Ok(None) | Err(_) => return None,
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not there any more, or ended by this: reaped in either case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long a child may take.
struct Time<'a> {
    limit: Duration,
    elapsed: &'a dyn Fn() -> Duration,
}

impl Time<'_> {
    /// At least so long it may still take; nothing when its time is over.
    fn left(&self) -> Option<Duration> {
        /// Of a clock that goes more slowly than the system's.
        const AT_LEAST: Duration = Duration::from_millis(5);
        let left = self.limit.saturating_sub((self.elapsed)());
        (!left.is_zero()).then_some(left.max(AT_LEAST))
    }
}

/// What goes over the three pipes.
struct Talk<'a> {
    /// What is still to be sent: the request's head, and the handler.
    outgoing: [&'a [u8]; 2],
    incoming: Incoming,
    complaint: Vec<u8>,
}

/// Why a talk ended before the child had finished.
enum TalkEnd {
    Late,
    Unsound(Unsound),
    Pipe(io::Error),
}

impl From<io::Error> for TalkEnd {
    fn from(error: io::Error) -> Self {
        Self::Pipe(error)
    }
}

impl Talk<'_> {
    /// Until the child has closed its output, and with it what it complains of.
    fn run(&mut self, child: &mut Child, time: &Time<'_>) -> Result<(), TalkEnd> {
        let (mut input, mut output, mut errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let nonblocking = [
            input.as_ref().map(|pipe| ioctl_fionbio(pipe, true)),
            output.as_ref().map(|pipe| ioctl_fionbio(pipe, true)),
            errors.as_ref().map(|pipe| ioctl_fionbio(pipe, true)),
        ];
        for set in nonblocking.into_iter().flatten() {
            set.map_err(io::Error::from)?;
        }
        let mut buffer = vec![0; 64 << 10];
        while output.is_some() || errors.is_some() {
            let ready = wait(&input, &output, &errors, time)?;
            if ready.input && self.send(input.as_mut())? {
                input = None;
            }
            if ready.output {
                let incoming = &mut self.incoming;
                if receive(output.as_mut(), &mut buffer, |bytes| {
                    incoming.push(bytes).map_err(TalkEnd::Unsound)
                })? {
                    output = None;
                    // Nobody waits for the rest of a request.
                    input = None;
                }
            }
            if ready.errors {
                let complaint = &mut self.complaint;
                let ended = receive(errors.as_mut(), &mut buffer, |bytes| {
                    let room = MAX_COMPLAINT_BYTES - complaint.len();
                    complaint.extend(&bytes[..bytes.len().min(room)]);
                    Ok(())
                })?;
                if ended || self.complaint.len() == MAX_COMPLAINT_BYTES {
                    errors = None;
                }
            }
        }
        Ok(())
    }

    /// Sends what the pipe takes; whether no more is to be sent.
    fn send(&mut self, pipe: Option<&mut impl Write>) -> Result<bool, TalkEnd> {
        let Some(pipe) = pipe else { return Ok(true) };
        for part in &mut self.outgoing {
            while !part.is_empty() {
                match pipe.write(part) {
                    Ok(written) => *part = part.get(written..).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // It may have answered without reading to the end, or have ended: its output tells.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(true),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(true)
    }
}

/// Which pipes have something to do.
struct Ready {
    input: bool,
    output: bool,
    errors: bool,
}

fn wait(
    input: &Option<impl std::os::fd::AsFd>,
    output: &Option<impl std::os::fd::AsFd>,
    errors: &Option<impl std::os::fd::AsFd>,
    time: &Time<'_>,
) -> Result<Ready, TalkEnd> {
    let mut pipes = Vec::with_capacity(3);
    pipes.extend(input.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
    pipes.extend(output.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    pipes.extend(errors.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    loop {
        // A time-out that the system cannot express has no end.
        let left = Timespec::try_from(time.left().ok_or(TalkEnd::Late)?).ok();
        match poll(&mut pipes, left.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    // In the order in which they were put in, those that are there.
    let mut events = pipes.iter().map(|pipe| !pipe.revents().is_empty());
    let mut of = |is_there: bool| is_there && events.next().unwrap_or(false);
    Ok(Ready { input: of(input.is_some()), output: of(output.is_some()), errors: of(errors.is_some()) })
}

/// Takes one piece of what is there; whether it has ended.
fn receive(
    pipe: Option<&mut impl Read>,
    buffer: &mut [u8],
    take: impl FnOnce(&[u8]) -> Result<(), TalkEnd>,
) -> Result<bool, TalkEnd> {
    let Some(pipe) = pipe else { return Ok(true) };
    match pipe.read(buffer) {
        Ok(0) => Ok(true),
        Ok(length) => take(&buffer[..length]).map(|()| false),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rustix::process::{Pid, test_kill_process};

    use super::*;

    /// A shell in the compiler's place; `$0` is the first argument of a worker.
    fn shell(script: &str, limits: CompileLimits) -> ChildCompiler {
        ChildCompiler {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            limits,
            require_confinement: false,
        }
    }

    fn run(compiler: &ChildCompiler, job: Job, handler: &[u8]) -> Result<Answer, LoadError> {
        let began = Instant::now();
        super::run(compiler, job, handler, &|| began.elapsed())
    }

    fn said_of(script: &str, limits: CompileLimits) -> LoadError {
        run(&shell(script, limits), Job::Describe, b"handler").expect_err("no answer")
    }

    fn failed(script: &str) -> String {
        match said_of(script, CompileLimits::default()) {
            LoadError::CompilerFailed(why) => why,
            other => panic!("{script}: {other}"),
        }
    }

    /// A file that a script may write, gone with the test.
    struct Note(PathBuf);

    impl Note {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("waterspout-process-{}-{name}", std::process::id())))
        }

        fn read(&self) -> Vec<u8> {
            fs::read(&self.0).expect("the script has written it")
        }

        fn gone(&self, what: &str) {
            let pid: i32 = String::from_utf8(self.read()).expect("text").trim().parse().expect("a number");
            let pid = Pid::from_raw(pid).expect("a process");
            assert!(test_kill_process(pid).is_err(), "{what}: the child is still there");
        }
    }

    impl Drop for Note {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn garbage_silence_and_half_an_answer_are_a_failed_compiler() {
        assert!(failed("echo listening on ws://127.0.0.1:8888/websocket").contains("does not begin as one"));
        assert!(failed("cat >/dev/null").contains("gave no answer (exit status: 0)"));
        assert!(failed("exit 7").contains("gave no answer (exit status: 7)"));
        assert!(failed("printf WSPCANS1").contains("cut off"));
        assert!(failed("printf 'WSPCANS1\\002\\004\\001\\0\\0\\0\\0\\0\\0\\0'").contains("cut off"));
        assert!(
            failed("printf 'WSPCANS1\\002\\004\\0\\0\\0\\0\\0\\0\\0\\0 and more'").contains("after its end")
        );
    }

    #[test]
    fn a_sound_answer_counts_however_the_child_ends() {
        let core_module = "printf 'WSPCANS1\\002\\004\\0\\0\\0\\0\\0\\0\\0\\0'; kill -9 $$";
        assert!(matches!(said_of(core_module, CompileLimits::default()), LoadError::CoreModule));
    }

    #[test]
    fn a_child_that_a_signal_ends_is_told_with_the_signal() {
        assert!(failed("kill -SEGV $$").contains("signal: 11"));
        let why = failed("kill -KILL $$");
        assert!(why.contains("signal: 9") && why.contains("run out of memory"), "{why}");
    }

    #[test]
    fn a_child_that_does_not_answer_is_ended_and_reaped() {
        let note = Note::new("late");
        let limits = CompileLimits { timeout: Duration::from_millis(300), ..CompileLimits::default() };
        // `exec`: nobody is left to sleep on.
        let script = format!("echo $$ >{}; exec sleep 1000", note.0.display());
        let error = said_of(&script, limits);
        assert!(matches!(error, LoadError::CompileTimeout { .. }), "{error}");
        assert!(error.to_string().contains("longer than 300ms") && error.to_string().contains("`timeout`"));
        note.gone("late");
    }

    #[test]
    fn only_time_that_counts_ends_a_child() {
        let limits = CompileLimits { timeout: Duration::from_millis(100), ..CompileLimits::default() };
        let patient = shell("exec sleep 1000", limits);
        let asked = std::cell::Cell::new(0_u32);
        // It stands still, until it has been looked at a few times.
        let clock = || {
            asked.set(asked.get() + 1);
            if asked.get() < 4 { Duration::from_millis(90) } else { Duration::from_millis(100) }
        };
        let error = super::run(&patient, Job::Describe, b"handler", &clock).expect_err("no answer");
        assert!(matches!(error, LoadError::CompileTimeout { .. }), "{error}");
        assert_eq!(asked.get(), 4);
    }

    #[test]
    fn a_child_that_floods_is_ended_and_reaped() {
        for (name, script) in [
            ("output", "exec cat /dev/zero"),
            // An endless artefact, and one that says beforehand how large it is.
            ("artefact", "printf 'WSPCANS1\\002\\000\\0\\001\\0\\0\\0\\0\\0\\0'; exec cat /dev/zero"),
            ("announced", "printf 'WSPCANS1\\002\\000\\0\\0\\0\\0\\001\\0\\0\\0'; exec sleep 1000"),
        ] {
            let note = Note::new(name);
            let script = format!("echo $$ >{}; {script}", note.0.display());
            let error = said_of(&script, CompileLimits::default());
            match name {
                "announced" => assert!(matches!(error, LoadError::ArtefactTooLarge { .. }), "{error}"),
                _ => assert!(matches!(error, LoadError::CompilerFailed(_)), "{error}"),
            }
            note.gone(name);
        }
    }

    #[test]
    fn complaints_without_end_are_not_read_to_the_end() {
        // The pipe is closed in front of it, which ends it: else it would be the time-out.
        let error = said_of("exec cat /dev/zero >&2", CompileLimits::default());
        assert!(
            matches!(&error, LoadError::CompilerFailed(why) if why.contains("gave no answer")),
            "{error}"
        );
    }

    #[test]
    fn what_is_said_of_memory_is_a_refusal_that_names_the_key() {
        for complaint in ["memory allocation of 8 bytes failed", "Cannot allocate memory (os error 12)"] {
            let error = said_of(&format!("echo '{complaint}' >&2; kill -ABRT $$"), CompileLimits::default());
            assert!(matches!(error, LoadError::CompileMemory { .. }), "{error}");
            assert!(error.to_string().contains("`max-memory-bytes` of `[compile]`"), "{error}");
        }
    }

    #[test]
    fn a_handler_is_taken_at_its_largest_and_refused_a_byte_past_it_before_a_child_is_started() {
        let limits = CompileLimits { max_component_bytes: 7, ..CompileLimits::default() };
        assert!(matches!(said_of("exit 1", limits.clone()), LoadError::CompilerFailed(_)));
        let limits = CompileLimits { max_component_bytes: 6, ..limits };
        let nobody = ChildCompiler { program: "/no/such/program".into(), ..shell("", limits) };
        let error = run(&nobody, Job::Describe, b"handler").expect_err("too large");
        assert!(matches!(error, LoadError::ComponentTooLarge { limit: 6 }), "{error}");
    }

    #[test]
    fn a_program_that_does_not_start_is_told() {
        let nobody =
            ChildCompiler { program: "/no/such/program".into(), ..shell("", CompileLimits::default()) };
        let error = run(&nobody, Job::Describe, b"handler").expect_err("no program");
        assert!(matches!(error, LoadError::CompilerUnavailable(_)), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_child_gets_the_allocators_settings_and_nothing_else_of_ours() {
        let (environment, descriptors) = (Note::new("environment"), Note::new("descriptors"));
        let _ours = fs::File::open("/proc/self/exe").expect("a file that is open while the child runs");
        let script = format!(
            "cat /proc/$$/environ >{}; ls -l /proc/$$/fd >{}",
            environment.0.display(),
            descriptors.0.display()
        );
        // Not exported: it is the shell's alone.
        failed(&format!("PATH=/usr/bin:/bin; {script}"));
        let settings: String =
            ALLOCATOR_SETTINGS.iter().map(|(name, value)| format!("{name}={value}\0")).collect();
        assert_eq!(String::from_utf8_lossy(&environment.read()), settings);
        let listed = String::from_utf8(descriptors.read()).expect("text");
        assert!(
            !listed.contains(&std::env::current_exe().expect("a file").display().to_string()),
            "{listed}"
        );
    }

    #[test]
    fn a_large_handler_goes_through_a_pipe_that_is_read_slowly() {
        let handler = vec![b'x'; 3 << 20];
        // Counts what comes, all of it: 26 bytes of head before the handler.
        let script = "PATH=/usr/bin:/bin; test $(cat | wc -c) -eq 3145754 && printf 'WSPCANS1\\002\\004\\0\\0\\0\\0\\0\\0\\0\\0'";
        let error =
            run(&shell(script, CompileLimits::default()), Job::Describe, &handler).expect_err("a refusal");
        assert!(matches!(error, LoadError::CoreModule), "{error}");
    }
}
