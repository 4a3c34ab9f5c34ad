//! The NBD protocol as pure bytes, and a small client.

pub mod protocol;

mod build_id;
pub use build_id::{BUILD_ID, VERSION};
