//! The log: as JSON, as text, and when nobody reads it.

use rustix::process::Signal;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Ended, Folder, Program, client, echoes, handlers, run_for};

fn one_connection(folder: &Folder, options: &[&str]) -> Ended {
    let program = Program::start(folder.serve().args(options));
    let mut client = client(program.address(), "/websocket");
    client.send(Message::text("hello")).expect("sent");
    client.read().expect("an echo");
    client.close(None).expect("open");
    while client.read().is_ok() {}
    program.signal(Signal::TERM);
    program.wait()
}

#[test]
fn as_json_every_record_is_one_object_with_its_fields() {
    let folder = Folder::new();
    let ended = one_connection(&folder, &["--log", "waterspout=debug", "--log-format", "json"]);
    let records: Vec<Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for record in &records {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(record[key].is_string(), "{record}");
        }
    }
    let of = |message: &str| records.iter().find(|record| record["message"] == message).expect(message);
    assert_eq!(of("open")["route"], "echo");
    assert_eq!(of("open")["connection"].as_str().map(str::len), Some(32));
    assert_eq!(of("closed")["cause"], "peer_closed");
    assert_eq!(of("closed")["connection"], of("open")["connection"]);
}

#[test]
fn text_in_a_pipe_has_no_colours_and_the_filter_decides_what_there_is() {
    let folder = Folder::new();
    let ended = one_connection(&folder, &["--log", "waterspout=debug"]);
    assert!(ended.stderr.contains("DEBUG") && ended.stderr.contains("cause=\"peer_closed\""), "{ended:?}");
    assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
    assert_eq!(one_connection(&folder, &["--log", "off"]).stderr, "");
}

#[test]
fn nobody_has_to_read_to_the_end() {
    let folder = Folder::new();
    // As `waterspout check FILE | head -1`, and as a supervisor that closes what it does not want.
    for max_lines in [0, 1] {
        let handler = folder.write("echo.wasm", handlers::echo());
        let ended = run_for(folder.command().arg("check").arg(handler), max_lines);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    }
    let program = Program::start_for(&mut folder.serve(), 1);
    let mut client = client(program.address(), "/websocket");
    echoes(&mut client, "hello");
    program.signal(Signal::TERM);
    assert!(client.read().expect("a close frame").is_close());
    assert!(client.read().is_err());
    let ended = program.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
}
