//! The NBD protocol as pure bytes, a small blocking client, and the kernel's device.
//! Always: `protocol` touches no socket, clock or thread; whoever owns the bytes moves them.

#![deny(missing_docs)]

pub mod client;
pub mod device;
pub mod protocol;

mod build_id;
pub use build_id::{BUILD_ID, VERSION};
