//! The client's half of the protocol: what it receives.
//! Always: a length is checked before it is believed; whatever a server sends is a value or
//! `Malformed`, never a panic.

use super::bytes::Bytes;
use super::constants::{
    GREETING_BYTES, INIT_MAGIC, OPTION_MAGIC, OPTION_REPLY_HEAD_BYTES, OPTION_REPLY_MAGIC,
    SIMPLE_REPLY_BYTES, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunk, info, rep,
};
use super::reply::StatusExtent;
use super::request::Cookie;
use std::fmt;

/// A server broke the protocol. The connection is of no more use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// The greeting is not that of a newstyle server.
    Greeting,
    /// An option reply began with something else.
    OptionReplyMagic {
        /// What stood there.
        found: u64,
    },
    /// A reply began with something else.
    ReplyMagic {
        /// What stood there.
        found: u32,
    },
    /// An option reply whose lengths do not add up.
    OptionReply {
        /// Its kind.
        kind: u32,
    },
    /// A chunk that is unknown, or whose lengths do not add up.
    Chunk {
        /// Its type.
        kind: u16,
        /// Bytes of its payload.
        len: u32,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Greeting => f.write_str("greeting is not that of an NBD server"),
            Malformed::OptionReplyMagic { found } => {
                write!(f, "option reply began with {found:#018x}")
            }
            Malformed::ReplyMagic { found } => write!(f, "reply began with {found:#010x}"),
            Malformed::OptionReply { kind } => write!(f, "option reply {kind:#x} is malformed"),
            Malformed::Chunk { kind, len } => {
                write!(f, "chunk of type {kind:#x} with {len} bytes is malformed")
            }
        }
    }
}

impl std::error::Error for Malformed {}

/// Handshake flags of a greeting.
///
/// # Errors
/// Another protocol, or oldstyle.
pub fn greeting_flags(bytes: &[u8; GREETING_BYTES]) -> Result<u16, Malformed> {
    let mut rest = Bytes(bytes);
    match (rest.u64(), rest.u64(), rest.u16()) {
        (Some(INIT_MAGIC), Some(OPTION_MAGIC), Some(flags)) => Ok(flags),
        _ => Err(Malformed::Greeting),
    }
}

/// Header of an option reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionReplyHead {
    /// The option that is answered.
    pub option: u32,
    /// Reply type.
    pub kind: u32,
    /// Bytes of data that follow.
    pub len: u32,
}

impl OptionReplyHead {
    /// Reads a header.
    ///
    /// # Errors
    /// Not an option reply.
    pub fn decode(bytes: &[u8; OPTION_REPLY_HEAD_BYTES]) -> Result<OptionReplyHead, Malformed> {
        let mut rest = Bytes(bytes);
        let found = rest.u64().unwrap_or_default();
        match (rest.u32(), rest.u32(), rest.u32()) {
            (Some(option), Some(kind), Some(len)) if found == OPTION_REPLY_MAGIC => {
                Ok(OptionReplyHead { option, kind, len })
            }
            _ => Err(Malformed::OptionReplyMagic { found }),
        }
    }
}

/// An option reply with its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptionReply<'a> {
    /// Accepted, or end of a list.
    Ack,
    /// An export.
    Server {
        /// Its name.
        name: &'a [u8],
        /// Text for people.
        description: &'a [u8],
    },
    /// `INFO_EXPORT`.
    Export {
        /// Bytes.
        size: u64,
        /// Transmission flags.
        flags: u16,
    },
    /// `INFO_NAME`.
    Name(&'a [u8]),
    /// `INFO_DESCRIPTION`.
    Description(&'a [u8]),
    /// `INFO_BLOCK_SIZE`, all in bytes.
    BlockSize {
        /// Smallest unit and alignment.
        min: u32,
        /// Unit that is served well.
        preferred: u32,
        /// Largest payload.
        payload_max: u32,
    },
    /// A metadata context.
    MetaContext {
        /// Its id, if it was selected.
        id: u32,
        /// Its name.
        name: &'a [u8],
    },
    /// An error.
    Error {
        /// Reply type.
        kind: u32,
        /// Text for people.
        text: &'a [u8],
    },
    /// Something that a client must ignore.
    Other,
}

impl<'a> OptionReply<'a> {
    /// Reads the data of a reply.
    ///
    /// # Errors
    /// The lengths do not add up.
    pub fn decode(kind: u32, data: &'a [u8]) -> Result<OptionReply<'a>, Malformed> {
        let mut rest = Bytes(data);
        let reply = match kind {
            rep::ACK => data.is_empty().then_some(OptionReply::Ack),
            rep::SERVER => {
                rest.string().map(|name| OptionReply::Server { name, description: rest.0 })
            }
            rep::INFO => OptionReply::decode_info(rest),
            rep::META_CONTEXT => rest.u32().map(|id| OptionReply::MetaContext { id, name: rest.0 }),
            _ if kind & rep::ERR_BIT != 0 => Some(OptionReply::Error { kind, text: data }),
            _ => Some(OptionReply::Other),
        };
        reply.ok_or(Malformed::OptionReply { kind })
    }

    fn decode_info(mut rest: Bytes<'a>) -> Option<OptionReply<'a>> {
        let reply = match rest.u16()? {
            info::EXPORT => OptionReply::Export { size: rest.u64()?, flags: rest.u16()? },
            info::BLOCK_SIZE => OptionReply::BlockSize {
                min: rest.u32()?,
                preferred: rest.u32()?,
                payload_max: rest.u32()?,
            },
            info::NAME => return Some(OptionReply::Name(rest.0)),
            info::DESCRIPTION => return Some(OptionReply::Description(rest.0)),
            _ => return Some(OptionReply::Other),
        };
        rest.is_empty().then_some(reply)
    }
}

/// The first 16 bytes of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerHead {
    /// A simple reply; the data of a read follows if the code is zero.
    Simple {
        /// Error, zero for none.
        code: u32,
        /// The request.
        cookie: Cookie,
    },
    /// A chunk; four bytes of length follow, then that many bytes.
    Chunk {
        /// Last chunk of its reply.
        done: bool,
        /// Type.
        kind: u16,
        /// The request.
        cookie: Cookie,
    },
}

impl AnswerHead {
    /// Reads a head.
    ///
    /// # Errors
    /// Neither a simple reply nor a chunk.
    pub fn decode(bytes: &[u8; SIMPLE_REPLY_BYTES]) -> Result<AnswerHead, Malformed> {
        let mut rest = Bytes(bytes);
        let found = rest.u32().unwrap_or_default();
        let (flags, kind) = {
            let mut ahead = rest;
            (ahead.u16().unwrap_or_default(), ahead.u16().unwrap_or_default())
        };
        let code = rest.u32().unwrap_or_default();
        let cookie = Cookie(rest.u64().unwrap_or_default());
        match found {
            SIMPLE_REPLY_MAGIC => Ok(AnswerHead::Simple { code, cookie }),
            STRUCTURED_REPLY_MAGIC => {
                Ok(AnswerHead::Chunk { done: flags & chunk::DONE != 0, kind, cookie })
            }
            _ => Err(Malformed::ReplyMagic { found }),
        }
    }
}

/// The payload of a chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chunk<'a> {
    /// Nothing.
    None,
    /// Data at an offset.
    Data {
        /// First byte.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// Zeroes at an offset.
    Hole {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
    },
    /// Status of consecutive extents.
    Status {
        /// Metadata context.
        context: u32,
        /// The extents, at least one.
        extents: Vec<StatusExtent>,
    },
    /// An error.
    Error {
        /// Error, not zero.
        code: u32,
        /// Where, if that was told.
        offset: Option<u64>,
        /// Text for people.
        text: &'a [u8],
    },
}

impl<'a> Chunk<'a> {
    /// Reads the payload of a chunk of type `kind`.
    ///
    /// # Errors
    /// Unknown type that is no error, or lengths that do not add up.
    pub fn decode(kind: u16, payload: &'a [u8]) -> Result<Chunk<'a>, Malformed> {
        let rest = Bytes(payload);
        let found = match kind {
            chunk::NONE => payload.is_empty().then_some(Chunk::None),
            chunk::OFFSET_DATA => Chunk::decode_data(rest),
            chunk::OFFSET_HOLE => Chunk::decode_hole(rest),
            chunk::BLOCK_STATUS => Chunk::decode_status(rest),
            _ if kind & chunk::ERR_BIT != 0 => Chunk::decode_error(kind, rest),
            _ => None,
        };
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        found.ok_or(Malformed::Chunk { kind, len })
    }

    fn decode_data(mut rest: Bytes<'a>) -> Option<Chunk<'a>> {
        let offset = rest.u64()?;
        (!rest.is_empty()).then_some(Chunk::Data { offset, data: rest.0 })
    }

    fn decode_hole(mut rest: Bytes<'a>) -> Option<Chunk<'a>> {
        let (offset, len) = (rest.u64()?, rest.u32()?);
        (rest.is_empty() && len > 0).then_some(Chunk::Hole { offset, len })
    }

    fn decode_status(mut rest: Bytes<'a>) -> Option<Chunk<'a>> {
        let context = rest.u32()?;
        let mut extents = Vec::with_capacity(rest.0.len() / 8);
        while !rest.is_empty() {
            let extent = StatusExtent { len: rest.u32()?, flags: rest.u32()? };
            if extent.len == 0 {
                return None;
            }
            extents.push(extent);
        }
        (!extents.is_empty()).then_some(Chunk::Status { context, extents })
    }

    fn decode_error(kind: u16, mut rest: Bytes<'a>) -> Option<Chunk<'a>> {
        let code = rest.u32()?;
        let len = rest.u16()?;
        let text = rest.take(usize::from(len))?;
        let offset = if kind == chunk::ERROR_OFFSET { Some(rest.u64()?) } else { None };
        (code != 0).then_some(Chunk::Error { code, offset, text })
    }
}
