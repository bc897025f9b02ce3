#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| setu_fuzz::relay(data));
