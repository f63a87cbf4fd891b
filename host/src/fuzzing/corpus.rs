//! What the fuzzer has found interesting, once more: `fuzz/README.md` says how to find more.

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.expect("a file").path();
        // Shown if the next line panics.
        println!("{}", path.display());
        run(&fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn any_head_of_a_request_is_read_or_refused() {
    replay("handshake", super::handshake::run);
}

#[test]
fn any_configuration_is_refused_or_can_be_served() {
    replay("configuration", super::configuration::run);
}

#[test]
fn whatever_guests_and_peers_do_nothing_is_left() {
    replay("imports", super::imports::run);
}
