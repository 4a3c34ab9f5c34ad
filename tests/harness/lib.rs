//! The test harness.

pub mod fuzz_nbd;
pub mod nbd_clients;
pub mod nbd_memory;
