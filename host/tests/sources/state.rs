//! What outlives the program.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use super::{Host, as_binary_too, configure, folder, sha256};
use crate::compiling::wasm;
use crate::support::{Folder, TOKEN, handlers, run, socket};

/// The file gets other content, and a time that is so much later, or earlier, than what it had.
fn change(folder: &Folder, content: &[u8], later: bool) {
    let path = folder.path("chat.wasm");
    let modified = fs::metadata(&path).and_then(|file| file.modified()).expect("a time");
    fs::write(&path, content).expect("ours");
    let minute = Duration::from_secs(60);
    let modified = if later { modified + minute } else { modified - minute };
    File::options().append(true).open(&path).and_then(|file| file.set_modified(modified)).expect("ours");
}

fn manifest(folder: &Folder) -> PathBuf {
    folder.path("kept/default.chat/manifest.json")
}

#[test]
fn what_was_deployed_is_served_after_a_kill_that_follows_the_answer() {
    let folder = folder();
    let host = Host::keeping(&folder);
    let (status, answer) = host.deploy(&handlers::binary_echo());
    assert_eq!((status, &answer["kept"]), (200, &true.into()), "{answer}");
    host.kill();
    let host = Host::keeping(&folder);
    assert!(host.answers_binary());
    let chat = host.chat();
    assert_eq!(
        (&chat["current"]["version"], &chat["current"]["source"]),
        (&2.into(), &"deployed".into()),
        "{chat}"
    );
    assert_eq!(chat["current"]["sha256"], sha256(&handlers::binary_echo()));
    assert_eq!(
        (&chat["previous"]["version"], &chat["previous"]["source"]),
        (&1.into(), &"file".into()),
        "{chat}"
    );
    // A rollback does, too.
    assert_eq!(host.ask("POST", "/routes/chat/rollback", b"").0, 200);
    host.kill();
    let host = Host::keeping(&folder);
    assert!(!host.answers_binary());
    let chat = host.chat();
    assert_eq!((&chat["current"]["version"], &chat["rolled_back"]), (&1.into(), &true.into()), "{chat}");
    // No number is given twice.
    assert_eq!(host.deploy(&as_binary_too()).1["version"], 3);
}

#[test]
fn a_newer_file_wins_over_what_was_deployed_and_an_older_one_does_not() {
    let folder = folder();
    let host = Host::keeping(&folder);
    assert_eq!(host.deploy(&handlers::binary_echo()).0, 200);
    host.end();
    change(&folder, &as_binary_too(), false);
    let host = Host::keeping(&folder);
    host.program.record_with("not newer than what was deployed");
    assert_eq!(host.chat()["current"]["sha256"], sha256(&handlers::binary_echo()));
    host.end();
    change(&folder, &as_binary_too(), true);
    change(&folder, &as_binary_too(), true);
    let host = Host::keeping(&folder);
    let chat = host.chat();
    assert_eq!(chat["current"]["sha256"], sha256(&as_binary_too()), "{chat}");
    assert_eq!(
        (&chat["current"]["source"], &chat["previous"]["source"]),
        (&"file".into(), &"deployed".into())
    );
    host.end();
    // From now on the route follows its file again, however old it is.
    change(&folder, &handlers::echo(), false);
    assert_eq!(Host::keeping(&folder).chat()["current"]["sha256"], sha256(&handlers::echo()));
}

#[test]
fn a_newer_file_that_does_not_load_leaves_what_was_kept() {
    let folder = folder();
    Host::keeping(&folder).end();
    change(&folder, b"broken", true);
    let host = Host::keeping(&folder);
    host.program.record_with("the old one goes on");
    assert_eq!(host.chat()["current"]["sha256"], sha256(&handlers::echo()));
    host.end();
    fs::remove_file(folder.path("chat.wasm")).expect("ours");
    let host = Host::keeping(&folder);
    host.program.record_with("what is served goes on");
    assert!(!host.answers_binary());
}

#[test]
fn a_pin_outlives_the_program_and_a_newer_file() {
    let folder = folder();
    let host = Host::keeping(&folder);
    let (status, answer) = host.ask("POST", "/routes/chat/pin", b"");
    assert_eq!((status, &answer["kept"]), (200, &true.into()), "{answer}");
    host.kill();
    change(&folder, &handlers::binary_echo(), true);
    let host = Host::keeping(&folder);
    host.program.record_with("is pinned: it stays");
    assert!(host.chat()["pinned"] == true && !host.answers_binary());
    assert_eq!(host.ask("DELETE", "/routes/chat/pin", b"").0, 200);
    host.kill();
    assert!(Host::keeping(&folder).answers_binary());
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_state_or_the_new() {
    let folder = folder();
    let versions = [handlers::echo(), handlers::binary_echo(), as_binary_too()];
    let digests: Vec<String> = versions.iter().map(|bytes| sha256(bytes)).collect();
    Host::keeping(&folder).end();
    for round in 0..6 {
        let host = Host::keeping(&folder);
        let before = host.chat()["current"]["sha256"].as_str().expect("a digest").to_owned();
        let next = &versions[(round + 1) % versions.len()];
        let mut socket = socket(host.admin);
        let head = format!(
            "PUT /routes/chat/handler HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n",
            next.len()
        );
        socket.write_all(&[head.as_bytes(), next].concat()).expect("it reads");
        if round % 2 == 1 {
            // Later: when it has begun to change.
            host.program.record_with("the handler is replaced");
        }
        host.kill();
        let text = fs::read(manifest(&folder)).expect("there");
        let kept: Value = serde_json::from_slice(&text).expect("whole");
        let current = kept["current"]["sha256"].as_str().expect("a digest");
        assert!(current == before || current == sha256(next), "{kept}");
        assert!(digests.iter().any(|digest| digest == current));
        let bytes = fs::read(folder.path("kept/default.chat").join(format!("{current}.handler")));
        assert_eq!(sha256(&bytes.expect("there")), current);
    }
    let host = Host::keeping(&folder);
    // What was being written is gone, and so are bytes that nobody needs.
    host.deploy(&handlers::echo());
    let files = fs::read_dir(folder.path("kept/default.chat")).expect("there").count();
    assert!(files <= 3, "{files}");
}

#[test]
fn two_servers_do_not_share_a_state() {
    let folder = folder();
    let host = Host::keeping(&folder);
    let ended = run(folder.command().args(["serve", "--config", "waterspout.toml", "--state-dir", "kept"]));
    assert_eq!(ended.code, 1);
    let number = host.program.pid().as_raw_nonzero();
    assert!(ended.stderr.contains(&format!("is in use by another process (number {number})")), "{ended:?}");
    host.kill();
    Host::keeping(&folder).end();
}

#[test]
fn damaged_state_is_put_aside_and_told_and_the_file_is_served() {
    let folder = folder();
    for damage in ["manifest", "bytes"] {
        let host = Host::keeping(&folder);
        assert_eq!(host.deploy(&handlers::binary_echo()).0, 200);
        host.end();
        match damage {
            "manifest" => fs::write(manifest(&folder), "{\"format\": 1, ").expect("ours"),
            _ => {
                let bytes =
                    folder.path(&format!("kept/default.chat/{}.handler", sha256(&handlers::binary_echo())));
                fs::write(bytes, "damaged").expect("ours");
            }
        }
        let host = Host::keeping(&folder);
        let record = host.program.record_with("what was kept of the route cannot be used");
        assert!(record.contains("ERROR") && record.contains("is damaged"), "{record}");
        let aside = record.split("aside=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a path");
        assert!(PathBuf::from(aside).join("manifest.json").exists(), "{record}");
        assert!(!host.answers_binary());
        host.end();
    }
    // A later program's is not touched.
    fs::write(manifest(&folder), "{\"format\": 99}").expect("ours");
    let ended = run(folder.command().args(["serve", "--config", "waterspout.toml", "--state-dir", "kept"]));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("manifest.json has format 99"), "{ended:?}");
    assert!(manifest(&folder).exists());
}

#[test]
fn what_cannot_be_loaded_under_other_limits_stays_and_is_served_when_it_can_be() {
    let folder = folder();
    let host = Host::keeping(&folder);
    assert_eq!(host.deploy(&wasm::with_custom_section(&handlers::binary_echo(), 1 << 20)).0, 200);
    let kept = fs::read(manifest(&folder)).expect("there");
    host.end();
    configure(&folder, "[compile]\nmax-component-bytes = '500KiB'");
    let host = Host::keeping(&folder);
    let record = host.program.record_with("the handler cannot be loaded: its route answers 503");
    assert!(record.contains("version 2") && record.contains("larger than 500"), "{record}");
    // Neither at the start nor when somebody asks does the file take its place.
    host.program.signal(Signal::HUP);
    assert!(host.program.record_with("SIGHUP: the handlers are looked at").contains("replaced=0"));
    assert_eq!(host.chat()["current"], Value::Null);
    host.end();
    assert_eq!(fs::read(manifest(&folder)).expect("there"), kept);
    configure(&folder, "");
    let host = Host::keeping(&folder);
    assert!(host.answers_binary());
    assert_eq!(host.chat()["current"]["version"], 2);
}

#[test]
fn the_files_key_says_where_and_a_hangup_leaves_what_was_deployed() {
    let folder = folder();
    let config = fs::read_to_string(folder.path("waterspout.toml")).expect("text");
    folder.write("waterspout.toml", format!("state-dir = 'kept'\n{config}"));
    let began = SystemTime::now();
    let host = Host::start(&folder, []);
    assert_eq!(host.deploy(&handlers::binary_echo()).1["kept"], true);
    host.program.signal(Signal::HUP);
    assert!(host.program.record_with("SIGHUP: the handlers are looked at").contains("replaced=0"));
    assert!(host.answers_binary());
    assert!(fs::metadata(manifest(&folder)).and_then(|file| file.modified()).expect("a time") >= began);
}
