//! Linux: the process keeps the system calls of a computation that talks to its parent, and no others: whatever else it calls is
//! answered with EPERM. So it opens no file and no socket, starts no program, signals and traces nobody, and shares no memory.
//!
//! The list is one of what is allowed: what a later kernel adds is denied. A descriptor that the process has inherited by mistake is of
//! no use: it may read only standard input, write only standard output and error, and map nothing.

use rustix::process::{
    DumpableBehavior, Signal, getpid, set_dumpable_behavior, set_parent_process_death_signal,
};
use rustix::thread::set_no_new_privs;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// Allowed whatever their arguments.
const FREE: [i64; 29] = [
    // Memory; `mmap` is below.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads; `clone` is below. `clone3` is denied elsewhere, so that the C library takes `clone`.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Signals of its own, for a panic and its end.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and chance.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Nothing can be opened in its place.
    libc::SYS_close,
];

/// Gives up all others. For the calling thread, and those that it starts.
///
/// # Errors
/// The kernel, or something around this process, does not allow it. What was done before stays.
pub(super) fn give_up() -> Result<(), String> {
    let told = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    // A parent that has gone before this leaves an empty pipe, which ends this process too.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(told("PR_SET_PDEATHSIG"))?;
    // Others of the same user do not look into it, which has a stranger's bytes and maybe his code.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(told("PR_SET_DUMPABLE"))?;
    set_no_new_privs(true).map_err(told("PR_SET_NO_NEW_PRIVS"))?;
    for filter in filters().map_err(|error| format!("seccomp: {error}"))? {
        apply_filter(&filter).map_err(|error| format!("seccomp: {error}"))?;
    }
    Ok(())
}

/// In the order in which they go in: of two that deny, the later one's error counts, of one that denies and one that allows, the denial.
fn filters() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let of_this_machine = std::env::consts::ARCH.try_into()?;
    let no_clone3 = SeccompFilter::new(
        [(libc::SYS_clone3, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
        of_this_machine,
    )?;
    let only_computing = SeccompFilter::new(
        FREE.into_iter().map(|call| (call, Vec::new())).chain(bounded()?).collect(),
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        of_this_machine,
    )?;
    Ok([no_clone3.try_into()?, only_computing.try_into()?])
}

/// Allowed with some arguments.
fn bounded() -> Result<[(i64, Vec<SeccompRule>); 6], seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq};
    let when = |argument, length, operator, value| {
        SeccompRule::new(vec![SeccompCondition::new(argument, length, operator, value)?])
    };
    let descriptor = |number: u64| when(0, Dword, Eq, number);
    // Private memory without a file, and no stack that grows by itself: all of that counts against RLIMIT_DATA.
    let kinds = (libc::MAP_TYPE | libc::MAP_ANONYMOUS | libc::MAP_GROWSDOWN) as u64;
    let private_memory = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let thread = libc::CLONE_THREAD as u64;
    let itself = getpid().as_raw_nonzero().get() as u64;
    Ok([
        (libc::SYS_read, vec![descriptor(0)?]),
        (libc::SYS_write, vec![descriptor(1)?, descriptor(2)?]),
        (libc::SYS_writev, vec![descriptor(1)?, descriptor(2)?]),
        (libc::SYS_mmap, vec![when(3, Qword, MaskedEq(kinds), private_memory)?]),
        // A thread, not a process; the flags are the first argument where seccompiler knows the machine.
        (libc::SYS_clone, vec![when(0, Qword, MaskedEq(thread), thread)?]),
        (libc::SYS_tgkill, vec![when(0, Dword, Eq, itself)?]),
    ])
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::compiler::confinement::{Allowance, Confinement, confine};

    /// Set in a process that confines itself: its filter would be the whole test binary's otherwise.
    const CONFINED: &str = "WATERSPOUT_TEST_CONFINED";

    /// Runs `test` in a process of its own: the test of this name, started again.
    fn alone(name: &str, test: impl FnOnce()) {
        if std::env::var_os(CONFINED).is_some() {
            return test();
        }
        let output = Command::new(std::env::current_exe().expect("a test is a file"))
            .args([
                "--exact",
                &format!("compiler::system_calls::tests::{name}"),
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CONFINED, "yes")
            .stdin(Stdio::null())
            .output()
            .expect("the test starts again");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    const ALLOWANCE: Allowance = Allowance { memory_bytes: 256 << 20, cpu_seconds: 60 };

    #[test]
    fn a_confined_process_computes_and_reaches_nothing() {
        alone("a_confined_process_computes_and_reaches_nothing", try_everything);
    }

    #[test]
    fn where_the_filter_is_not_allowed_the_process_is_bounded_and_says_why() {
        alone("where_the_filter_is_not_allowed_the_process_is_bounded_and_says_why", || {
            // As a container may do.
            let no_filters = SeccompFilter::new(
                [(libc::SYS_seccomp, Vec::new())].into(),
                SeccompAction::Allow,
                SeccompAction::Errno(libc::EPERM as u32),
                std::env::consts::ARCH.try_into().expect("a known machine"),
            );
            let no_filters: BpfProgram = no_filters.and_then(TryInto::try_into).expect("a filter");
            apply_filter(&no_filters).expect("allowed here");
            let (confinement, why) = confine(ALLOWANCE);
            assert_eq!(confinement, Confinement::Bounded);
            assert!(why.as_deref().is_some_and(|why| why.contains("seccomp")), "{why:?}");
            // The bounds are there.
            assert!(Vec::<u8>::new().try_reserve_exact(300 << 20).is_err());
        });
    }

    fn try_everything() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("not confined yet");
        let mut file = std::fs::File::open("/proc/self/exe").expect("not confined yet");
        let (mut piped, mut pipe) = std::io::pipe().expect("not confined yet");
        let (confinement, why) = confine(ALLOWANCE);
        assert_eq!((confinement, why), (Confinement::Full, None));

        let denied = |what: &str, error: Option<std::io::Error>| {
            let error = error.unwrap_or_else(|| panic!("{what} is possible"));
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
        };
        denied("opening a file", std::fs::File::open("/etc/passwd").err());
        denied("making a file", std::fs::File::create("/tmp/waterspout-confined").err());
        denied("listing a folder", std::fs::read_dir("/").err());
        denied("removing a file", std::fs::remove_file("/tmp/no-such-file").err());
        denied("listening", std::net::TcpListener::bind("127.0.0.1:0").err());
        denied("connecting", std::net::TcpStream::connect("127.0.0.1:9").err());
        denied("sending a datagram", std::net::UdpSocket::bind("127.0.0.1:0").err());
        denied("a Unix socket", std::os::unix::net::UnixStream::connect("/tmp/no-such-socket").err());
        denied("a pair of sockets", std::os::unix::net::UnixStream::pair().err());
        denied("accepting on a socket that it has", listener.accept().err());
        denied("reading a file that it has", file.read(&mut [0; 4]).err());
        denied("writing to a pipe that it has", pipe.write(b"x").err());
        denied("reading a pipe that it has", piped.read(&mut [0; 4]).err());
        denied("starting a program", Command::new("/bin/true").spawn().err());

        // What a compiler does.
        let sum: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| scope.spawn(move || vec![thread; 1 << 20].into_iter().sum::<usize>()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
        });
        assert_eq!(sum, (1 + 2 + 3) << 20);
        assert!(std::panic::catch_unwind(|| panic!("a panic")).is_err());
        // Past its memory it is refused, not ended.
        assert!(Vec::<u8>::new().try_reserve_exact(300 << 20).is_err());
    }
}
