//! What peers see of a takeover: who is connected, who connects meanwhile, and who is left after the drain.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use rustix::process::Pid;
use tokio_tungstenite::tungstenite::Message;

use super::{Line, is_there, serve, until};
use crate::support::{ECHO_ROUTE, Folder, client, echoes, last_request};

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
    let configuration = format!("listen = '127.0.0.1:0'\nmax-connections = 1\n{ECHO_ROUTE}");
    let mut line = Line::start(&mut folder.serve_configured(configuration));
    let address = line.first.address();
    let mut stays = client(address, "/echo");
    // The server takes no more: these wait in the kernel's queue, with their requests.
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let mut socket = crate::support::socket(address);
            socket.write_all(last_request("/healthz").as_bytes()).expect("sent");
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
fn after_the_drain_who_is_left_is_told_to_come_again() {
    let folder = Folder::new();
    let configuration =
        format!("listen = '127.0.0.1:0'\ntakeover-drain = '0s'\n{ECHO_ROUTE}spread = '200ms'\n");
    let mut line = Line::start(&mut folder.serve_configured(configuration));
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
