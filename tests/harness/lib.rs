//! The test harness.

pub mod bins;
pub mod format_kit;
pub mod fuzz_format;
pub mod fuzz_wire;
