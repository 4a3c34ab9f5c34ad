//! The fixed head of every frame.
//! Always: little-endian, no padding, spare bytes zero and checked. The header has a checksum of
//! its own, so that its lengths are believed before anything behind it has arrived.

use super::bytes::{all_zero, array_at, checksum, put, u16_at, u32_at, u64_at, u128_at};
use super::error::FrameError;
use super::kind::Kind;
use super::version::{FRAME_MAGIC, VERSION};
use crate::units::{Epoch, Session};

/// `FRAME_MAGIC`.
pub const MAGIC: usize = 0;
/// Protocol version, u16.
pub const PROTOCOL: usize = MAGIC + 4;
/// Kind, u8.
pub const KIND: usize = PROTOCOL + 2;
/// Flags, u8: `FLAG_FUA`, `FLAG_PUNCH`.
pub const FLAGS: usize = KIND + 1;
/// Place of the frame in its flow, u64, raised by one with each.
pub const SEQUENCE: usize = FLAGS + 1;
/// Session, u128.
pub const SESSION: usize = SEQUENCE + 8;
/// Epoch of the sender's record, u64.
pub const EPOCH: usize = SESSION + 16;
/// Token, round, stamp or counter, u64.
pub const TOKEN: usize = EPOCH + 8;
/// First byte of the extent or first word of the bits, u64.
pub const OFFSET: usize = TOKEN + 8;
/// Bytes of the extent, u32.
pub const LENGTH: usize = OFFSET + 8;
/// Bytes of the body, u32.
pub const BODY_LEN: usize = LENGTH + 4;
/// CRC-32 of the body, u32.
pub const BODY_CRC: usize = BODY_LEN + 4;
/// Bytes of the payload, u32.
pub const PAYLOAD_LEN: usize = BODY_CRC + 4;
/// CRC-32 of the payload, u32.
pub const PAYLOAD_CRC: usize = PAYLOAD_LEN + 4;
/// Status, sync kind or reason, u8.
pub const CODE: usize = PAYLOAD_CRC + 4;
/// Zeroes.
pub const SPARE: usize = CODE + 1;
/// CRC-32 of everything before it, u32.
pub const HEADER_CRC: usize = SPARE + 15;
/// Bytes of the header.
pub const HEADER_BYTES: usize = HEADER_CRC + 4;
const _: () = assert!(HEADER_BYTES == 96);
const _: () = assert!(SESSION == 16 && TOKEN == 40 && BODY_LEN == 60 && HEADER_CRC == 92);

/// Stable when acknowledged (`Write`, `Zero`).
pub const FLAG_FUA: u8 = 1;
/// May deallocate (`Zero`).
pub const FLAG_PUNCH: u8 = 2;

/// A header as fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the frame says.
    pub kind: Kind,
    /// `FLAG_FUA`, `FLAG_PUNCH`.
    pub flags: u8,
    /// Status, sync kind or reason; zero where the kind has none.
    pub code: u8,
    /// Place in the flow.
    pub sequence: u64,
    /// Incarnation of the link.
    pub session: Session,
    /// Epoch of the sender's record.
    pub epoch: Epoch,
    /// Token, round, stamp or counter.
    pub token: u64,
    /// First byte of the extent or first word of the bits.
    pub offset: u64,
    /// Bytes of the extent.
    pub length: u32,
    /// Bytes of the body.
    pub body_len: u32,
    /// CRC-32 of the body.
    pub body_crc: u32,
    /// Bytes of the payload.
    pub payload_len: u32,
    /// CRC-32 of the payload; zero when there is none.
    pub payload_crc: u32,
}

impl Header {
    /// The bytes of the header, checksum included.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut raw = [0; HEADER_BYTES];
        put(&mut raw, MAGIC, &FRAME_MAGIC);
        put(&mut raw, PROTOCOL, &VERSION.to_le_bytes());
        raw[KIND] = self.kind.to_byte();
        raw[FLAGS] = self.flags;
        put(&mut raw, SEQUENCE, &self.sequence.to_le_bytes());
        put(&mut raw, SESSION, &self.session.0.to_le_bytes());
        put(&mut raw, EPOCH, &self.epoch.0.to_le_bytes());
        put(&mut raw, TOKEN, &self.token.to_le_bytes());
        put(&mut raw, OFFSET, &self.offset.to_le_bytes());
        put(&mut raw, LENGTH, &self.length.to_le_bytes());
        put(&mut raw, BODY_LEN, &self.body_len.to_le_bytes());
        put(&mut raw, BODY_CRC, &self.body_crc.to_le_bytes());
        put(&mut raw, PAYLOAD_LEN, &self.payload_len.to_le_bytes());
        put(&mut raw, PAYLOAD_CRC, &self.payload_crc.to_le_bytes());
        raw[CODE] = self.code;
        let crc = checksum(&raw[..HEADER_CRC]);
        put(&mut raw, HEADER_CRC, &crc.to_le_bytes());
        raw
    }

    /// The fields of a header whose magic, version, checksum, spare bytes and kind are right.
    ///
    /// # Errors
    /// Names the first of those that is not.
    pub fn decode(raw: &[u8; HEADER_BYTES]) -> Result<Header, FrameError> {
        if raw[..PROTOCOL] != FRAME_MAGIC {
            return Err(FrameError::Magic { found: array_at(raw, MAGIC) });
        }
        let found = u16_at(raw, PROTOCOL);
        if found != VERSION {
            return Err(FrameError::Version { found });
        }
        let (expected, found) = (u32_at(raw, HEADER_CRC), checksum(&raw[..HEADER_CRC]));
        if expected != found {
            return Err(FrameError::HeaderCrc { expected, found });
        }
        if !all_zero(&raw[SPARE..HEADER_CRC]) {
            return Err(FrameError::Spare);
        }
        let kind = Kind::from_byte(raw[KIND]).ok_or(FrameError::Kind { found: raw[KIND] })?;
        Ok(Header {
            kind,
            flags: raw[FLAGS],
            code: raw[CODE],
            sequence: u64_at(raw, SEQUENCE),
            session: Session(u128_at(raw, SESSION)),
            epoch: Epoch(u64_at(raw, EPOCH)),
            token: u64_at(raw, TOKEN),
            offset: u64_at(raw, OFFSET),
            length: u32_at(raw, LENGTH),
            body_len: u32_at(raw, BODY_LEN),
            body_crc: u32_at(raw, BODY_CRC),
            payload_len: u32_at(raw, PAYLOAD_LEN),
            payload_crc: u32_at(raw, PAYLOAD_CRC),
        })
    }
}
