//! What can be wrong with a frame. Every one of these ends the session: both sides reconnect and
//! re-send what is not acknowledged (R32).

use super::kind::{FlowKind, Kind};
use crate::units::{Extent, Session};
use std::fmt;

/// Why bytes are not a frame of this flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The frame does not begin as one.
    Magic { found: [u8; 4] },
    /// Another protocol version than the greeting agreed on.
    Version { found: u16 },
    /// The header changed on its way.
    HeaderCrc { expected: u32, found: u32 },
    /// The body changed on its way.
    BodyCrc { kind: Kind, expected: u32, found: u32 },
    /// The payload changed on its way.
    PayloadCrc { expected: u32, found: u32 },
    /// Spare bytes of the header are not zero.
    Spare,
    /// No such kind.
    Kind { found: u8 },
    /// This kind can't have a body of that length.
    BodyLength { kind: Kind, len: u32 },
    /// The message calls for another payload than the header announces.
    PayloadLength { kind: Kind, expected: u32, found: u32 },
    /// A control message on a data flow, or the reverse.
    WrongFlow { kind: Kind, flow: FlowKind },
    /// A frame of another session than the one that the greeting fixed.
    Session { expected: Session, found: Session },
    /// A frame is missing, doubled or out of order.
    Sequence { expected: u64, found: u64 },
    /// The checksums hold, the content makes no sense.
    Malformed { kind: Kind, why: Malformed },
}

/// What makes no sense in a message whose checksums hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Empty, not whole blocks, too long, or beyond the largest volume.
    Extent { at: Extent, len_max: u32 },
    /// Words beyond the bitmap of the largest volume, or too many.
    Words { first: u64, count: usize },
    /// Digests with a failure, none with a success, or too many.
    Digests { count: usize },
    /// A byte that stands for a choice is none of the choices.
    Code { found: u8 },
    /// A field of the header that this kind does not use, or an unknown flag, is set.
    Unused,
    /// Spare bytes of the body are not zero.
    Spare,
    /// A field of a hello is out of its range.
    Hello { field: &'static str },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Extent { at, len_max } => write!(
                f,
                "extent of {} bytes at {} is not 1 to {} whole blocks of a volume",
                at.len,
                at.offset,
                u64::from(*len_max) / crate::units::BLOCK_BYTES
            ),
            Malformed::Words { first, count } => {
                write!(f, "{count} bitmap words from word {first} on are no part of a bitmap")
            }
            Malformed::Digests { count } => {
                write!(f, "{count} digests do not fit the status and size of a request")
            }
            Malformed::Code { found } => write!(f, "code {found} has no meaning"),
            Malformed::Unused => f.write_str("a field that this kind does not use is set"),
            Malformed::Spare => f.write_str("spare bytes are not zero"),
            Malformed::Hello { field } => write!(f, "field `{field}` is out of its range"),
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("link frame refused: ")?;
        match self {
            FrameError::Magic { found } => write!(f, "it begins with {found:02x?}")?,
            FrameError::Version { found } => {
                write!(f, "protocol version {found}, the greeting agreed on another")?;
            }
            FrameError::HeaderCrc { expected, found } => {
                write!(f, "header CRC {found:08x}, sent as {expected:08x}")?;
            }
            FrameError::BodyCrc { kind, expected, found } => {
                write!(f, "body CRC of {kind:?} {found:08x}, sent as {expected:08x}")?;
            }
            FrameError::PayloadCrc { expected, found } => {
                write!(f, "payload CRC {found:08x}, sent as {expected:08x}")?;
            }
            FrameError::Spare => f.write_str("spare bytes are not zero")?,
            FrameError::Kind { found } => write!(f, "kind {found} is unknown")?,
            FrameError::BodyLength { kind, len } => {
                write!(f, "{kind:?} can't have a body of {len} bytes")?;
            }
            FrameError::PayloadLength { kind, expected, found } => {
                write!(f, "{kind:?} with {found} payload bytes instead of {expected}")?;
            }
            FrameError::WrongFlow { kind, flow } => write!(f, "{kind:?} on a {flow:?} flow")?,
            FrameError::Session { expected, found } => {
                write!(f, "session {found}, this flow belongs to {expected}")?;
            }
            FrameError::Sequence { expected, found } => {
                write!(f, "sequence {found} where {expected} is due")?;
            }
            FrameError::Malformed { kind, why } => write!(f, "{kind:?}: {why}")?,
        }
        f.write_str("; ")?;
        f.write_str(self.next_move())
    }
}

impl FrameError {
    /// What follows, for the log.
    const fn next_move(&self) -> &'static str {
        match self {
            FrameError::HeaderCrc { .. }
            | FrameError::BodyCrc { .. }
            | FrameError::PayloadCrc { .. }
            | FrameError::Magic { .. } => {
                "the link reconnects; if it happens again, suspect a network card or the memory"
            }
            FrameError::Session { .. } | FrameError::Sequence { .. } => {
                "the link reconnects; if it happens again, look for a proxy between the nodes"
            }
            FrameError::Version { .. } | FrameError::Kind { .. } | FrameError::Spare => {
                "the link reconnects; if it happens again, compare `--version` on both nodes"
            }
            _ => "the link reconnects; if it happens again, report it as a bug of the peer",
        }
    }
}

impl std::error::Error for FrameError {}
