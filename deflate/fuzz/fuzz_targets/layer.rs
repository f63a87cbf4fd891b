#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tungstenite_deflate_fuzz::layer::run(data));
