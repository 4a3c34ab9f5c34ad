//! The test harness.
pub mod sim;

pub mod format_kit;
pub mod fuzz_format;
pub mod fuzz_wire;
