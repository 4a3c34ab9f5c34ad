//! The greeting of the link: any bytes, as `tests/fuzz_wire.rs` replays them.
#![no_main]
// Seeds and mutators of the replay live beside the target.
#![allow(dead_code)]

#[path = "../../harness/fuzz_wire.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::fuzz_greeting(data);
});
