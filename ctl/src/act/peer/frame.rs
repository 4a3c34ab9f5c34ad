//! The bytes of a call behind its greeting. Pure. Always: a length is believed only within its
//! bound; a frame counts only with a MAC by the key of its session, which covers head and body, so
//! that no frame of another session, direction or kind is taken for it.
//!
//! ```text
//! magic 4 | version 2 | kind 1 | reason 1 | length 4 | zero 4 | body | MAC 32
//! ```

use super::BODY_BYTES_MAX;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

const MAGIC: &[u8; 4] = b"LSDC";
/// Versions of these frames, newest last.
pub const LEDGER: &[(u16, &str)] = &[(1, "one ask, one answer")];
const VERSION: u16 = LEDGER[LEDGER.len() - 1].0;

const AT_VERSION: usize = 4;
const AT_KIND: usize = AT_VERSION + 2;
const AT_REASON: usize = AT_KIND + 1;
const AT_LENGTH: usize = AT_REASON + 1;
const AT_ZERO: usize = AT_LENGTH + 4;
/// Bytes of a head.
pub const HEAD_BYTES: usize = AT_ZERO + 4;
/// Bytes of a MAC.
pub const MAC_BYTES: usize = 32;
const _: () = assert!(HEAD_BYTES == 16);

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// From the caller.
    Ask,
    /// What was asked has been done.
    Answer,
    /// It has not, and will not be, but for `Refusal::Away`.
    Refusal(Refusal),
}

/// Why a call is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The caller is not the life that is heard here, or nobody is.
    OtherLife,
    /// Enough calls are being answered.
    Busy,
    /// The ask makes no sense to this release.
    NotUnderstood,
    /// It was taken up, and there is no answer: nobody knows whether it was done.
    Away,
}

impl Refusal {
    const TABLE: [(u8, Refusal); 4] = [
        (1, Refusal::OtherLife),
        (2, Refusal::Busy),
        (3, Refusal::NotUnderstood),
        (4, Refusal::Away),
    ];

    fn to_byte(self) -> u8 {
        Refusal::TABLE.iter().find(|(_, known)| *known == self).map_or(0, |(byte, _)| *byte)
    }

    fn from_byte(byte: u8) -> Option<Refusal> {
        Refusal::TABLE.iter().find(|(known, _)| *known == byte).map(|(_, refusal)| *refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::OtherLife => {
                "the daemons have not met since one of them was started; try again in a moment"
            }
            Refusal::Busy => "the other daemon answers other calls; try again in a moment",
            Refusal::NotUnderstood => {
                "the other daemon does not know what was asked; bring both to the same release"
            }
            Refusal::Away => "the other daemon had no time to answer; see its log",
        })
    }
}

/// Why bytes are no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadFrame {
    /// Something else speaks.
    Magic,
    /// Another release.
    Version { found: u16 },
    /// Not of the kind that is due, or with bits that mean nothing.
    Shape,
    /// Longer than one may be.
    Length { bytes: usize },
    /// Not made with the key of this session.
    Mac,
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadFrame::Magic => write!(f, "no frame of a call"),
            BadFrame::Version { found } => write!(f, "version {found}, known is {VERSION}"),
            BadFrame::Shape => write!(f, "a frame of another kind or shape"),
            BadFrame::Length { bytes } => write!(f, "{bytes} bytes, at most {BODY_BYTES_MAX}"),
            BadFrame::Mac => write!(f, "a frame that the other daemon did not make"),
        }
    }
}

fn mac(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC pads a short key with zeroes to a block; a whole block is taken as it is.
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::new(&block.into())
}

/// A whole frame.
///
/// # Panics
/// When the body is longer than `BODY_BYTES_MAX`.
pub fn seal(kind: Kind, body: &[u8], key: &[u8; 32]) -> Vec<u8> {
    assert!(body.len() <= BODY_BYTES_MAX, "a body of {} bytes", body.len());
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let (kind, reason) = match kind {
        Kind::Ask => (1, 0),
        Kind::Answer => (2, 0),
        Kind::Refusal(refusal) => (3, refusal.to_byte()),
    };
    let mut raw = vec![0; HEAD_BYTES];
    raw[..AT_VERSION].copy_from_slice(MAGIC);
    raw[AT_VERSION..AT_KIND].copy_from_slice(&VERSION.to_le_bytes());
    (raw[AT_KIND], raw[AT_REASON]) = (kind, reason);
    raw[AT_LENGTH..AT_ZERO].copy_from_slice(&length.to_le_bytes());
    raw.extend_from_slice(body);
    let mut mac = mac(key);
    mac.update(&raw);
    raw.extend_from_slice(&mac.finalize().into_bytes());
    raw
}

/// Kind and length of the body behind a head. Both are only believed once the MAC is seen to hold.
///
/// # Errors
/// The head is none.
pub fn head(raw: &[u8; HEAD_BYTES]) -> Result<(Kind, usize), BadFrame> {
    if &raw[..AT_VERSION] != MAGIC {
        return Err(BadFrame::Magic);
    }
    let found = u16::from_le_bytes([raw[AT_VERSION], raw[AT_VERSION + 1]]);
    if found != VERSION {
        return Err(BadFrame::Version { found });
    }
    let kind = match (raw[AT_KIND], raw[AT_REASON]) {
        (1, 0) => Kind::Ask,
        (2, 0) => Kind::Answer,
        (3, reason) => Kind::Refusal(Refusal::from_byte(reason).ok_or(BadFrame::Shape)?),
        _ => return Err(BadFrame::Shape),
    };
    if raw[AT_ZERO..] != [0; 4] {
        return Err(BadFrame::Shape);
    }
    let length = [AT_LENGTH, AT_LENGTH + 1, AT_LENGTH + 2, AT_LENGTH + 3].map(|at| raw[at]);
    let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if bytes > BODY_BYTES_MAX {
        return Err(BadFrame::Length { bytes });
    }
    Ok((kind, bytes))
}

/// The body of a frame, when its MAC holds; `rest` is the body with the MAC behind it.
///
/// # Errors
/// The other side did not make it.
pub fn open(
    head: &[u8; HEAD_BYTES],
    mut rest: Vec<u8>,
    key: &[u8; 32],
) -> Result<Vec<u8>, BadFrame> {
    let length = rest.len().checked_sub(MAC_BYTES).ok_or(BadFrame::Shape)?;
    let sum = rest.split_off(length);
    let mut mac = mac(key);
    mac.update(head);
    mac.update(&rest);
    mac.verify_slice(&sum).map_err(|_| BadFrame::Mac)?;
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn split(raw: &[u8]) -> ([u8; HEAD_BYTES], Vec<u8>) {
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&raw[..HEAD_BYTES]);
        (head, raw[HEAD_BYTES..].to_vec())
    }

    #[test]
    fn every_kind_survives_the_journey() {
        let refusals = Refusal::TABLE.map(|(_, refusal)| Kind::Refusal(refusal));
        for kind in [Kind::Ask, Kind::Answer].into_iter().chain(refusals) {
            let (first, rest) = split(&seal(kind, b"body", &KEY));
            assert_eq!(head(&first), Ok((kind, 4)));
            assert_eq!(open(&first, rest, &KEY), Ok(b"body".to_vec()));
        }
    }

    #[test]
    fn each_flipped_bit_and_another_key_are_refused() {
        let raw = seal(Kind::Ask, b"some body", &KEY);
        for at in 0..raw.len() {
            let mut bad = raw.clone();
            bad[at] ^= 0x20;
            let (first, rest) = split(&bad);
            let opened = head(&first).and_then(|_| open(&first, rest, &KEY));
            assert!(opened.is_err(), "byte {at}");
        }
        let (first, rest) = split(&raw);
        assert_eq!(open(&first, rest, &[8; 32]), Err(BadFrame::Mac));
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_read() {
        let mut raw = seal(Kind::Ask, b"", &KEY);
        raw[AT_LENGTH..AT_ZERO].copy_from_slice(&u32::MAX.to_le_bytes());
        let (first, _) = split(&raw);
        assert!(matches!(head(&first), Err(BadFrame::Length { .. })));
    }
}
