//! What handlers may ask while one version of them follows another: during `suspend` and `resume`, and in an instance that is only tried.
//! What acts or waits is denied, and has done nothing; what reads works.

use waterspout::SwapError;
use waterspout_tests::{Client, Guest, TestHost};

use super::swapped;
use crate::probe::{history, probe};

/// The imports that answer, with what they are answered.
const ANSWERS: [(&str, &str); 17] = [
    // connection
    ("say x", "denied"),
    ("flush", "denied"),
    ("ping x", "denied"),
    ("close", "denied"),
    ("nodelay", "denied"),
    ("subscribe other", "denied"),
    ("timer 8 1", "denied"),
    // topics
    ("publish news x", "denied"),
    // request
    ("set-header x-a b", "denied"),
    // client
    ("dial ws://127.0.0.1:1/", "denied"),
    ("start ws://127.0.0.1:1/", "denied"),
    ("up-say x", "denied"),
    ("up-ping x", "denied"),
    ("up-flush", "denied"),
    ("up-read 1", "denied"),
    ("up-close", "denied"),
    ("up-frame", "none"),
];
/// Those that answer nothing, and must do nothing.
const SILENT: [&str; 2] = ["unsubscribe news", "clear-timer 7"];
/// Those that read: what they answer is what they answer at any time.
const READING: [&str; 15] = [
    "id",
    "subprotocol",
    "buffered",
    "uri",
    "path",
    "query",
    "path-args",
    "header x-color",
    "headers",
    "remote-address",
    "origin-allowed http://example.com",
    "up-id",
    "up-subprotocol",
    "up-get",
    "print seen",
];

/// What a handler answers now to what reads, an id for `up-get` among it.
async fn read_now(client: &mut Client, command: &str) -> String {
    client.say(command).await
}

async fn asks_everything_in(function: &str) {
    let upstream = TestHost::new(Guest::Echo).start().await;
    let host = probe().connects_to(&[upstream.authority()]).start().await;
    let mut target = format!(
        "/websocket?open=subscribe+news&open=timer+7+1500&open=dial+ws://{}/websocket",
        upstream.authority()
    );
    let acting = ANSWERS.iter().map(|(command, _)| *command).chain(SILENT);
    for command in acting.chain(READING) {
        target += &format!("&{function}={}", command.replace(' ', "+"));
    }
    let headers = [("x-color", "blue"), ("sec-websocket-protocol", "v1")];
    let mut client = host.connect_with(&(target + "&select=v1"), &headers).await;
    let mut reads = Vec::new();
    for command in READING {
        // What a long answer is cut to in the history.
        reads.push((command, read_now(&mut client, command).await));
    }
    let report = swapped(&host, &Guest::named("probe")).await;
    assert_eq!(report.moved, 1, "{report:?}");
    let lines = history(&mut client).await;
    let told = |command: &str| {
        let begins = format!("1 {function}: {command} = ");
        let line = lines.iter().find_map(|line| line.strip_prefix(&begins));
        line.unwrap_or_else(|| panic!("no `{begins}` in {lines:#?}"))
    };
    for (command, answer) in ANSWERS {
        assert_eq!(told(command), answer, "{command}");
    }
    for (command, answer) in reads {
        assert_eq!(told(command), answer, "{command}");
    }
    for command in SILENT {
        assert_eq!(told(command), "ok", "{command}");
    }
    // Nothing was done: it is still subscribed, its timer still runs, and its connections are open.
    assert_eq!(client.say("publish news hello").await, "hello");
    assert_eq!(client.recv_text().await, "ok");
    assert_eq!(client.say("up-say still\nup-read").await, "still");
    assert_eq!(client.recv_text().await, "on-timer 7");
}

#[tokio::test]
async fn in_suspend_what_acts_is_denied_and_what_reads_works() {
    asks_everything_in("suspend").await;
}

#[tokio::test]
async fn in_resume_what_acts_is_denied_and_what_reads_works() {
    asks_everything_in("resume").await;
}

/// The echo, which when it is instantiated traps unless every import that needs no handle is answered with an error of this number:
/// `types.error` has 4 for `denied`, `connect-error` 0.
fn asks_when_it_is_instantiated(denied: u32) -> Guest {
    Guest::echo_changed(|text| {
        let imports = r#"(module
  (import "waterspout:websocket/topics@0.1.0" "publish"
    (func $publish (param i32 i32) (param i32 i32 i32) (param i32)))
  (import "waterspout:websocket/client@0.1.0" "connect" (func $connect (param i32 i32)))
  (import "waterspout:websocket/client@0.1.0" "start" (func $start (param i32 i32)))
  (import "waterspout:websocket/client@0.1.0" "get" (func $get (param i32 i32 i32)))"#;
        let asks = format!(
            r#"
  ;; An error, of this number.
  (func $fails (param $number i32)
    (if (i32.ne (i32.load8_u (i32.const 0)) (i32.const 1)) (then unreachable))
    (if (i32.ne (i32.load8_u (i32.const 4)) (local.get $number)) (then unreachable)))
  (func (export "_initialize")
    (call $publish (i32.const 64) (i32.const 4) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 0))
    (call $fails (i32.const {denied}))
    ;; The address is the same text, which is none; there are no options.
    (i32.store (i32.const 256) (i32.const 64))
    (i32.store (i32.const 260) (i32.const 4))
    (call $connect (i32.const 256) (i32.const 0))
    (call $fails (i32.const 0))
    (call $start (i32.const 256) (i32.const 0))
    (call $fails (i32.const 0))
    ;; None.
    (call $get (i32.const 64) (i32.const 4) (i32.const 0))
    (if (i32.load8_u (i32.const 0)) (then unreachable))
    (i64.store (i32.const 0) (i64.const 0)))
)"#
        );
        let whole = text.replacen("(module", imports, 1);
        let end = whole.rfind(')').expect("a module");
        format!("{}{asks}", &whole[..end])
    })
}

#[tokio::test]
async fn an_instance_that_is_only_tried_is_denied_everything() {
    let host = TestHost::new(Guest::Echo).start().await;
    swapped(&host, &asks_when_it_is_instantiated(4)).await;
    // One that wants another answer traps, so the answers are looked at.
    let refused = host.swap(&asks_when_it_is_instantiated(0), None).await;
    assert!(matches!(refused, Err(SwapError::Unfit(_))), "{refused:?}");
}
