//! The pre-shared key and what is computed with it.
//! Always: the key is never printed, proofs are compared in constant time, and a proof made in one
//! direction, for one flow or in one session is worth nothing in another.

use crate::units::{NodeId, Session};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// Bytes of a proof.
pub(crate) const PROOF_BYTES: usize = 32;

/// Block of SHA-256: what HMAC pads its key to.
const HMAC_BLOCK_BYTES: usize = 64;

const LABEL_DIAL: &[u8] = b"lockstep link greeting: proof of the dialing side\n";
const LABEL_ACCEPT: &[u8] = b"lockstep link greeting: proof of the accepting side\n";
const LABEL_OTHER: &[u8] = b"lockstep link greeting: key for something else\n";
const LABEL_FLOW: &[u8] = b"lockstep link greeting: key of the data flows of a session\n";

/// The secret of the pair: 256 random bits, the same on both nodes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key with these bytes. They must be random: whoever is greeted can try to guess them
    /// at leisure.
    pub const fn new(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    /// The key that proves membership of `session` to its data flows.
    pub(crate) fn of_session(&self, session: Session) -> Key {
        let mut mac = self.mac();
        mac.update(LABEL_FLOW);
        mac.update(&session.0.to_le_bytes());
        Key(mac.finalize().into_bytes().into())
    }

    /// A key for another purpose, named by `purpose`: it tells nothing about this one, nor about
    /// those for other purposes.
    pub fn for_purpose(&self, purpose: &str) -> [u8; 32] {
        let mut mac = self.mac();
        mac.update(LABEL_OTHER);
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn mac(&self) -> Hmac<Sha256> {
        // HMAC pads a short key with zeroes to a block; a whole block is taken as it is.
        let mut block = [0; HMAC_BLOCK_BYTES];
        block[..self.0.len()].copy_from_slice(&self.0);
        Hmac::new(&block.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl std::str::FromStr for Key {
    type Err = KeyError;

    /// Reads 64 hex digits; white space around them is ignored.
    fn from_str(text: &str) -> Result<Key, KeyError> {
        let text = text.trim();
        let digits = text.chars().count();
        if digits != 64 {
            return Err(KeyError::Length { digits });
        }
        let mut bytes = [0; 32];
        let mut nibbles = text.chars().map(|c| c.to_digit(16));
        for (i, byte) in bytes.iter_mut().enumerate() {
            let (Some(Some(high)), Some(Some(low))) = (nibbles.next(), nibbles.next()) else {
                return Err(KeyError::Digit { at: 2 * i });
            };
            *byte = u8::try_from(high << 4 | low).map_err(|_| KeyError::Digit { at: 2 * i })?;
        }
        if bytes == [0; 32] {
            return Err(KeyError::Zero);
        }
        Ok(Key(bytes))
    }
}

/// Why a text is not a key. Never shows the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// Not 64 digits.
    Length { digits: usize },
    /// No hex digit at or right behind this place.
    Digit { at: usize },
    /// Nothing but zeroes.
    Zero,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Length { digits } => write!(f, "this key has {digits} characters")?,
            KeyError::Digit { at } => write!(f, "this key has no hex digit near place {at}")?,
            KeyError::Zero => f.write_str("this key is all zeroes")?,
        }
        f.write_str("; it must be 64 random hex digits, the same file on both nodes")
    }
}

impl std::error::Error for KeyError {}

/// Which side makes a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Dial,
    Accept,
}

/// What a proof vouches for, next to the side that gives it.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// Node that dialed; the other one accepted.
    pub dialer: NodeId,
    /// The session's own key on data flows.
    pub key: &'a Key,
    /// Every greeting byte so far, those of the frame before its proof included. They hold
    /// version, ids, boots, starts, flow, session, halves and nonces.
    pub transcript: [&'a [u8]; 4],
}

impl Claim<'_> {
    /// The proof that `side` gives.
    pub(crate) fn prove(&self, side: Side) -> [u8; PROOF_BYTES] {
        self.fed(side).finalize().into_bytes().into()
    }

    /// Whether `proof` is the one that `side` must give. Takes the same time for every proof.
    pub(crate) fn holds(&self, side: Side, proof: &[u8]) -> bool {
        self.fed(side).verify_slice(proof).is_ok()
    }

    fn fed(&self, side: Side) -> Hmac<Sha256> {
        let mut mac = self.key.mac();
        mac.update(match side {
            Side::Dial => LABEL_DIAL,
            Side::Accept => LABEL_ACCEPT,
        });
        mac.update(&[self.dialer.to_byte(), self.dialer.peer().to_byte()]);
        // The parts have fixed lengths per side, so their borders can't be moved.
        self.transcript.iter().for_each(|part| mac.update(part));
        mac
    }
}
