//! The NBD protocol, fixed newstyle: bytes in, bytes out. Pure.
//! Always: no I/O, no clock, no thread; the transmission phase allocates nothing. Whatever a
//! client sends ends in an answer, a refusal or the end of its own connection.
//! Section names in comments are those of the specification (`doc/proto.md` of the NBD project).

mod answer;
mod bytes;
mod connection;
pub mod constants;
mod export;
mod handshake;
mod meta;
mod options;
mod reply;
mod request;
mod requester;

pub use answer::{AnswerHead, Chunk, Malformed, OptionReply, OptionReplyHead, greeting_flags};
pub use connection::{Connection, Step, What, Why};
pub use constants::Errno;
pub use export::{Export, ExportError};
pub use handshake::{Ending, Handshake, Negotiated, Progress, State};
pub use reply::{
    Head, StatusExtent, block_status_chunk, block_status_head, block_status_single, error_chunk,
    error_offset_chunk, failure, hole_chunk, none_chunk, read_chunk_head, read_head, simple_reply,
    success,
};
pub use request::{Command, Cookie, Reject, Request, Violation, decode_request};
pub use requester::{
    client_flags, encode_raw, encode_request, put_go_data, put_meta_data, put_option,
};
