//! What is handed on: ports, Unix sockets with their files, sockets of systemd's; and what is not.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use rustix::process::{Pid, Signal};
use tokio_tungstenite::tungstenite::client as connect;

use super::{Line, is_there, serve, until};
use crate::support::{ECHO_ROUTE, Folder, PATIENCE, client, echoes, exchange, get, last_request};

/// The answer to a GET over a Unix socket.
pub(crate) fn get_over_unix(path: &Path, target: &str) -> std::io::Result<String> {
    let socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    exchange(socket, last_request(target).as_bytes())
}

fn started_at(metrics: &str) -> String {
    let name = "process_start_time_seconds ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}in {metrics}")).to_owned()
}

#[test]
fn unix_sockets_and_the_admin_listener_are_taken_over_with_their_files() {
    let folder = Folder::new();
    let (web, admin) = (folder.path("web.sock"), folder.path("admin.sock"));
    let with = |gone: &str| {
        format!(
            "[[listener]]\naddress = '127.0.0.1:0'\n[[listener]]\naddress = 'unix:{}'\n{gone}[admin]\nlisten = 'unix:{}'\n\
             {ECHO_ROUTE}",
            web.display(),
            admin.display()
        )
    };
    let gone = folder.path("gone.sock");
    let with_gone = with(&format!("[[listener]]\naddress = 'unix:{}'\n", gone.display()));
    let mut line = Line::start(&mut folder.serve_configured(with_gone));
    let address = line.first.address();
    let over_unix = || {
        let socket = UnixStream::connect(&web).expect("the file is there, and somebody listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket has the option");
        let (mut client, _) = connect("ws://localhost/echo", socket).expect("accepted");
        echoes(&mut client, "over unix");
        client
    };
    let mut stays = over_unix();
    let metrics = get_over_unix(&admin, "/metrics").expect("the old one's");
    assert!(metrics.contains("waterspout_open_connections") || metrics.contains("200 OK"), "{metrics}");
    let old = line.first.pid();
    // A listener less, from now on.
    folder.write("waterspout.toml", with(""));
    line.go_on();
    until("its file is removed", || !gone.exists());
    echoes(&mut stays, "still");
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
    let [before, after] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let on = |address: SocketAddr| format!("listen = '{address}'\n{ECHO_ROUTE}");
    let mut line = Line::start(&mut folder.serve_configured(on(before)));
    let old = line.first.pid();
    folder.write("waterspout.toml", on(after));
    line.go_on();
    assert_eq!(get(after, "/healthz"), (200, "ok\n".into()));
    until("the old one ends", || !is_there(old));
    assert!(TcpStream::connect(before).is_err(), "nobody keeps the port");
}

#[test]
fn sockets_of_systemds_are_handed_on() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let supervisor = UnixDatagram::bind(folder.path("notify")).expect("a free name");
    supervisor.set_read_timeout(Some(PATIENCE)).expect("a socket has the option");
    let heard = || {
        let mut buffer = [0; 200];
        let length = supervisor.recv(&mut buffer).expect("it says how it is");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let configuration = format!("[[listener]]\naddress = 'systemd:web'\n{ECHO_ROUTE}");
    let mut shell = folder.serve_socket_activated(listener, configuration);
    let mut line = Line::start(shell.env("NOTIFY_SOCKET", folder.path("notify")));
    // The test's own is not open any more.
    drop(shell);
    assert_eq!(heard(), "READY=1");
    for _ in 0..2 {
        let successor = line.go_on();
        assert_eq!(heard(), format!("MAINPID={successor}"));
        echoes(&mut client(address, "/echo"), "hello");
        // For `Type=notify-reload`: when it began, and that it is over, also where nothing was taken.
        line.ask(Signal::HUP);
        let began = heard();
        let microseconds = began.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").map(str::parse::<u64>);
        assert!(matches!(microseconds, Some(Ok(1..))), "{began}");
        assert_eq!(heard(), "READY=1");
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
