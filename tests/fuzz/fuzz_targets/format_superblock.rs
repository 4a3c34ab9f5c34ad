//! Superblocks and tails: pages written as dumps, as in the corpus that
//! `tests/fuzz_format.rs` replays, each as it is and with checksums that hold.
#![no_main]
// Other targets of the format and their kit live beside this one.
#![allow(dead_code)]

#[path = "../../harness/format_kit.rs"]
mod format_kit;
#[path = "../../harness/fuzz_format.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let Some(mut page) = format_kit::undump(&text) else { return };
    fuzz::fuzz_superblock(&page);
    fuzz::reseal(&mut page);
    fuzz::fuzz_superblock(&page);
});
