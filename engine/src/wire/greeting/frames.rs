//! The five messages of a greeting, each of a fixed size.
//! Always: little-endian, spare bytes zero and checked, a CRC at the end so that damage is not
//! mistaken for a stranger. The first `PREFIX_BYTES` and the whole refusal never change.

use super::error::{GreetingError, Refused};
use super::key::PROOF_BYTES;
use crate::units::{BootId, ClusterId, GroupId, NodeId, Session, StartId, VolumeId};
use crate::wire::bytes::{all_zero, array_at, checksum, put, u16_at, u32_at, u64_at, u128_at};
use crate::wire::version::{GREETING_MAGIC, VERSION};

const PROTOCOL: usize = 8;
const KIND: usize = PROTOCOL + 2;
/// Bytes that tell version and kind of a greeting message.
pub(crate) const PREFIX_BYTES: usize = KIND + 1;

/// Random bytes against replay that each side adds.
pub(crate) const NONCE_BYTES: usize = 24;

/// The messages, in the order in which they travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Dialer: who I am, which flow I want, my nonce and half.
    Open = 1,
    /// Acceptor: my nonce and half. Says nothing about the acceptor.
    Challenge = 2,
    /// Dialer: proof over both.
    Proof = 3,
    /// Acceptor: who I am, and proof over all of it.
    Welcome = 4,
    /// Either: no, and why.
    Refusal = 5,
}

impl Kind {
    const fn bytes(self) -> usize {
        match self {
            Kind::Open => OPEN_BYTES,
            Kind::Challenge => CHALLENGE_BYTES,
            Kind::Proof => PROOF_FRAME_BYTES,
            Kind::Welcome => WELCOME_BYTES,
            Kind::Refusal => REFUSAL_BYTES,
        }
    }
}

/// Finds one message of `kind` at the head of `input`; `None` when more bytes are needed.
///
/// # Errors
/// The peer refused, speaks another version or no greeting at all, or the message is damaged.
pub(crate) fn find(kind: Kind, input: &[u8]) -> Result<Option<&[u8]>, GreetingError> {
    let known = input.len().min(GREETING_MAGIC.len());
    if input[..known] != GREETING_MAGIC[..known] {
        return Err(GreetingError::NotLockstep);
    }
    if input.len() < PREFIX_BYTES {
        return Ok(None);
    }
    let theirs = u16_at(input, PROTOCOL);
    let found = input[KIND];
    if found == Kind::Refusal as u8 {
        let Some(raw) = input.get(..REFUSAL_BYTES) else { return Ok(None) };
        check_crc(raw)?;
        let reason = Refused::from_byte(raw[REFUSAL_REASON]);
        return Err(GreetingError::PeerRefused { reason, theirs });
    }
    if theirs != VERSION {
        return Err(GreetingError::Version { theirs });
    }
    if found != kind as u8 {
        return Err(GreetingError::Unexpected { found });
    }
    let Some(raw) = input.get(..kind.bytes()) else { return Ok(None) };
    check_crc(raw)?;
    Ok(Some(raw))
}

fn check_crc(raw: &[u8]) -> Result<(), GreetingError> {
    let body = raw.len() - 4;
    if u32_at(raw, body) == checksum(&raw[..body]) { Ok(()) } else { Err(GreetingError::Damaged) }
}

fn begin<const N: usize>(kind: Kind) -> [u8; N] {
    let mut raw = [0; N];
    put(&mut raw, 0, &GREETING_MAGIC);
    put(&mut raw, PROTOCOL, &VERSION.to_le_bytes());
    raw[KIND] = kind as u8;
    raw
}

fn seal<const N: usize>(mut raw: [u8; N]) -> [u8; N] {
    let crc = checksum(&raw[..N - 4]);
    put(&mut raw, N - 4, &crc.to_le_bytes());
    raw
}

fn spare_is_zero(raw: &[u8]) -> Result<(), GreetingError> {
    if all_zero(raw) { Ok(()) } else { Err(GreetingError::Malformed) }
}

// Open
const FLOW: usize = PREFIX_BYTES;
const NODE: usize = FLOW + 1;
const FLOWS: usize = NODE + 1;
const OPEN_SPARE: usize = FLOWS + 1;
const CLUSTER: usize = OPEN_SPARE + 2;
const GROUP: usize = CLUSTER + 16;
const VOLUME: usize = GROUP + 16;
const BOOT: usize = VOLUME + 16;
const START: usize = BOOT + 16;
const SESSION: usize = START + 16;
const HALF: usize = SESSION + 16;
const NONCE: usize = HALF + 8;
const OPEN_TAIL: usize = NONCE + NONCE_BYTES;
/// Bytes of an open.
pub(crate) const OPEN_BYTES: usize = OPEN_TAIL + 12 + 4;
const _: () = assert!(CLUSTER == 16 && OPEN_BYTES == 160);

/// The dialer's first message.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    /// 0 for the control flow, else the index of a data flow.
    pub flow: u8,
    pub node: NodeId,
    pub flows: u8,
    pub cluster: ClusterId,
    pub group: GroupId,
    pub volume: VolumeId,
    pub boot: BootId,
    pub start: StartId,
    /// The session to attach to; `NONE` on the control flow.
    pub session: Session,
    /// The dialer's half of the session; zero on data flows.
    pub half: u64,
    pub nonce: [u8; NONCE_BYTES],
}

impl Open {
    pub(crate) fn encode(&self) -> [u8; OPEN_BYTES] {
        let mut raw = begin(Kind::Open);
        raw[FLOW] = self.flow;
        raw[NODE] = self.node.to_byte();
        raw[FLOWS] = self.flows;
        put(&mut raw, CLUSTER, &self.cluster.0.to_le_bytes());
        put(&mut raw, GROUP, &self.group.0.to_le_bytes());
        put(&mut raw, VOLUME, &self.volume.0.to_le_bytes());
        put(&mut raw, BOOT, &self.boot.0.to_le_bytes());
        put(&mut raw, START, &self.start.0.to_le_bytes());
        put(&mut raw, SESSION, &self.session.0.to_le_bytes());
        put(&mut raw, HALF, &self.half.to_le_bytes());
        put(&mut raw, NONCE, &self.nonce);
        seal(raw)
    }

    pub(crate) fn decode(raw: &[u8]) -> Result<Open, GreetingError> {
        spare_is_zero(&raw[OPEN_SPARE..CLUSTER])?;
        spare_is_zero(&raw[OPEN_TAIL..OPEN_BYTES - 4])?;
        Ok(Open {
            flow: raw[FLOW],
            node: NodeId::from_byte(raw[NODE]).ok_or(GreetingError::Malformed)?,
            flows: raw[FLOWS],
            cluster: ClusterId(u128_at(raw, CLUSTER)),
            group: GroupId(u128_at(raw, GROUP)),
            volume: VolumeId(u128_at(raw, VOLUME)),
            boot: BootId(u128_at(raw, BOOT)),
            start: StartId(u128_at(raw, START)),
            session: Session(u128_at(raw, SESSION)),
            half: u64_at(raw, HALF),
            nonce: array_at(raw, NONCE),
        })
    }
}

// Challenge
const C_SPARE: usize = PREFIX_BYTES;
const C_HALF: usize = C_SPARE + 5;
const C_NONCE: usize = C_HALF + 8;
const C_TAIL: usize = C_NONCE + NONCE_BYTES;
/// Bytes of a challenge.
pub(crate) const CHALLENGE_BYTES: usize = C_TAIL + 12 + 4;
const _: () = assert!(CHALLENGE_BYTES == 64);

/// A challenge with the acceptor's half of the session (zero on data flows).
pub(crate) fn encode_challenge(half: u64, nonce: &[u8; NONCE_BYTES]) -> [u8; CHALLENGE_BYTES] {
    let mut raw = begin(Kind::Challenge);
    put(&mut raw, C_HALF, &half.to_le_bytes());
    put(&mut raw, C_NONCE, nonce);
    seal(raw)
}

/// The half in a challenge.
pub(crate) fn decode_challenge(raw: &[u8]) -> Result<u64, GreetingError> {
    spare_is_zero(&raw[C_SPARE..C_HALF])?;
    spare_is_zero(&raw[C_TAIL..CHALLENGE_BYTES - 4])?;
    Ok(u64_at(raw, C_HALF))
}

// Proof
const P_SPARE: usize = PREFIX_BYTES;
const P_PROOF: usize = P_SPARE + 5;
const P_TAIL: usize = P_PROOF + PROOF_BYTES;
/// Bytes of a proof message.
pub(crate) const PROOF_FRAME_BYTES: usize = P_TAIL + 12 + 4;
const _: () = assert!(PROOF_FRAME_BYTES == 64);

/// The dialer's proof as a message.
pub(crate) fn encode_proof(proof: &[u8; PROOF_BYTES]) -> [u8; PROOF_FRAME_BYTES] {
    let mut raw = begin(Kind::Proof);
    put(&mut raw, P_PROOF, proof);
    seal(raw)
}

/// The proof in a proof message.
pub(crate) fn decode_proof(raw: &[u8]) -> Result<[u8; PROOF_BYTES], GreetingError> {
    spare_is_zero(&raw[P_SPARE..P_PROOF])?;
    spare_is_zero(&raw[P_TAIL..PROOF_FRAME_BYTES - 4])?;
    Ok(array_at(raw, P_PROOF))
}

// Welcome
const W_NODE: usize = PREFIX_BYTES;
const W_FLOWS: usize = W_NODE + 1;
const W_SPARE: usize = W_FLOWS + 1;
const W_BOOT: usize = W_SPARE + 3;
const W_START: usize = W_BOOT + 16;
/// The proof covers the welcome up to here.
pub(crate) const W_PROOF: usize = W_START + 16;
const W_TAIL: usize = W_PROOF + PROOF_BYTES;
/// Bytes of a welcome.
pub(crate) const WELCOME_BYTES: usize = W_TAIL + 12 + 4;
const _: () = assert!(WELCOME_BYTES == 96);

/// The acceptor's last message.
#[derive(Clone, Copy)]
pub(crate) struct Welcome {
    pub node: NodeId,
    pub flows: u8,
    pub boot: BootId,
    pub start: StartId,
}

impl Welcome {
    /// The welcome, with the proof that `prove` makes of its bytes before `W_PROOF`.
    pub(crate) fn encode(
        &self,
        prove: impl FnOnce(&[u8]) -> [u8; PROOF_BYTES],
    ) -> [u8; WELCOME_BYTES] {
        let mut raw = begin(Kind::Welcome);
        raw[W_NODE] = self.node.to_byte();
        raw[W_FLOWS] = self.flows;
        put(&mut raw, W_BOOT, &self.boot.0.to_le_bytes());
        put(&mut raw, W_START, &self.start.0.to_le_bytes());
        let proof = prove(&raw[..W_PROOF]);
        put(&mut raw, W_PROOF, &proof);
        seal(raw)
    }

    /// The welcome and its proof, not yet checked.
    pub(crate) fn decode(raw: &[u8]) -> Result<(Welcome, [u8; PROOF_BYTES]), GreetingError> {
        spare_is_zero(&raw[W_SPARE..W_BOOT])?;
        spare_is_zero(&raw[W_TAIL..WELCOME_BYTES - 4])?;
        let welcome = Welcome {
            node: NodeId::from_byte(raw[W_NODE]).ok_or(GreetingError::Malformed)?,
            flows: raw[W_FLOWS],
            boot: BootId(u128_at(raw, W_BOOT)),
            start: StartId(u128_at(raw, W_START)),
        };
        Ok((welcome, array_at(raw, W_PROOF)))
    }
}

// Refusal
const REFUSAL_REASON: usize = PREFIX_BYTES;
/// Bytes of a refusal, in every version.
pub const REFUSAL_BYTES: usize = REFUSAL_REASON + 1 + 16 + 4;
const _: () = assert!(REFUSAL_BYTES == 32);

/// The message that refuses a greeting. For refusals that only the shell can know of
/// (`Refused::Busy`, `Refused::FlowTaken`); all others are written by `Greeting::feed`.
pub fn refusal(reason: Refused) -> [u8; REFUSAL_BYTES] {
    let mut raw = begin(Kind::Refusal);
    raw[REFUSAL_REASON] = reason as u8;
    seal(raw)
}

/// Largest greeting message: a staging buffer of this size is enough.
pub const GREETING_BYTES_MAX: usize = OPEN_BYTES;
const _: () = assert!(GREETING_BYTES_MAX >= WELCOME_BYTES && GREETING_BYTES_MAX >= REFUSAL_BYTES);
