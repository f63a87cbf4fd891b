//! SIGUSR2: another process takes over the sockets of the one that runs, and who is connected, or connects meanwhile, sees nothing of it.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client as connect};

use crate::support::{Ended, Folder, PATIENCE, Program, client, get, handlers};

/// A server and those that have come after it. All of them write to the first one's output.
pub(crate) struct Line {
    pub(crate) first: Program,
    successors: Successors,
}

/// Killed when dropped.
struct Successors(Vec<Pid>);

impl Drop for Successors {
    fn drop(&mut self) {
        for successor in &self.0 {
            // Of a test that has failed: gone, or ours still.
            let _ = kill_process(*successor, Signal::KILL);
        }
    }
}

impl Line {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self { first: Program::start(command), successors: Successors(Vec::new()) }
    }

    /// The one that accepts.
    pub(crate) fn last(&self) -> Pid {
        self.successors.0.last().copied().unwrap_or(self.first.pid())
    }

    /// Asks the last one for a successor, and waits until there is one.
    pub(crate) fn go_on(&mut self) -> Pid {
        self.ask(Signal::USR2);
        self.successor()
    }

    fn ask(&self, signal: Signal) {
        kill_process(self.last(), signal).expect("it runs");
    }

    /// The number of the process that has taken over, as the log says it.
    fn successor(&mut self) -> Pid {
        let record = self.first.record_with("another process has taken over");
        let number = record.split("pid=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let pid = number.and_then(|number| Pid::from_raw(number.parse().ok()?)).expect("a number");
        self.successors.0.push(pid);
        // Until then both do.
        self.first.record_with("another process accepts");
        pid
    }

    /// Ends the last one, and waits until all have.
    pub(crate) fn end(self) -> Ended {
        self.ask(Signal::TERM);
        let Self { first, successors } = self;
        let ended = first.wait();
        drop(successors);
        ended
    }
}

fn is_there(pid: Pid) -> bool {
    // Nobody may be there to reap it in a container.
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_zombie = state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    test_kill_process(pid).is_ok() && !is_zombie
}

/// A program's file. Another process writes it: a child that another test starts at this moment would keep it open for writing otherwise,
/// and then it could not be executed.
pub(crate) fn install(from: &Path, to: &Path) {
    let done = Command::new("install").args(["-m", "755"]).args([from, to]).status();
    assert!(done.is_ok_and(|status| status.success()), "{} cannot be written", to.display());
}

/// A program that is a script.
fn install_script(folder: &Folder, to: &Path, script: &str) {
    install(&folder.write("script", format!("#!/bin/sh\n{script}\n")), to);
}

/// The program under a name of its own, so that it can be replaced.
fn copied(folder: &Folder) -> (PathBuf, Command) {
    let program = folder.path("server");
    install(Path::new(folder.command().get_program()), &program);
    let mut command = Command::new(&program);
    command.current_dir(folder.path(".")).stdin(Stdio::null());
    command.env("XDG_CACHE_HOME", folder.path("cache")).env("XDG_STATE_HOME", folder.path("state"));
    (program, command)
}

/// Waits for something that only looking tells.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        thread::sleep(std::time::Duration::from_millis(20));
    }
}

pub(crate) fn echoes(client: &mut WebSocket<TcpStream>, text: &str) {
    client.send(Message::text(text)).expect("sent");
    assert_eq!(client.read().expect("an echo"), Message::text(text));
}

fn serve(folder: &Folder) -> Command {
    let mut command = folder.command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "waterspout=info"]);
    command
}

/// Status and body of a GET over a Unix socket.
fn get_over_unix(path: &Path, target: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

fn started_at(metrics: &str) -> String {
    let name = "process_start_time_seconds ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}in {metrics}")).to_owned()
}

#[test]
fn nobody_who_connects_is_refused_through_ten_takeovers_and_who_is_connected_stays() {
    let folder = Folder::new();
    let mut line = Line::start(&mut serve(&folder));
    let address = line.first.address();
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, rounds) = (stop.clone(), rounds.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Each of them fails if it is refused or reset.
                    let mut client = client(address, "/websocket");
                    echoes(&mut client, "short");
                    client.close(None).expect("open");
                    while client.read().is_ok() {}
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut stays = vec![client(address, "/websocket")];
    for round in 0..10 {
        let before = rounds.load(Ordering::Relaxed);
        line.go_on();
        until("somebody connects", || rounds.load(Ordering::Relaxed) > before + 4);
        for client in &mut stays {
            echoes(client, &format!("round {round}"));
        }
        stays.push(client(address, "/websocket"));
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().expect("no connection was refused or reset");
    }
    // Eleven processes, each with the one connection that it has.
    let all: Vec<Pid> = std::iter::once(line.first.pid()).chain(line.successors.0.iter().copied()).collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 11);
    for pid in &all {
        assert!(is_there(*pid), "{pid} has a connection");
    }
    let last = line.last();
    for (client, pid) in stays.iter_mut().zip(&all) {
        client.close(None).expect("open");
        while client.read().is_ok() {}
        if *pid != last {
            until("who has no connection left ends", || !is_there(*pid));
        }
    }
    assert!(is_there(last), "the last one stays without connections");
    let ended = line.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stderr.contains("WARN") && !ended.stderr.contains("ERROR"), "{ended:?}");
}

#[test]
fn what_waits_to_be_accepted_is_accepted_by_the_next_one() {
    let folder = Folder::new();
    folder.write(
        "conf.toml",
        "listen = '127.0.0.1:0'\nmax-connections = 1\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n",
    );
    folder.write("echo.wasm", handlers::echo_module());
    let mut line = Line::start(folder.command().args(["serve", "--config", "conf.toml"]));
    let address = line.first.address();
    let mut stays = client(address, "/echo");
    // The server takes no more: these wait in the kernel's queue, with their requests.
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let mut socket = crate::support::socket(address);
            socket
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .expect("sent");
            socket
        })
        .collect();
    line.go_on();
    for mut socket in waiting {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("neither refused nor reset");
        assert!(answer.ends_with("ok\n"), "{answer}");
    }
    echoes(&mut stays, "still here");
}

#[test]
fn who_keeps_a_connection_of_http_is_told_to_come_again() {
    let folder = Folder::new();
    let mut line = Line::start(&mut serve(&folder));
    let mut socket = BufReader::new(crate::support::socket(line.first.address()));
    let mut ask = || {
        socket.get_mut().write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(socket.read_line(&mut head).expect("an answer"), 0, "{head}");
        }
        let mut body = [0; 3];
        socket.read_exact(&mut body).expect("ok");
        head.to_lowercase()
    };
    assert!(!ask().contains("connection: close"));
    let old = line.last();
    line.go_on();
    assert!(ask().contains("connection: close"));
    until("the old one has nothing more to do", || !is_there(old));
}

#[test]
fn a_successor_that_cannot_serve_changes_nothing() {
    let folder = Folder::new();
    let good = "listen = '127.0.0.1:0'\ntakeover-timeout = '20s'\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n[route.other]\npath = '/other'\nhandler = 'other.wasm'\n";
    folder.write("conf.toml", good);
    folder.write("echo.wasm", handlers::echo_module());
    folder.write("other.wasm", handlers::binary_echo_module());
    let (program, mut command) = copied(&folder);
    let mut line = Line::start(command.args(["serve", "--config", "conf.toml"]));
    let address = line.first.address();
    let mut stays = client(address, "/echo");
    let mut refused = |why: &str, and: &str| {
        line.ask(Signal::USR2);
        if !and.is_empty() {
            line.first.record_with(and);
        }
        let record = line.first.record_with("there is no takeover; this process goes on");
        assert!(record.contains(why), "{record}");
        echoes(&mut stays, why);
        echoes(&mut client(address, "/echo"), why);
    };
    folder.write("conf.toml", "nonsense = 1\n");
    refused("exit status: 1", "unknown key `nonsense`");
    folder.write("conf.toml", good);
    // One handler of two would start a server, but not one that takes this one's place.
    folder.write("other.wasm", "no handler");
    refused("exit status: 1", "in route `other`");
    folder.write("other.wasm", handlers::binary_echo_module());
    let aside = folder.path("aside");
    fs::rename(&program, &aside).expect("the same disk");
    refused("No such file", "");
    for (script, why) in [
        ("exit 7", "exit status: 7"),
        ("kill -SEGV $$", "signal: 11"),
        ("echo surprise >&0; exec sleep 1000", "does not answer as a version of this program does"),
    ] {
        install_script(&folder, &program, script);
        refused(why, "");
        fs::remove_file(&program).expect("ours");
    }
    let children =
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", line.first.pid())).unwrap_or_default();
    assert_eq!(children, "", "no child is left, not even a dead one");
    fs::rename(&aside, &program).expect("the same disk");
    line.go_on();
    echoes(&mut stays, "stays");
    echoes(&mut client(address, "/echo"), "goes on");
}

#[test]
fn a_successor_that_takes_too_long_is_ended() {
    let folder = Folder::new();
    folder.write("conf.toml", "listen = '127.0.0.1:0'\ntakeover-timeout = '300ms'\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n");
    folder.write("echo.wasm", handlers::echo_module());
    let (program, mut command) = copied(&folder);
    let line = Line::start(command.args(["serve", "--config", "conf.toml"]));
    fs::remove_file(&program).expect("ours");
    let note = folder.path("note");
    install_script(&folder, &program, &format!("echo $$ >{}\nexec sleep 1000", note.display()));
    line.ask(Signal::USR2);
    let record = line.first.record_with("there is no takeover");
    assert!(record.contains("not ready after `takeover-timeout` (300ms)"), "{record}");
    let pid: i32 = fs::read_to_string(note).expect("it has begun").trim().parse().expect("a number");
    assert!(test_kill_process(Pid::from_raw(pid).expect("a process")).is_err(), "it is still there");
    echoes(&mut client(line.first.address(), "/echo"), "goes on");
}

#[test]
fn a_server_that_is_to_end_ends_its_successor_that_is_not_ready() {
    let folder = Folder::new();
    let (program, mut command) = copied(&folder);
    let line = Line::start(command.args(["serve", "--listen", "127.0.0.1:0"]));
    fs::remove_file(&program).expect("ours");
    install_script(&folder, &program, "echo begun >&2\nexec sleep 1000");
    line.ask(Signal::USR2);
    line.first.record_with("begun");
    // Again, while it is under way.
    line.ask(Signal::USR2);
    line.first.record_with("a takeover is under way already");
    let ended = line.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("this process was told to end meanwhile"), "{ended:?}");
}

#[test]
fn an_old_server_that_is_asked_again_names_the_new_one() {
    let folder = Folder::new();
    let mut line = Line::start(&mut serve(&folder));
    let mut stays = client(line.first.address(), "/websocket");
    let new = line.go_on();
    line.first.signal(Signal::USR2);
    let record = line.first.record_with("another process has taken over already");
    assert!(record.contains(&format!("pid={new}")), "{record}");
    // It ends as it always does.
    line.first.signal(Signal::TERM);
    assert!(stays.read().expect("a close frame").is_close());
    assert_eq!(get(line.first.address(), "/healthz"), (200, "ok\n".into()));
}

#[test]
fn after_the_drain_who_is_left_is_told_to_come_again() {
    let folder = Folder::new();
    folder.write(
        "conf.toml",
        "listen = '127.0.0.1:0'\ntakeover-drain = '0s'\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\nspread = '200ms'\n",
    );
    folder.write("echo.wasm", handlers::echo_module());
    let mut line = Line::start(folder.command().args(["serve", "--config", "conf.toml"]));
    let mut stays: Vec<_> = (0..3).map(|_| client(line.first.address(), "/echo")).collect();
    line.go_on();
    for client in &mut stays {
        let Message::Close(Some(frame)) = client.read().expect("a close frame") else { panic!("no reason") };
        assert_eq!(u16::from(frame.code), 1012);
        while client.read().is_ok() {}
    }
    let old = line.first.pid();
    until("the old one ends", || !is_there(old));
    echoes(&mut client(line.first.address(), "/echo"), "goes on");
}

#[test]
fn unix_sockets_and_the_admin_listener_are_taken_over_with_their_files() {
    let folder = Folder::new();
    let (web, admin) = (folder.path("web.sock"), folder.path("admin.sock"));
    let with = |gone: &str| {
        format!(
            "[[listener]]\naddress = '127.0.0.1:0'\n[[listener]]\naddress = 'unix:{}'\n{gone}[admin]\nlisten = 'unix:{}'\n\
             [route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n",
            web.display(),
            admin.display()
        )
    };
    let gone = folder.path("gone.sock");
    folder.write("conf.toml", with(&format!("[[listener]]\naddress = 'unix:{}'\n", gone.display())));
    folder.write("echo.wasm", handlers::echo_module());
    let mut line = Line::start(folder.command().args(["serve", "--config", "conf.toml"]));
    let address = line.first.address();
    let over_unix = || {
        let socket = UnixStream::connect(&web).expect("the file is there, and somebody listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket has the option");
        let (mut client, _) = connect("ws://localhost/echo", socket).expect("accepted");
        client.send(Message::text("over unix")).expect("sent");
        assert_eq!(client.read().expect("an echo"), Message::text("over unix"));
        client
    };
    let mut stays = over_unix();
    let metrics = get_over_unix(&admin, "/metrics").expect("the old one's");
    assert!(metrics.contains("waterspout_open_connections") || metrics.contains("200 OK"), "{metrics}");
    let old = line.first.pid();
    // A listener less, from now on.
    folder.write("conf.toml", with(""));
    line.go_on();
    until("its file is removed", || !gone.exists());
    stays.send(Message::text("still")).expect("sent");
    assert_eq!(stays.read().expect("an echo"), Message::text("still"));
    let next = get_over_unix(&admin, "/metrics").expect("the new one's");
    assert_ne!(started_at(&next), started_at(&metrics));
    drop(stays);
    until("the old one ends", || !is_there(old));
    assert!(web.exists() && admin.exists(), "the files are the new one's");
    over_unix();
    line.go_on();
    over_unix();
    assert_eq!(get(address, "/healthz"), (200, "ok\n".into()));
    let ended = line.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!web.exists() && !admin.exists(), "the last one removes them");
}

#[test]
fn a_port_that_is_asked_for_later_is_opened_and_one_that_is_not_is_closed() {
    let folder = Folder::new();
    let ports = [(); 2].map(|()| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.local_addr().expect("bound").port()
    });
    let on = |port: u16| {
        folder.write(
            "conf.toml",
            format!("listen = '127.0.0.1:{port}'\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n"),
        );
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    };
    folder.write("echo.wasm", handlers::echo_module());
    let before = on(ports[0]);
    let mut line = Line::start(folder.command().args(["serve", "--config", "conf.toml"]));
    let old = line.first.pid();
    let after = on(ports[1]);
    line.go_on();
    assert_eq!(get(after, "/healthz"), (200, "ok\n".into()));
    until("the old one ends", || !is_there(old));
    assert!(TcpStream::connect(before).is_err(), "nobody keeps the port");
}

#[test]
fn sockets_of_systemds_are_handed_on() {
    let folder = Folder::new();
    folder.write(
        "conf.toml",
        "[[listener]]\naddress = 'systemd:web'\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n",
    );
    folder.write("echo.wasm", handlers::echo_module());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let supervisor = UnixDatagram::bind(folder.path("notify")).expect("a free name");
    supervisor.set_read_timeout(Some(PATIENCE)).expect("a socket has the option");
    let heard = || {
        let mut buffer = [0; 200];
        let length = supervisor.recv(&mut buffer).expect("it says how it is");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" serve --config conf.toml"])
        .arg(folder.command().get_program())
        .current_dir(folder.path("."))
        .envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web")])
        .env("NOTIFY_SOCKET", folder.path("notify"))
        .env("XDG_CACHE_HOME", folder.path("cache"))
        .env("XDG_STATE_HOME", folder.path("state"))
        .stdin(OwnedFd::from(listener));
    let mut line = Line::start(&mut shell);
    // The test's own is not open any more.
    drop(shell);
    assert_eq!(heard(), "READY=1");
    for _ in 0..2 {
        let successor = line.go_on();
        assert_eq!(heard(), format!("MAINPID={successor}"));
        echoes(&mut client(address, "/echo"), "hello");
    }
}

#[test]
fn no_descriptor_is_left_behind() {
    let folder = Folder::new();
    let mut line = Line::start(&mut serve(&folder));
    let old = line.first.pid();
    // Of what kind they are, beside standard input, output and error.
    let open = |pid: Pid| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        let own = entries.filter(|entry| !["0", "1", "2"].iter().any(|number| entry.file_name() == *number));
        let links = own.filter_map(|entry| fs::read_link(entry.path()).ok());
        let mut kinds: Vec<String> =
            links.map(|to| to.to_string_lossy().split(':').next().unwrap_or_default().to_owned()).collect();
        // The image of an instance's memory, since there was the first one.
        kinds.retain(|kind| kind != "/memfd");
        kinds.sort();
        kinds
    };
    let without_connections = open(old);
    let mut stays = client(line.first.address(), "/websocket");
    for _ in 0..3 {
        line.go_on();
        let last = line.last();
        until("the new one has what the first one had", || open(last) == without_connections);
        // Its listener is closed; instead there is a connection.
        until("the old one has a connection and no listener", || open(old) == without_connections);
        echoes(&mut stays, "still here");
    }
}
