//! The sandbox: what a confined process can and cannot do, and that a confined server does everything that it does otherwise. Where
//! the tests run as root, the process becomes `nobody`; else it stays who it is.

mod compiler;
mod takeover;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::Message;

use crate::support::tls::{get_over_tls, renew};
use crate::support::{Ended, Folder, Program, client, echoes, get, handlers, run};

/// Its number on every system that has this name.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder whose files anybody may read and write, so that nothing but the sandbox forbids it; none, aloud, where a user without
/// privileges cannot get there.
fn open_folder() -> Option<Folder> {
    let folder = Folder::new();
    let path = folder.path(".");
    let closed = path.ancestors().skip(1).find(|folder| {
        is_root() && fs::metadata(folder).is_ok_and(|folder| folder.permissions().mode() & 0o001 == 0)
    });
    if let Some(closed) = closed {
        eprintln!("skipped: {} is closed to `nobody`", closed.display());
        return None;
    }
    open(&path);
    Some(folder)
}

fn open(path: &Path) {
    let mode = if path.is_dir() { 0o777 } else { 0o666 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

fn make_open(folder: &Folder, name: &str) -> PathBuf {
    let path = folder.path(name);
    fs::create_dir_all(&path).expect("ours");
    open(&path);
    path
}

/// `serve --sandbox` and this.
fn serve<const N: usize>(folder: &Folder, arguments: [&str; N]) -> Command {
    let mut command = folder.command();
    command.args(["serve", "--sandbox"]).args(arguments);
    if is_root() {
        command.args(["--user", "nobody"]);
    }
    command
}

// What a confined process can do.

/// What the example `confine` says of each attempt, when so much is granted.
fn confined(folder: &Folder, granted: &[String], attempts: &[String]) -> Vec<String> {
    let mut command = folder.example("confine");
    if is_root() {
        command.arg("user=nobody");
    }
    let Ended { code, stdout, stderr } = run(command.args(granted).arg("--").args(attempts));
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let said = stdout.lines().zip(attempts);
    said.map(|(line, attempt)| line.strip_prefix(&format!("{attempt}: ")).expect(attempt).to_owned())
        .collect()
}

const REFUSED: &str = "permission denied";

#[test]
fn a_confined_process_reads_and_writes_what_is_granted_and_nothing_else() {
    let Some(folder) = open_folder() else { return };
    let [read, keep, other] = ["read", "keep", "other"].map(|name| make_open(&folder, name));
    for path in [&read, &keep, &other] {
        open(&folder.write(&format!("{}/file", path.file_name().expect("named").display()), "old"));
    }
    let (read, keep, other) = (read.display(), keep.display(), other.display());
    let granted = [format!("read={read}"), format!("keep={keep}")];
    let attempts = [
        (format!("read={read}/file"), "done"),
        (format!("list={read}"), "done"),
        (format!("write={read}/file"), REFUSED),
        (format!("write={read}/new"), REFUSED),
        (format!("remove={read}/file"), REFUSED),
        (format!("listen={keep}/socket"), REFUSED),
        (format!("read={keep}/file"), "done"),
        (format!("write={keep}/file"), "done"),
        (format!("write={keep}/new"), "done"),
        (format!("remove={keep}/new"), "done"),
        (format!("read={other}/file"), REFUSED),
        (format!("list={other}"), REFUSED),
        (format!("write={other}/file"), REFUSED),
        ("read=/etc/passwd".into(), REFUSED),
        ("thread".into(), REFUSED),
        ("list=/".into(), REFUSED),
        // Of another process, whose user is the same where the tests are not root's.
        (format!("read=/proc/{}/environ", std::process::id()), REFUSED),
    ];
    let (attempts, expected): (Vec<_>, Vec<_>) = attempts.into_iter().unzip();
    assert_eq!(confined(&folder, &granted, &attempts), expected, "{attempts:#?}");
}

#[test]
fn a_confined_process_executes_its_own_program_and_no_other() {
    let folder = Folder::new();
    let attempts = ["execute=/proc/self/exe", "execute=/bin/true"].map(str::to_owned);
    assert_eq!(confined(&folder, &[], &attempts), ["done", REFUSED]);
    assert_eq!(confined(&folder, &["read=/bin/true".into()], &attempts), ["done", REFUSED]);
    assert_eq!(confined(&folder, &["execute=/bin/true".into()], &attempts), ["done", "done"]);
}

#[test]
fn a_confined_process_uses_the_ports_that_are_granted_and_no_others() {
    let folder = Folder::new();
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    let [one, other] = listeners.each_ref().map(|listener| listener.local_addr().expect("bound"));
    let attempts = [format!("connect={one}"), format!("connect={other}"), "bind=127.0.0.1:0".into()];
    assert_eq!(confined(&folder, &[], &attempts), [REFUSED; 3]);
    let granted = [format!("connect={}", one.port()), "bind=0".into()];
    assert_eq!(confined(&folder, &granted, &attempts), ["done", REFUSED, "done"]);
}

#[test]
fn a_confined_process_reaches_no_other_by_signal_or_abstract_socket() {
    let folder = Folder::new();
    let name = format!("waterspout-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("a free name");
    // It reads until its stdin ends; the same user's, so that only the sandbox is between them.
    let mut other = Command::new("cat");
    other.stdin(Stdio::piped()).stdout(Stdio::null());
    if is_root() {
        other.uid(NOBODY);
    }
    let mut other = other.spawn().expect("every system has it");
    let said = confined(&folder, &[], &[format!("abstract={name}"), format!("signal={}", other.id())]);
    drop(other.stdin.take());
    other.wait().expect("our own child");
    assert_eq!(said, [REFUSED; 2]);
}

#[test]
fn a_file_that_is_renewed_opens_its_folder_and_those_that_its_links_lead_to() {
    let Some(folder) = open_folder() else { return };
    for name in ["live", "archive", "other"] {
        make_open(&folder, name);
        open(&folder.write(&format!("{name}/file"), name));
    }
    // As certbot has it: a link to the file of the day.
    std::os::unix::fs::symlink("../archive/file", folder.path("live/link")).expect("ours");
    let granted = [format!("renewed={}", folder.path("live/link").display())];
    let attempts = ["live/link", "live/file", "archive/file", "other/file"]
        .map(|name| format!("read={}", folder.path(name).display()));
    assert_eq!(confined(&folder, &granted, &attempts), ["done", "done", "done", REFUSED]);
}

#[test]
fn what_may_be_written_must_not_be_executable() {
    let Some(folder) = open_folder() else { return };
    let program = make_open(&folder, "program");
    let state = make_open(&folder, "program/state");
    let elsewhere = make_open(&folder, "elsewhere");
    let refused = |granted: [String; 2]| {
        let mut command = folder.example("confine");
        if is_root() {
            command.arg("user=nobody");
        }
        let ended = run(command.args(granted).arg("--"));
        assert_eq!(ended.code, 1, "{ended:?}");
        ended.stderr
    };
    let [program, state, elsewhere] = [program, state, elsewhere].map(|path| path.display().to_string());
    for (executable, right, writable) in [
        (&program, "keep", &state),
        (&program, "keep", &program),
        (&state, "keep", &program),
        (&program, "sockets", &state),
    ] {
        let said = refused([format!("execute={executable}"), format!("{right}={writable}")]);
        for wanted in [executable.as_str(), writable, "a folder of its own"] {
            assert!(said.contains(wanted), "{said}");
        }
    }
    // By whatever name.
    std::os::unix::fs::symlink("program/state", folder.path("link")).expect("ours");
    let link = folder.path("link").display().to_string();
    assert!(refused([format!("execute={program}"), format!("keep={link}")]).contains(&state));
    let granted = [format!("execute={program}"), format!("keep={elsewhere}")];
    assert_eq!(confined(&folder, &granted, &[format!("write={elsewhere}/new")]), ["done"]);
}

// A confined server.

fn status_of(program: &Program, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

#[test]
fn a_sandboxed_server_compiles_serves_and_has_no_privileges() {
    let Some(folder) = open_folder() else { return };
    folder.write("conf.toml", "sandbox = true\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n");
    folder.write("echo.wasm", handlers::echo_module());
    let program = Program::start(&mut serve(&folder, ["--config", "conf.toml", "--listen", "127.0.0.1:0"]));
    let mut client = client(program.address(), "/echo");
    echoes(&mut client, "hello");
    for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status_of(&program, field), "0000000000000000", "{field}");
    }
    assert_eq!(status_of(&program, "NoNewPrivs"), "1");
    if is_root() {
        assert_eq!(status_of(&program, "CapBnd"), "0000000000000000");
        let ids = format!("{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}");
        assert_eq!((status_of(&program, "Uid"), status_of(&program, "Gid")), (ids.clone(), ids));
        assert_eq!(status_of(&program, "Groups"), NOBODY.to_string());
    }
    assert_eq!(folder.compiled().len(), 1, "the cache can be written");
    drop(client);
    program.signal(Signal::TERM);
    let ended = program.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    let said = "the sandbox is in force";
    assert!(ended.stderr.contains(said) && ended.stderr.contains("no_new_privs=true landlock="), "{ended:?}");
    assert!(!ended.stderr.contains("WARN"), "{ended:?}");
}

#[test]
fn a_sandboxed_server_does_without_a_handler_that_is_not_there() {
    let Some(folder) = open_folder() else { return };
    folder.write(
        "conf.toml",
        "[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n[route.gone]\npath = '/gone'\nhandler = 'nowhere/gone.wasm'\n",
    );
    folder.write("echo.wasm", handlers::echo_module());
    let program = Program::start(&mut serve(&folder, ["--config", "conf.toml", "--listen", "127.0.0.1:0"]));
    program.record_with("route=gone ");
    let mut client = client(program.address(), "/echo");
    echoes(&mut client, "hello");
}

#[test]
fn a_privileged_port_is_taken_before_privileges_are_given_up() {
    if !is_root() {
        eprintln!("skipped: only root has privileges to give up");
        return;
    }
    let Some(folder) = open_folder() else { return };
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = (600..1024).find(is_free).expect("a privileged port is free");
    let address = format!("127.0.0.1:{port}");
    let program = Program::start(&mut serve(&folder, ["--listen", &address]));
    assert_eq!(get(program.address(), "/healthz"), (200, "ok\n".into()));
    assert!(status_of(&program, "Uid").starts_with(&NOBODY.to_string()));
}

#[test]
fn a_sandboxed_server_takes_certificates_that_were_replaced() {
    let Some(folder) = open_folder() else { return };
    let old = renew(&folder);
    let mut command = serve(&folder, ["--listen", "127.0.0.1:0", "--log", "warn,waterspout=info"]);
    let program = Program::start(command.args(["--tls-certificate", "chain.pem", "--tls-key", "key.pem"]));
    let address = program.address();
    assert!(get_over_tls(address, &old).expect("served").ends_with("ok\n"));
    // Renamed into their place, as tools that renew do: other files than the rules were made for.
    let new = {
        let aside = Folder::new();
        let new = renew(&aside);
        for name in ["chain.pem", "key.pem"] {
            fs::rename(aside.path(name), folder.path(name)).expect("the same disk");
        }
        new
    };
    program.signal(Signal::HUP);
    program.record_with("SIGHUP: the certificates are reloaded");
    get_over_tls(address, &new).expect("the new certificate is served");
    // A link out of the sandbox: everybody could read what it leads to, but not this process.
    let outside = Folder::new();
    renew(&outside);
    fs::remove_file(folder.path("chain.pem")).expect("ours");
    std::os::unix::fs::symlink(outside.path("chain.pem"), folder.path("chain.pem")).expect("ours");
    program.signal(Signal::HUP);
    let record = program.record_with("the certificates are not taken");
    assert!(record.contains("chain.pem: cannot be read: Permission denied"), "{record}");
    assert!(get_over_tls(address, &new).is_ok(), "what was served goes on");
    program.signal(Signal::TERM);
    let ended = program.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn a_sandboxed_server_takes_a_new_handler_and_keeps_it() {
    let Some(folder) = open_folder() else { return };
    let handler = folder.write("chat.wasm", handlers::echo());
    open(&handler);
    let start = || {
        let mut command = serve(&folder, ["chat.wasm", "--listen", "127.0.0.1:0", "--state-dir", "kept"]);
        Program::start(command.arg("--watch"))
    };
    let program = start();
    folder.write("aside.wasm", handlers::binary_echo());
    open(&folder.path("aside.wasm"));
    fs::rename(folder.path("aside.wasm"), &handler).expect("the same disk");
    program.record_with("the handler is replaced");
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code, 0);
    fs::remove_file(&handler).expect("ours");
    let program = start();
    let mut client = client(program.address(), "/websocket");
    client.send(Message::text("kept")).expect("sent");
    assert_eq!(client.read().expect("an echo"), Message::binary("kept"));
}

#[test]
fn a_sandboxed_server_removes_its_unix_socket() {
    let Some(folder) = open_folder() else { return };
    let sockets = make_open(&folder, "run");
    let path = sockets.join("http.sock");
    let address = format!("unix:{}", path.display());
    for _ in 0..2 {
        let program = Program::start(&mut serve(&folder, ["--listen", &address]));
        std::os::unix::net::UnixStream::connect(&path).expect("it listens");
        program.signal(Signal::TERM);
        let ended = program.wait();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(!path.exists());
        // What a dead one has left is replaced.
        drop(UnixListener::bind(&path).expect("ours"));
        open(&path);
    }
}

#[test]
fn a_file_in_a_folder_that_many_share_is_read_alone_and_the_log_says_so() {
    let Some(folder) = open_folder() else { return };
    folder.write("page.html", "<p>hello");
    let mut command = serve(&folder, ["--listen", "127.0.0.1:0", "--page", "page.html"]);
    let program = Program::start(command.env("HOME", folder.path(".")));
    assert_eq!(get(program.address(), "/"), (200, "<p>hello".into()));
    program.signal(Signal::TERM);
    let ended = program.wait();
    let record = ended.stderr.lines().find(|line| line.contains("WARN")).expect("a warning");
    assert!(record.contains("page.html") && record.contains("a folder of its own"), "{record}");
}

// What is refused.

#[test]
fn who_would_stay_root_or_become_nobody_that_exists_is_refused() {
    let folder = Folder::new();
    let refused = |arguments: &[&str]| {
        let ended = run(folder.serve().args(arguments));
        assert_eq!(ended.code, 1, "{ended:?}");
        ended.sentence().to_owned()
    };
    let error = refused(&["--user", "nobody"]);
    assert!(error.contains("add `--sandbox`"), "{error}");
    let error = refused(&["--sandbox", "--user", "no-such-user"]);
    assert!(error.contains("there is no user `no-such-user`"), "{error}");
    let error = refused(&["--sandbox", "--user", "root"]);
    assert!(error.contains("user `root` has all privileges"), "{error}");
    if is_root() {
        let error = refused(&["--sandbox"]);
        assert!(error.contains("--user NAME"), "{error}");
    } else {
        let error = refused(&["--sandbox", "--user", "daemon"]);
        assert!(error.contains("only root can become user `daemon`"), "{error}");
    }
}

#[test]
fn a_cache_of_somebody_elses_is_refused_when_privileges_are_given_up() {
    if !is_root() {
        eprintln!("skipped: only root makes folders for others");
        return;
    }
    let Some(folder) = open_folder() else { return };
    fs::create_dir_all(folder.path("cache/waterspout")).expect("ours");
    let ended = run(&mut serve(&folder, ["--listen", "127.0.0.1:0"]));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.sentence().contains(&format!("chown -R {NOBODY}:")), "{ended:?}");
}

// systemd.

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_units_command_is_one_that_the_program_takes() {
    let folder = Folder::new();
    let help = run(folder.command().args(["serve", "--help"])).stdout;
    let unit = unit("waterspout.service");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    assert!(command.contains(" serve "), "{command}");
    let flags: Vec<&str> = command.split(' ').filter(|word| word.starts_with("--")).collect();
    assert!(flags.contains(&"--sandbox"), "{command}");
    for flag in flags {
        assert!(help.contains(flag), "`serve` knows no {flag}");
    }
}

#[test]
fn systemd_takes_the_units() {
    let folder = Folder::new();
    let program = folder.command().get_program().to_owned();
    for name in ["waterspout.service", "waterspout.socket"] {
        let unit = unit(name).replace("/opt/waterspout/bin/waterspout", &program.to_string_lossy());
        folder.write(name, unit);
    }
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg(folder.path("waterspout.service")).arg(folder.path("waterspout.socket"));
    match verify.stdin(Stdio::null()).output() {
        Err(error) => eprintln!("skipped: systemd-analyze: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !said.contains("waterspout"), "{said}");
        }
    }
}
