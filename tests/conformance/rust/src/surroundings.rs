//! What a handler has beside its connection.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{SystemTime, UNIX_EPOCH};

use waterspout_guest::serde_json::json;

pub(crate) fn print(text: &str) {
    match text.strip_prefix("eprint ") {
        Some(text) => eprintln!("{text}"),
        None => println!("{text}"),
    }
}

pub(crate) fn clock() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    // The standard library's only random numbers.
    let random = RandomState::new().hash_one(now.to_bits()) as f64 / u64::MAX as f64;
    json!({"now": now, "random": random}).to_string()
}
