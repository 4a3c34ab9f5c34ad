//! The test harness.

pub mod fuzz_wire;
