//! The data plane of Lockstep: one process per volume, which keeps a block device identical on
//! two nodes. `replica`, `format` and `wire` are pure; `uring` knows the kernel; `node` joins them.

pub mod admin;
pub mod config;
pub mod device;
pub mod error;
pub mod format;
pub mod limits;
pub mod node;
pub mod offline;
pub mod replica;
pub mod units;
pub mod uring;
pub mod wire;
