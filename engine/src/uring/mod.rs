//! The ring, buffers, disk and sockets. Knows bytes and fds, has never heard of replication.
//! All unsafe code of the engine is in `ring` and `sys`; everything else here is safe.

pub mod buffers;
mod caps;
mod file;
mod op;
mod ring;
pub mod sys;

pub use caps::Capabilities;
pub use file::File;
pub use op::{Address, Done, Errno, Full, Gather, Op, Token, Zeroing};
pub use ring::{OPS_MAX, Ring};

#[cfg(test)]
mod tests;
