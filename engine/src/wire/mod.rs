//! The link protocol as pure bytes: versions, frame header, messages, framer, greeting.
//! Always: a frame that does not check is never turned into a message.
//!
//! A flow begins with a [`greeting`]; after it come frames, each a fixed header, an inline body
//! and, for some kinds, a payload of block data that the lane moves itself:
//!
//! ```text
//! | header, 96 bytes | body, 0 to 64 KiB | payload, 0 to FRAME_PAYLOAD_MAX |
//! ```
//!
//! Frames are checked, not authenticated: the greeting keeps strangers and misconfigured peers
//! out, the 128-bit session keeps old flows out, the CRCs keep damage out. Somebody who can change
//! packets on their way is kept out by the network below (a private VPC, or a tunnel).

pub mod bounds;
mod bytes;
pub mod codec;
mod decode;
mod error;
pub mod framer;
pub mod greeting;
pub mod header;
mod hello;
mod kind;
pub mod message;
#[cfg(test)]
mod tests;
mod validate;
pub mod version;

pub use bytes::{PayloadCrc, checksum};
pub use decode::Messages;
pub use error::{FrameError, Malformed};
pub use framer::{FRAME_SEQUENCE_FIRST, Frame, Framer, PayloadInfo, Step};
pub use kind::{FlowKind, Kind};
