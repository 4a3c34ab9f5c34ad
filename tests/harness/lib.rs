//! The test harness.

pub mod format_kit;
pub mod fuzz_format;
