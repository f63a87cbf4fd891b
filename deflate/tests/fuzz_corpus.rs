//! What the fuzzer has found interesting, once more: `fuzz/README.md` says how to find more.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "reachable where it is a crate: for libFuzzer")]
mod fuzz;

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
fn any_bytes_from_a_peer_are_survived() {
    replay("layer", fuzz::layer::run);
}

#[test]
fn any_messages_come_back() {
    replay("round_trip", fuzz::round_trip::run);
}

#[test]
fn any_headers_are_negotiated() {
    replay("negotiation", fuzz::negotiation::run);
}
