//! Takes one flow's bytes apart into frames.
//! Always: frames come out in the order of their sequence, of one session once pinned, each fully
//! checked; after the first error the flow is dead. Needs at most `FRAME_HEAD_BYTES_MAX` staged
//! bytes at once and keeps none of them.
//!
//! The lane receives into a staging buffer and calls [`Framer::next`] on what it has not consumed
//! yet. When a frame has a payload, the lane takes those bytes itself, first from what is staged
//! behind the frame, then from the socket straight into a slot, and hands in their checksum.

use super::bounds::BODY_BYTES_MAX;
use super::bytes::{array_at, checksum};
use super::decode::{Messages, decode};
use super::error::FrameError;
use super::header::{HEADER_BYTES, Header, MAGIC};
use super::kind::FlowKind;
use super::version::FRAME_MAGIC;
use crate::limits::FRAME_PAYLOAD_MAX;
use crate::units::{Epoch, Session};

/// Sequence of the first frame of a flow, in each direction.
pub const FRAME_SEQUENCE_FIRST: u64 = 1;

/// What the staged bytes are.
#[derive(Debug)]
pub enum Step<'a> {
    /// Not a whole frame head yet.
    NeedMore {
        /// Call again when so many bytes are staged, the present ones included.
        at_least: usize,
    },
    /// A frame.
    Frame(Frame<'a>),
}

/// A frame whose header and body are in order.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Bytes of header and body: the payload, or the next frame, begins behind them.
    pub consumed: usize,
    /// Incarnation of the link that it belongs to.
    pub session: Session,
    /// Epoch of the sender's record (R5: the replica decides).
    pub epoch: Epoch,
    /// What it says. With a payload it is always exactly one message.
    pub messages: Messages<'a>,
    /// The payload that follows on this flow, if any.
    pub payload: Option<PayloadInfo>,
}

/// A payload to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PayloadInfo {
    /// Bytes, at most `FRAME_PAYLOAD_MAX`.
    pub len: u32,
    /// Their CRC-32, as sent.
    pub crc: u32,
}

/// The receiving half of one flow.
#[derive(Debug)]
pub struct Framer {
    flow: FlowKind,
    session: Option<Session>,
    sequence: u64,
    awaited: Option<PayloadInfo>,
    failed: Option<FrameError>,
}

impl Framer {
    /// A flow from which nothing was received yet. Accepts frames of any session: the caller
    /// checks, or pins one.
    pub const fn new(flow: FlowKind) -> Framer {
        Framer { flow, session: None, sequence: FRAME_SEQUENCE_FIRST, awaited: None, failed: None }
    }

    /// A flow of this session alone.
    pub const fn pinned(flow: FlowKind, session: Session) -> Framer {
        let mut framer = Framer::new(flow);
        framer.session = Some(session);
        framer
    }

    /// From now on refuses frames of every other session.
    pub fn pin(&mut self, session: Session) {
        self.session = Some(session);
    }

    /// The first frame of `staged`, which begins where the last frame, or its payload, ended.
    ///
    /// # Errors
    /// The flow is broken; every later call says so again.
    ///
    /// # Panics
    /// When the payload of the frame before was not handed in to `check_payload`.
    pub fn next<'a>(&mut self, staged: &'a [u8]) -> Result<Step<'a>, FrameError> {
        assert!(self.awaited.is_none(), "the payload of the last frame was not checked");
        if let Some(error) = self.failed {
            return Err(error);
        }
        let step = self.step(staged);
        if let Err(error) = &step {
            self.failed = Some(*error);
        }
        step
    }

    /// Ends the payload of the last frame: `crc` is the checksum of the bytes that came.
    ///
    /// # Errors
    /// The bytes are not those that were sent; the buffer must not be used.
    ///
    /// # Panics
    /// When no payload is awaited.
    pub fn check_payload(&mut self, crc: u32) -> Result<(), FrameError> {
        let Some(info) = self.awaited.take() else { panic!("no payload is awaited") };
        if info.crc == crc {
            return Ok(());
        }
        let error = FrameError::PayloadCrc { expected: info.crc, found: crc };
        self.failed = Some(error);
        Err(error)
    }

    /// The payload whose bytes are on their way.
    pub const fn awaited(&self) -> Option<PayloadInfo> {
        self.awaited
    }

    fn step<'a>(&mut self, staged: &'a [u8]) -> Result<Step<'a>, FrameError> {
        let known = staged.len().min(FRAME_MAGIC.len());
        if staged[..known] != FRAME_MAGIC[..known] {
            let mut found = [0; 4];
            found[..known].copy_from_slice(&staged[..known]);
            return Err(FrameError::Magic { found });
        }
        if staged.len() < HEADER_BYTES {
            return Ok(Step::NeedMore { at_least: HEADER_BYTES });
        }
        let header = Header::decode(&array_at(staged, MAGIC))?;
        let body_bytes = self.admit(&header)?;
        let consumed = HEADER_BYTES + body_bytes;
        if staged.len() < consumed {
            return Ok(Step::NeedMore { at_least: consumed });
        }
        let body = &staged[HEADER_BYTES..consumed];
        let (kind, expected, found) = (header.kind, header.body_crc, checksum(body));
        if expected != found {
            return Err(FrameError::BodyCrc { kind, expected, found });
        }
        let messages = decode(&header, body)?;
        self.sequence = self.sequence.wrapping_add(1);
        let PayloadInfo { len, crc } =
            PayloadInfo { len: header.payload_len, crc: header.payload_crc };
        let payload = (len > 0).then_some(PayloadInfo { len, crc });
        self.awaited = payload;
        let Header { session, epoch, .. } = header;
        Ok(Step::Frame(Frame { consumed, session, epoch, messages, payload }))
    }

    /// Everything that the header alone can tell; the bytes of the body.
    fn admit(&self, header: &Header) -> Result<usize, FrameError> {
        let (kind, flow) = (header.kind, self.flow);
        if let Some(expected) = self.session
            && expected != header.session
        {
            return Err(FrameError::Session { expected, found: header.session });
        }
        if header.sequence != self.sequence {
            let (expected, found) = (self.sequence, header.sequence);
            return Err(FrameError::Sequence { expected, found });
        }
        if kind.flow() != flow {
            return Err(FrameError::WrongFlow { kind, flow });
        }
        let len = header.body_len;
        let body_bytes = usize::try_from(len)
            .ok()
            .filter(|bytes| len <= BODY_BYTES_MAX && kind.body_fits(*bytes))
            .ok_or(FrameError::BodyLength { kind, len })?;
        let payload_max = if kind.may_carry_payload() { FRAME_PAYLOAD_MAX } else { 0 };
        if header.payload_len > payload_max {
            let (expected, found) = (payload_max, header.payload_len);
            return Err(FrameError::PayloadLength { kind, expected, found });
        }
        Ok(body_bytes)
    }
}
