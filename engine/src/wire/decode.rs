//! Checked bytes to messages.
//! Always: what comes out obeys `validate`, encodes to the very bytes it came from, and for the
//! messages of the write path was made without allocating.

use super::bounds::ACK_BYTES;
use super::bytes::{all_zero, array_at, u64_at, u128_at};
use super::codec::Fields;
use super::error::{FrameError, Malformed};
use super::header::{FLAG_FUA, FLAG_PUNCH, Header};
use super::hello;
use super::kind::Kind;
use super::message::{ByeReason, Message, Status, SyncKind};
use super::validate::{payload_bytes, validate};
use crate::units::{Digest, Extent, Generation};

/// The messages of one frame, in order: one, or a batch of acknowledgements read from the staged
/// bytes as they are asked for. All are checked before the first comes out.
#[derive(Clone, Debug)]
pub struct Messages<'a>(Inner<'a>);

#[derive(Clone, Debug)]
enum Inner<'a> {
    One(Option<Message>),
    Acks(std::slice::ChunksExact<'a, u8>),
}

impl Iterator for Messages<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        match &mut self.0 {
            Inner::One(message) => message.take(),
            Inner::Acks(chunks) => {
                let raw = chunks.next()?;
                // `acks` has refused every status that is neither.
                let status = if raw[8] == Status::Ok as u8 { Status::Ok } else { Status::IoError };
                Some(Message::Ack { token: u64_at(raw, 0), status })
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Inner::One(message) => usize::from(message.is_some()),
            Inner::Acks(chunks) => chunks.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Messages<'_> {}

/// The messages of a frame whose checksums hold and whose body has a length that its kind allows.
pub(crate) fn decode<'a>(header: &Header, body: &'a [u8]) -> Result<Messages<'a>, FrameError> {
    let kind = header.kind;
    let malformed = |why| FrameError::Malformed { kind, why };
    let found =
        Fields { flags: header.flags, code: header.code, ..Fields::default() }.placed(header);
    if kind == Kind::Ack {
        if found != Fields::default() {
            return Err(malformed(Malformed::Unused));
        }
        payload(header, 0)?;
        return acks(body).map_err(malformed);
    }
    let message = one(header, body).map_err(malformed)?;
    if Fields::of(&message) != found {
        return Err(malformed(Malformed::Unused));
    }
    validate(&message).map_err(malformed)?;
    payload(header, payload_bytes(&message))?;
    Ok(Messages(Inner::One(Some(message))))
}

impl Fields {
    fn placed(self, header: &Header) -> Fields {
        let Header { token, offset, length, .. } = *header;
        Fields { token, offset, length, ..self }
    }
}

fn payload(header: &Header, expected: u32) -> Result<(), FrameError> {
    let (kind, found) = (header.kind, header.payload_len);
    if found != expected {
        return Err(FrameError::PayloadLength { kind, expected, found });
    }
    if expected == 0 && header.payload_crc != 0 {
        return Err(FrameError::Malformed { kind, why: Malformed::Unused });
    }
    Ok(())
}

fn acks(body: &[u8]) -> Result<Messages<'_>, Malformed> {
    let chunks = body.chunks_exact(ACK_BYTES);
    for raw in chunks.clone() {
        status(raw[8])?;
        if !all_zero(&raw[9..]) {
            return Err(Malformed::Spare);
        }
    }
    Ok(Messages(Inner::Acks(chunks)))
}

fn one(header: &Header, body: &[u8]) -> Result<Message, Malformed> {
    let token = header.token;
    let round = token;
    let at = Extent::new(header.offset, header.length);
    let fua = header.flags & FLAG_FUA != 0;
    let punch = header.flags & FLAG_PUNCH != 0;
    Ok(match header.kind {
        Kind::Ping => Message::Ping { stamp: token },
        Kind::Pong => Message::Pong { stamp: token },
        Kind::Hello => Message::Hello(Box::new(hello::decode(body)?)),
        Kind::SyncBegin => Message::SyncBegin {
            round,
            kind: sync_kind(header.code)?,
            generation: Generation(u128_at(body, 0)),
        },
        Kind::Bits => Message::Bits {
            round,
            first_word: header.offset,
            words: body.chunks_exact(8).map(|raw| u64_at(raw, 0)).collect(),
        },
        Kind::SyncReady => Message::SyncReady { round },
        Kind::BitsTaken => Message::BitsTaken { round },
        Kind::Flush => Message::Flush { token },
        Kind::FlushDone => Message::FlushDone { token, status: status(header.code)? },
        Kind::MakeUpToDate => {
            Message::MakeUpToDate { round, generation: Generation(u128_at(body, 0)) }
        }
        Kind::UpToDateDone => Message::UpToDateDone { round },
        Kind::DropBits => Message::DropBits { round },
        Kind::Life => Message::Life { counter: token },
        Kind::Bye => Message::Bye(bye_reason(header.code)?),
        Kind::Write => Message::Write { token, at, fua },
        Kind::Zero => Message::Zero { token, at, punch, fua },
        Kind::SyncWrite => Message::SyncWrite { token, at },
        Kind::Ack => Message::Ack { token: u64_at(body, 0), status: status(body[8])? },
        Kind::Read => Message::Read { token, at },
        Kind::ReadDone => Message::ReadDone { token, status: status(header.code)?, at },
        Kind::DigestRequest => Message::DigestRequest { token, at },
        Kind::Digests => Message::Digests {
            token,
            status: status(header.code)?,
            digests: body.chunks_exact(16).map(|raw| Digest(array_at(raw, 0))).collect(),
        },
    })
}

fn status(byte: u8) -> Result<Status, Malformed> {
    [Status::Ok, Status::IoError]
        .into_iter()
        .find(|status| *status as u8 == byte)
        .ok_or(Malformed::Code { found: byte })
}

fn sync_kind(byte: u8) -> Result<SyncKind, Malformed> {
    [SyncKind::Incremental, SyncKind::Full, SyncKind::Reconcile]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
        .ok_or(Malformed::Code { found: byte })
}

fn bye_reason(byte: u8) -> Result<ByeReason, Malformed> {
    Ok(match byte {
        1 => ByeReason::Stopping,
        2 => ByeReason::OldEpoch,
        3 => ByeReason::Unrelated,
        4 => ByeReason::TwoRecords,
        5 => ByeReason::Protocol,
        6 => ByeReason::Replaced,
        7 => ByeReason::NoProgress,
        8 => ByeReason::WrongSize,
        9 => ByeReason::Failed,
        _ => return Err(Malformed::Code { found: byte }),
    })
}
