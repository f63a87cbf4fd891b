//! What is refused, by whom, and how that is told; nothing has changed then.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use super::{Host, folder};
use crate::support::{TOKEN, handlers, run, socket};

#[test]
fn what_the_server_refuses_is_its_sentence_and_exit_1() {
    let folder = folder("[compile]\nmax-component-bytes = '64KiB'");
    folder.write("letter.wasm", "Dear Sir or Madam,\n");
    folder.write("other.wat", "(component)");
    folder.write("large.wasm", vec![0; (64 << 10) + 1]);
    folder.write("huge.wasm", vec![0; 32 << 20]);
    let host = Host::start(&folder);
    let before = host.chat();
    for (arguments, wanted) in [
        // The file is large enough for the refusal to come while it would be under way.
        (&["deploy", "huge.wasm", "--route", "talk"][..], "answers 404: There is no route `talk`."),
        (
            &["deploy", "huge.wasm", "--route", "chat"],
            "answers 413: The handler has more than 65536 bytes: raise `max-component-bytes`",
        ),
        (&["deploy", "large.wasm", "--route", "chat"], "answers 413: The handler has more than 65536 bytes"),
        (&["deploy", "letter.wasm", "--route", "chat"], "answers 422: The new version is not WebAssembly"),
        (
            &["deploy", "other.wat", "--route", "chat"],
            "answers 422: The new version is a component of another world",
        ),
        (
            &["deploy", "new.wasm", "--route", "chat", "--tenant", "acme"],
            "answers 404: There is no route `chat` of tenant `acme`.",
        ),
        (&["rollback", "--route", "chat"], "answers 409: There is no version to go back to."),
        (&["versions", "--route", "talk"], "answers 404: "),
    ] {
        let ended = host.refuses(arguments);
        let sentence = ended.sentence();
        assert!(
            sentence.starts_with("waterspout: 127.0.0.1:") && sentence.contains(wanted),
            "{arguments:?}: {ended:?}"
        );
    }
    assert_eq!(host.chat(), before);
}

#[test]
fn a_handler_of_as_many_bytes_as_it_may_have_is_taken_and_a_larger_one_is_refused_before_it_is_sent() {
    let bytes = handlers::binary_echo().len();
    let folder = folder(&format!("[compile]\nmax-component-bytes = '{bytes}B'"));
    // A custom section without content, of the name `x`.
    folder.write("larger.wasm", [handlers::binary_echo(), vec![0, 2, 1, b'x']].concat());
    let host = Host::start(&folder);
    host.says(&["deploy", "new.wasm", "--route", "chat"]);
    let ended = host.refuses(&["deploy", "larger.wasm", "--route", "chat"]);
    assert!(ended.sentence().contains("answers 413: "), "{ended:?}");
    let mut upload = upload(&host, bytes + 1);
    let mut answer = String::new();
    upload.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// A request to deploy, of which only the head has been sent.
fn upload(host: &Host, bytes: usize) -> TcpStream {
    let head = format!(
        "PUT /routes/chat/handler HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {bytes}\r\n\r\n"
    );
    let mut upload = socket(host.admin.trim_start_matches("http://").parse().expect("an address"));
    upload.write_all(head.as_bytes()).expect("it reads");
    upload
}

#[test]
fn a_token_that_is_not_the_servers_is_refused_and_one_that_is_none_goes_nowhere() {
    let folder = folder("");
    let host = Host::start(&folder);
    folder.write_token("other", "another-token-of-enough-characters");
    folder.write("empty", "\n");
    let admin = host.admin.as_str();
    for (arguments, wanted) in [
        (
            &["--token-file", "other"][..],
            "does not take the token of other: name the server's own `token-file`",
        ),
        (
            &[],
            "wants a token: name its file by `--token-file`, or the server's configuration file by `--config`",
        ),
        (&["--token-file", "nothing"], "the token's file nothing cannot be read: "),
        (&["--token-file", "empty"], "empty: a token is one line of visible ASCII characters"),
    ] {
        let mut command = folder.command();
        command.args(["deploy", "new.wasm", "--route", "chat", "--admin", admin]).args(arguments);
        let ended = run(&mut command);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
        assert!(ended.sentence().contains(wanted), "{ended:?}");
    }
    assert!(!host.answers_binary());
}

#[test]
fn where_one_instance_serves_all_there_is_no_canary_and_a_deployment_tells_what_hinders_the_next() {
    let folder = folder("");
    let config = std::fs::read_to_string(folder.path("waterspout.toml")).expect("ours");
    folder.write("waterspout.toml", config + "instance = 'route'\n");
    let host = Host::start(&folder);
    let refused = run(&mut host.command(&["deploy", "new.wasm", "--route", "chat", "--canary", "10%"]));
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.sentence().contains("409: One instance serves the whole route"), "{refused:?}");
    assert!(!host.answers_binary());
    let deployed = run(&mut host.command(&["deploy", "new.wasm", "--route", "chat"]));
    assert!(deployed.stdout.contains("\nnote: the handler does not export `shared-state`"), "{deployed:?}");
}

#[test]
fn what_cannot_be_sent_is_named_before_anybody_is_asked() {
    let folder = folder("");
    folder.write("empty.wasm", "");
    // Nobody is there to be asked.
    let admin = "127.0.0.1:1";
    for (arguments, wanted) in [
        (&["deploy", "no-such.wasm", "--route", "chat"][..], "waterspout: no-such.wasm cannot be read: "),
        (&["deploy", ".", "--route", "chat"], "waterspout: . cannot be read: "),
        (
            &["deploy", "empty.wasm", "--route", "chat"],
            "waterspout: empty.wasm is empty: nothing is deployed",
        ),
        (&["deploy", "-", "--route", "chat"], "waterspout: stdin is empty: nothing is deployed"),
        (&["deploy", "new.wasm"], "--route <NAME>"),
        (&["deploy", "new.wasm", "--route", "chat", "--on-swap", "migrat"], "'migrate'"),
        (&["deploy", "new.wasm", "--route", "chat", "--canary", "100%"], "from 1% to 99%"),
        (&["versions", "--config", "waterspout.toml"], "--config"),
    ] {
        let mut command = folder.command();
        let ended = run(command.args(arguments).args(["--admin", admin, "--token-file", "token"]));
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(wanted), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn an_upload_that_ends_half_way_changes_nothing_and_is_told_at_debug() {
    let folder = folder("");
    let host = Host::start(&folder);
    let before = host.chat();
    let bytes = handlers::binary_echo();
    let mut upload = upload(&host, bytes.len());
    upload.write_all(&bytes[..bytes.len() / 2]).expect("it reads");
    // As the kernel does for who is killed.
    drop(upload);
    let record = host.program.record_with("a handler did not arrive whole: nothing is deployed");
    assert!(record.contains("DEBUG"), "{record}");
    assert_eq!(host.chat(), before);
    assert!(!host.answers_binary());
    host.program.signal(Signal::TERM);
    let ended = host.program.wait();
    assert!(!ended.stderr.contains("WARN") && !ended.stderr.contains("ERROR"), "{ended:?}");
}
