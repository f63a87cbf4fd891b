//! A program that confines itself with `waterspout::sandbox`, and then tries what it is told to: how the library's sandbox is used
//! without the server, and how to see what it forbids.
//!
//! ```console
//! $ confine read=/usr/share connect=443 -- read=/etc/hostname connect=127.0.0.1:80
//! read=/etc/hostname: permission denied
//! connect=127.0.0.1:80: permission denied
//! ```
//!
//! Before `--` is what may be done: `read=PATH`, `renewed=PATH`, `keep=PATH`, `sockets=PATH`, `execute=PATH`, `connect=PORT`,
//! `bind=PORT`, and `user=NAME`, whom root has to become. After it is what is tried: `read=PATH`, `list=PATH`, `write=PATH`,
//! `remove=PATH`, `execute=PATH`, `connect=ADDRESS`, `bind=ADDRESS`, `listen=PATH` (a Unix socket), `abstract=NAME` (another kind of
//! Unix socket), `signal=PID`, `thread`.

use std::io;
use std::process::{Command, ExitCode, Stdio};

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;

use waterspout::sandbox::{Grant, Right, Sandbox, SandboxError, User};

fn main() -> ExitCode {
    if std::env::args().len() <= 1 {
        // Executed by itself, to see whether that can be done.
        return ExitCode::SUCCESS;
    }
    let mut arguments = std::env::args().skip(1);
    let granted: Vec<String> = arguments.by_ref().take_while(|argument| argument != "--").collect();
    match confine(&granted) {
        Ok(()) => {}
        Err(error) => {
            eprintln!("confine: {error}");
            return ExitCode::FAILURE;
        }
    }
    for attempt in arguments {
        match attempt_at(&attempt) {
            Ok(()) => println!("{attempt}: done"),
            Err(error) => println!("{attempt}: {}", error.kind()),
        }
    }
    ExitCode::SUCCESS
}

fn confine(granted: &[String]) -> Result<(), SandboxError> {
    let mut sandbox = Sandbox::of_process();
    let mut user = None;
    for grant in granted {
        let (what, value) = grant.split_once('=').unwrap_or((grant, ""));
        let right = match what {
            "user" => {
                user = Some(value);
                continue;
            }
            "connect" => {
                sandbox.connect.extend(value.parse::<u16>());
                continue;
            }
            "bind" => {
                sandbox.bind.extend(value.parse::<u16>());
                continue;
            }
            "renewed" => Right::ReadRenewed,
            "keep" => Right::Keep,
            "sockets" => Right::Sockets,
            "execute" => Right::Execute,
            _ => Right::Read,
        };
        sandbox.grants.push(Grant { path: value.into(), right });
    }
    let user = User::to_become(user)?;
    sandbox.apply(user.as_ref())?;
    Ok(())
}

fn attempt_at(attempt: &str) -> io::Result<()> {
    let (what, value) = attempt.split_once('=').unwrap_or((attempt, ""));
    match what {
        "read" => std::fs::read(value).map(drop),
        "list" => std::fs::read_dir(value).map(drop),
        "write" => std::fs::write(value, "written"),
        "remove" => std::fs::remove_file(value),
        "execute" => match Command::new(value).stdout(Stdio::null()).status()?.success() {
            true => Ok(()),
            false => Err(io::ErrorKind::Other.into()),
        },
        "connect" => std::net::TcpStream::connect(value).map(drop),
        "bind" => std::net::TcpListener::bind(value).map(drop),
        "listen" => std::os::unix::net::UnixListener::bind(value).map(drop),
        "abstract" => connect_abstract(value),
        "signal" => signal(value),
        "thread" => std::thread::spawn(|| std::fs::read("/etc/passwd")).join().expect("no panic").map(drop),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(target_os = "linux")]
fn connect_abstract(name: &str) -> io::Result<()> {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    std::os::unix::net::UnixStream::connect_addr(&address).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn connect_abstract(_name: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the process could be sent a signal; none is sent.
fn signal(pid: &str) -> io::Result<()> {
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::test_kill_process(pid)?)
}
