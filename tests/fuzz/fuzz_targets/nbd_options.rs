//! NBD options of a client: any bytes, as `tests/fuzz_nbd.rs` replays them.
#![no_main]
// Seeds and mutators of the replay live beside the target.
#![allow(dead_code)]

#[path = "../../harness/fuzz_nbd.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::fuzz_options(data);
});
