//! The link protocol as pure bytes: versions, frame header, messages, framer, greeting.
//! Always: a frame that does not check is never turned into a message.

pub mod message;
