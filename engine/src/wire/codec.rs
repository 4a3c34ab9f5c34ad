//! Messages to bytes.
//! Always: one message has exactly one encoding, and every message that leaves here is accepted by
//! [`super::framer`]; a message that would not be is our bug, so it stops the engine here and not
//! the session at the peer.

use super::bounds::{ACK_BYTES, ACKS_PER_FRAME_MAX};
use super::bytes::{checksum, put};
use super::header::{FLAG_FUA, FLAG_PUNCH, HEADER_BYTES, Header};
use super::hello;
use super::kind::Kind;
use super::message::{Message, Status};
use super::validate::{payload_bytes, validate};
use crate::units::{Epoch, Session};

/// Appends the frame of `message` to `out`: header and body. The payload of `Write`, `SyncWrite`
/// and a successful `ReadDone` is sent by the caller right behind it; `payload` is its length in
/// bytes and its [`checksum`]. Allocates only when `out` must grow.
///
/// # Panics
/// When the message breaks a bound of the protocol or `payload` is not what it calls for.
pub fn encode(
    session: Session,
    epoch: Epoch,
    sequence: u64,
    message: &Message,
    payload: Option<(u32, u32)>,
    out: &mut Vec<u8>,
) {
    let kind = Kind::of(message);
    if let Err(why) = validate(message) {
        panic!("a {kind:?} must not be sent like this: {why}");
    }
    let (payload_len, payload_crc) = payload.unwrap_or((0, 0));
    assert!(payload_len == payload_bytes(message), "payload of {kind:?}: {payload_len} bytes");
    let fields = Fields::of(message);
    let head = Header {
        kind,
        flags: fields.flags,
        code: fields.code,
        sequence,
        session,
        epoch,
        token: fields.token,
        offset: fields.offset,
        length: fields.length,
        body_len: 0,
        body_crc: 0,
        payload_len,
        payload_crc,
    };
    append(head, out, |out| body(message, out));
}

/// Appends one frame that acknowledges all of `acks` (token, status) to `out`.
///
/// # Panics
/// When there are none, or more than `ACKS_PER_FRAME_MAX`.
pub fn encode_acks(
    session: Session,
    epoch: Epoch,
    sequence: u64,
    acks: &[(u64, Status)],
    out: &mut Vec<u8>,
) {
    assert!((1..=ACKS_PER_FRAME_MAX).contains(&acks.len()), "{} acks in a frame", acks.len());
    let head = Header {
        kind: Kind::Ack,
        flags: 0,
        code: 0,
        sequence,
        session,
        epoch,
        token: 0,
        offset: 0,
        length: 0,
        body_len: 0,
        body_crc: 0,
        payload_len: 0,
        payload_crc: 0,
    };
    append(head, out, |out| acks.iter().for_each(|(token, status)| ack(*token, *status, out)));
}

/// Writes the body behind room for the header, then the header with the body's length and CRC.
fn append(mut head: Header, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    body(out);
    let behind = &out[start + HEADER_BYTES..];
    assert!(head.kind.body_fits(behind.len()), "{:?} of {} bytes", head.kind, behind.len());
    // The kind's bound is far below 4 GiB, so the length always fits.
    head.body_len = u32::try_from(behind.len()).unwrap_or(u32::MAX);
    head.body_crc = checksum(behind);
    put(&mut out[start..], 0, &head.encode());
}

fn body(message: &Message, out: &mut Vec<u8>) {
    match message {
        Message::Hello(state) => out.extend_from_slice(&hello::encode(state)),
        Message::SyncBegin { generation, .. } | Message::MakeUpToDate { generation, .. } => {
            out.extend_from_slice(&generation.0.to_le_bytes());
        }
        Message::Bits { words, .. } => {
            words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
        Message::Ack { token, status } => ack(*token, *status, out),
        Message::Digests { digests, .. } => {
            digests.iter().for_each(|digest| out.extend_from_slice(&digest.0));
        }
        _ => {}
    }
}

fn ack(token: u64, status: Status, out: &mut Vec<u8>) {
    let mut raw = [0; ACK_BYTES];
    put(&mut raw, 0, &token.to_le_bytes());
    raw[8] = status as u8;
    out.extend_from_slice(&raw);
}

/// The part of a message that lives in the header. Whatever a message does not use is zero, and
/// the decoder compares with this: so there is one encoding and no place to hide bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fields {
    pub flags: u8,
    pub code: u8,
    pub token: u64,
    pub offset: u64,
    pub length: u32,
}

impl Fields {
    /// The header fields that `message` has.
    pub(crate) fn of(message: &Message) -> Fields {
        let mut fields = Fields::default();
        match message {
            Message::Ping { stamp: token }
            | Message::Pong { stamp: token }
            | Message::SyncReady { round: token }
            | Message::BitsTaken { round: token }
            | Message::MakeUpToDate { round: token, .. }
            | Message::UpToDateDone { round: token }
            | Message::DropBits { round: token }
            | Message::Flush { token }
            | Message::Life { counter: token }
            | Message::SyncBegin { round: token, .. }
            | Message::Bits { round: token, .. }
            | Message::FlushDone { token, .. }
            | Message::Write { token, .. }
            | Message::Zero { token, .. }
            | Message::SyncWrite { token, .. }
            | Message::Read { token, .. }
            | Message::ReadDone { token, .. }
            | Message::DigestRequest { token, .. }
            | Message::Digests { token, .. } => fields.token = *token,
            // Acknowledgements travel in batches, so their tokens are in the body.
            Message::Hello(_) | Message::Bye(_) | Message::Ack { .. } => {}
        }
        match message {
            Message::Write { at, .. }
            | Message::Zero { at, .. }
            | Message::SyncWrite { at, .. }
            | Message::Read { at, .. }
            | Message::ReadDone { at, .. }
            | Message::DigestRequest { at, .. } => {
                fields.offset = at.offset;
                fields.length = at.len;
            }
            Message::Bits { first_word, .. } => fields.offset = *first_word,
            _ => {}
        }
        match message {
            Message::Write { fua, .. } => fields.flags = flag(*fua, FLAG_FUA),
            Message::Zero { punch, fua, .. } => {
                fields.flags = flag(*fua, FLAG_FUA) | flag(*punch, FLAG_PUNCH);
            }
            Message::SyncBegin { kind, .. } => fields.code = *kind as u8,
            Message::Bye(reason) => fields.code = *reason as u8,
            Message::FlushDone { status, .. }
            | Message::ReadDone { status, .. }
            | Message::Digests { status, .. } => fields.code = *status as u8,
            _ => {}
        }
        fields
    }
}

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}
