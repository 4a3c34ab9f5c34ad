//! The test harness.

pub mod aws;
pub mod backing;
pub mod bins;
pub mod cluster;
pub mod engines;
pub mod format_kit;
pub mod fuzz_format;
pub mod fuzz_nbd;
pub mod fuzz_wire;
pub mod nbd_clients;
pub mod nbd_memory;
pub mod pair;
pub mod sim;
pub mod soak;
