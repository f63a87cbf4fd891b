#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waterspout::fuzzing::configuration::run(data));
