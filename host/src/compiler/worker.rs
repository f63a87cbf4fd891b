//! The child's side: confine, read, compile, answer, end.

use std::ffi::OsString;
use std::io::{stdin, stdout};
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use super::confinement::{Allowance, Confinement, confine};
use super::job::{Answer, Job};
use super::protocol::{Request, Said, write_answer};
use crate::handler::load_error::LoadError;

/// The hidden command of the `waterspout` program under which it is a compiler.
pub const WORKER_COMMAND: &str = "compile-worker";

/// What the host says after the command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) allowance: Allowance,
    pub(super) require_confinement: bool,
}

impl Arguments {
    pub(super) fn to_words(&self) -> [OsString; 3] {
        let Allowance { memory_bytes, cpu_seconds } = self.allowance;
        let confinement = if self.require_confinement { REQUIRED } else { WHERE_POSSIBLE };
        [memory_bytes.to_string().into(), cpu_seconds.to_string().into(), confinement.into()]
    }

    fn from_words(words: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut words = words.into_iter().map(|word| word.into_string().ok());
        let memory_bytes = words.next()??.parse().ok()?;
        let cpu_seconds = words.next()??.parse().ok()?;
        let require_confinement = match words.next()??.as_str() {
            REQUIRED => true,
            WHERE_POSSIBLE => false,
            _ => return None,
        };
        let allowance = Allowance { memory_bytes, cpu_seconds };
        words.next().is_none().then_some(Self { allowance, require_confinement })
    }
}

const REQUIRED: &str = "confined";
const WHERE_POSSIBLE: &str = "confined-where-possible";

/// The whole life of a compiler's process: reads a handler from standard input, writes code or a refusal to standard output. Call it
/// first of all, before there are threads, when the program's arguments are those of its [`ChildCompiler`](super::ChildCompiler);
/// `arguments` are what follows them. Only a host starts it; a person who does is told so.
pub fn worker_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(arguments) = Arguments::from_words(arguments) else {
        eprint("this command is for the host's own use: it compiles one handler for `serve` and `check`");
        return ExitCode::from(1);
    };
    leave_signals_to_the_host();
    // Text for a person was ready before; from here on nothing can be opened.
    let (confinement, why) = confine(arguments.allowance);
    if let Some(why) = &why {
        eprint(why);
    }
    let said = match (confinement, arguments.require_confinement) {
        (Confinement::Bounded, true) => Err(LoadError::CompilerUnavailable(format!(
            "the compiler cannot be confined: {}",
            why.unwrap_or_default()
        ))),
        _ => match Request::read(&mut stdin().lock()) {
            Ok(request) => answer(request, arguments.allowance),
            // The host is gone.
            Err(error) => {
                eprint(&error.to_string());
                return ExitCode::from(1);
            }
        },
    };
    match write_answer(&mut stdout().lock(), confinement, &said) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}

/// Who signals every process of this program, by its name or by its service, asks the servers to read their files again, or to be replaced.
/// A compiler has nothing to do with that, and would be ended by it. For the calling thread, and those that it starts.
fn leave_signals_to_the_host() {
    let of_servers: SigSet = [Signal::SIGHUP, Signal::SIGUSR2].into_iter().collect();
    // Where it is denied, they end this process as the system has it.
    let _ = of_servers.thread_block();
}

fn answer(request: Request, allowance: Allowance) -> Said {
    if let Job::Compile(_) = request.job {
        start_threads(allowance)?;
    }
    match request.job.run(&request.handler) {
        Ok(Answer::Compiled(compiled)) if compiled.artefact().len() > request.max_artefact_bytes => {
            Err(LoadError::ArtefactTooLarge { limit: request.max_artefact_bytes })
        }
        Err(LoadError::Compile(why)) if is_of_memory(&why) => Err(of_memory(allowance)),
        said => said,
    }
}

fn of_memory(allowance: Allowance) -> LoadError {
    LoadError::CompileMemory { limit: usize::try_from(allowance.memory_bytes).unwrap_or(usize::MAX) }
}

/// What a thread of the compiler may put on its stack. Rust's default.
const STACK_BYTES: usize = 2 << 20;

/// The threads on which wasmtime compiles, one for each processor.
///
/// # Errors
/// There is no memory for their stacks, or no room for them among the tasks of the user or the control group. The system says the same of
/// both (`pthread_create(3)`: EAGAIN).
fn start_threads(allowance: Allowance) -> Result<(), LoadError> {
    let Err(error) = rayon::ThreadPoolBuilder::new().stack_size(STACK_BYTES).build_global() else {
        return Ok(());
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    if Vec::<u8>::new().try_reserve_exact(threads.saturating_mul(STACK_BYTES)).is_err() {
        return Err(of_memory(allowance));
    }
    Err(LoadError::CompilerUnavailable(format!(
        "the compiler cannot start {threads} threads ({error}): there may be too many tasks of this user or control group: raise `ulimit -u`, \
         `TasksMax=` or `pids.max`"
    )))
}

/// Whether it was memory that a compiler lacked, by what it said: an error of the system, or of an allocation that failed.
pub(super) fn is_of_memory(said: &str) -> bool {
    ["os error 12", "Cannot allocate memory", "memory allocation of", "out of memory"]
        .iter()
        .any(|mark| said.contains(mark))
}

/// For the host's log. Whoever closed the pipe does not want it.
fn eprint(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_arrive_as_they_were_given() {
        for require_confinement in [true, false] {
            let arguments = Arguments {
                allowance: Allowance { memory_bytes: 1 << 31, cpu_seconds: 120 },
                require_confinement,
            };
            assert_eq!(Arguments::from_words(arguments.to_words()), Some(arguments));
        }
        for words in
            [&[][..], &["1", "2"], &["1", "x", REQUIRED], &["1", "2", REQUIRED, "3"], &["1", "2", "maybe"]]
        {
            assert_eq!(Arguments::from_words(words.iter().map(OsString::from)), None, "{words:?}");
        }
    }
}
