//! The NBD protocol as pure bytes, and a small client.

pub mod protocol;
