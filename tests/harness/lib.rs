//! The test harness.

pub mod bins;
