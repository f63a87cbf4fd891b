//! The operator's command line: `waterspout deploy`, `versions`, `rollback` and their like, asked of a server that runs.

mod elsewhere;
mod refusals;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{Ended, Folder, Program, TOKEN, answer_to, client, echoes, handlers, run};

/// A folder with a token, a configuration that begins with `before` and has the route `chat`, and that route's next version, `new.wasm`.
fn folder(before: &str) -> Folder {
    let folder = Folder::new();
    folder.write("chat.wasm", handlers::echo());
    folder.write("new.wasm", handlers::binary_echo());
    folder.write_token("token", TOKEN);
    let text = format!(
        "listen = '127.0.0.1:0'\n{before}\n[admin]\nlisten = '127.0.0.1:0'\ntoken-file = 'token'\n\
         [route.chat]\npath = '/chat'\nhandler = 'chat.wasm'\n"
    );
    folder.write("waterspout.toml", text);
    folder
}

/// The server, and the commands that are for it.
struct Host<'a> {
    folder: &'a Folder,
    program: Program,
    /// As `--admin` takes it.
    admin: String,
}

impl<'a> Host<'a> {
    fn start(folder: &'a Folder) -> Self {
        let mut command = folder.command();
        let program =
            Program::start(command.args(["--log", "debug", "serve", "--config", "waterspout.toml"]));
        let admin = program.admin();
        Self { folder, program, admin }
    }

    fn address(&self) -> SocketAddr {
        self.program.address()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.folder.command();
        command.args(arguments).args(["--admin", &self.admin, "--token-file", "token"]);
        command
    }

    /// What a command says that succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let ended = run(&mut self.command(arguments));
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    /// How a command ends that is refused.
    fn refuses(&self, arguments: &[&str]) -> Ended {
        let ended = run(&mut self.command(arguments));
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{arguments:?}: {ended:?}");
        ended
    }

    /// What `versions --json` has of the route `chat`.
    fn chat(&self) -> Value {
        let answer = self.says(&["versions", "--route", "chat", "--json"]);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["routes"][0].clone()
    }

    /// Whether `/chat` answers as binary, to a newcomer.
    fn answers_binary(&self) -> bool {
        let mut client = client(self.address(), "/chat");
        answer_to(&mut client, "hé").is_binary()
    }
}

/// A line of the table of `versions`, in words.
fn row(table: &str, number: usize) -> Vec<&str> {
    table
        .lines()
        .nth(number)
        .unwrap_or_else(|| panic!("no line {number}: {table}"))
        .split_whitespace()
        .collect()
}

#[test]
fn a_new_version_is_deployed_while_a_client_is_connected_and_rolled_back() {
    let folder = folder("");
    let host = Host::start(&folder);
    let mut old = client(host.address(), "/chat");
    let mut is_binary = || {
        old.send(Message::text("still there?")).expect("sent");
        old.read().expect("an echo").is_binary()
    };
    let text = host.says(&["deploy", "new.wasm", "--route", "chat"]);
    let (first, rest) = text.split_once('\n').expect("two lines");
    assert!(first.starts_with("version 2 (") && first.ends_with(") of chat is served"), "{text}");
    assert!(rest.starts_with("1 connection moved, without a handler for at most "), "{text}");
    assert!(is_binary() && host.answers_binary());

    let table = host.says(&["versions"]);
    assert_eq!(
        row(&table, 0),
        ["TENANT", "ROUTE", "VERSION", "SHA256", "SINCE", "SOURCE", "CONNECTIONS", "IS"]
    );
    let current = row(&table, 1);
    assert_eq!((&current[..3], current[7]), (&["default", "chat", "2"][..], "current"), "{table}");
    assert!(first.contains(current[3]), "{table}");
    let previous = row(&table, 2);
    assert_eq!((previous[2], previous[7]), ("1", "previous"), "{table}");

    let text = host.says(&["rollback", "--route", "chat"]);
    assert!(text.starts_with("version 1 ("), "{text}");
    assert!(!is_binary() && !host.answers_binary());
    assert_eq!(row(&host.says(&["versions", "--route", "chat"]), 1)[2], "1");
}

#[test]
fn who_stays_with_the_old_version_is_told_of() {
    let folder = folder("");
    folder.write("chat.wasm", handlers::component_of(&handlers::echo_module_without_state()));
    let host = Host::start(&folder);
    let mut old = client(host.address(), "/chat");
    let text = host.says(&["deploy", "new.wasm", "--route", "chat"]);
    let stays = "stays with the old version until it ends, or `max-drain`: the handler gives no state: its `suspend` answers none";
    assert!(text.contains(&format!("\n1 connection {stays}\n")), "{text}");
    echoes(&mut old, "still there?");
    assert_eq!(row(&host.says(&["versions"]), 2)[6..], ["1", "previous"]);
}

#[test]
fn a_version_that_takes_nobody_over_is_taken_back_with_exit_1() {
    let folder = folder("");
    folder.write("broken.wasm", handlers::component_of(&handlers::echo_module_that_does_not_resume()));
    let host = Host::start(&folder);
    let mut old = client(host.address(), "/chat");
    let ended = host.refuses(&["deploy", "broken.wasm", "--route", "chat"]);
    let wanted = "answers 409: Taken back: 1 of 1 instances, with 1 of 1 connections, could not go over: ";
    assert!(ended.sentence().contains(wanted), "{ended:?}");
    echoes(&mut old, "still there?");
    assert_eq!(host.chat()["current"]["version"], 1);
}

#[test]
fn what_becomes_of_connections_can_be_said() {
    let folder = folder("");
    let host = Host::start(&folder);
    let mut old = client(host.address(), "/chat");
    let text = host.says(&["deploy", "new.wasm", "--route", "chat", "--on-swap", "drain"]);
    assert!(
        text.contains("\n1 connection stays with the old version until it ends, or `max-drain`\n"),
        "{text}"
    );
    let text = host.says(&["deploy", "chat.wasm", "--route", "chat", "--on-swap", "close"]);
    assert!(text.contains("\n1 connection is being closed (1012)\n"), "{text}");
    let Message::Close(Some(frame)) = old.read().expect("a close frame") else { panic!("no close frame") };
    assert_eq!(frame.code, CloseCode::Restart);
}

#[test]
fn json_is_the_servers_answer_as_it_is() {
    let folder = folder("");
    let host = Host::start(&folder);
    let report = host.says(&["deploy", "new.wasm", "--route", "chat", "--json"]);
    assert!(report.starts_with("{\n  \"version\": 2,\n") && report.ends_with("}\n"), "{report}");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let chat = host.chat();
    assert_eq!(
        (&chat["current"]["sha256"], &chat["current"]["version"]),
        (&report["sha256"], &2.into()),
        "{chat}"
    );
}

#[test]
fn a_handler_comes_by_a_pipe_too() {
    let folder = folder("");
    let host = Host::start(&folder);
    let mut command = host.command(&["deploy", "-", "--route", "chat"]);
    let mut deploy = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    deploy.stdin.take().expect("piped").write_all(&handlers::binary_echo()).expect("it reads");
    assert!(deploy.wait().expect("our own child").success());
    assert!(host.answers_binary());
}

#[test]
fn a_route_may_have_any_name_and_its_tenant_can_be_said() {
    let folder = folder("");
    folder.write(
        "waterspout.toml",
        "listen = '127.0.0.1:0'\n[admin]\nlisten = '127.0.0.1:0'\ntoken-file = 'token'\n\
         [tenant.'ä&b']\nhosts = ['b.example']\n[tenant.'ä&b'.route.'a/b c?']\npath = '/'\nhandler = 'chat.wasm'\n",
    );
    let host = Host::start(&folder);
    host.says(&["deploy", "new.wasm", "--route", "a/b c?", "--tenant", "ä&b"]);
    let table = host.says(&["versions", "--route", "a/b c?", "--tenant", "ä&b"]);
    assert_eq!(row(&table, 1)[..5], ["ä&b", "a/b", "c?", "2", row(&table, 1)[4]], "{table}");
    let ended = host.refuses(&["rollback", "--route", "a/b c?", "--tenant", "other"]);
    assert!(
        ended.sentence().contains("answers 404: There is no route `a/b c?` of tenant `other`."),
        "{ended:?}"
    );
}

#[test]
fn a_canary_is_offered_seen_promoted_and_withdrawn() {
    let folder = folder("");
    let host = Host::start(&folder);
    let ended = host.refuses(&["promote", "--route", "chat"]);
    assert!(ended.sentence().contains("answers 409: "), "{ended:?}");
    let text = host.says(&["deploy", "new.wasm", "--route", "chat", "--canary", "50%"]);
    assert!(text.starts_with("version 2 of chat gets 50% of the new connections, until "), "{text}");
    assert!(text.contains("\nnote: without `state-dir` this lasts as long as the process"), "{text}");
    // Each second newcomer.
    assert_eq!([(); 4].map(|()| host.answers_binary()), [false, true, false, true]);
    let table = host.says(&["versions"]);
    assert_eq!((row(&table, 1)[2], row(&table, 1)[7]), ("1", "current"), "{table}");
    assert_eq!(row(&table, 2)[2], "2", "{table}");
    assert!(table.contains("canary 50%, failed for 0 of 1 addresses"), "{table}");
    let text = host.says(&["promote", "--route", "chat"]);
    assert!(text.starts_with("version 2 (") && text.contains(") of chat is served\n"), "{text}");
    assert!(host.answers_binary() && host.answers_binary());

    host.says(&["deploy", "chat.wasm", "--route", "chat", "--canary", "99"]);
    let text = host.says(&["rollback", "--route", "chat"]);
    assert!(text.starts_with("the canary, version 3, is withdrawn: version 2 ("), "{text}");
    assert!(host.answers_binary() && host.answers_binary());
}

#[test]
fn a_pinned_version_is_shown_and_stays() {
    let folder = folder("");
    let host = Host::start(&folder);
    let ended = host.refuses(&["pin", "7", "--route", "chat"]);
    assert!(ended.sentence().contains("answers 409: Version 7 is not served, but version 1."), "{ended:?}");
    assert!(host.says(&["pin", "--route", "chat"]).starts_with("version 1 of chat is pinned: "));
    assert_eq!(row(&host.says(&["versions"]), 1)[7..], ["current,", "pinned"]);
    let ended = host.refuses(&["deploy", "new.wasm", "--route", "chat"]);
    assert!(ended.sentence().contains("answers 409: Version 1 is pinned: unpin it first."), "{ended:?}");
    assert!(host.says(&["unpin", "--route", "chat"]).starts_with("no version of chat is pinned\n"));
    let text = host.says(&["deploy", "new.wasm", "--route", "chat"]);
    assert!(text.ends_with("\nnote: without `state-dir` this lasts as long as the process\n"), "{text}");
}
