//! Bytes of one heartbeat: fixed offsets, little-endian, HMAC-SHA256 of the cluster key at the end.
//! Always: `open(seal(p)) == p`; a packet of another key, cluster, group or version is refused
//! with a reason, and no byte of it is looked at before its HMAC has been checked.

use hmac::{Hmac, KeyInit, Mac};
use lockstep_engine::units::{BootId, ClusterId, GroupId, NodeId, Nonce, Tick, Version};
use sha2::Sha256;

/// Versions of the packet: a number, what and why.
pub const LEDGER: &[(u16, &str)] = &[(1, "first shape")];

const MAGIC: &[u8; 8] = b"LKSTBEAT";
const VERSION: u16 = 1;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = AT_MAGIC + 8;
const AT_FLAGS: usize = AT_VERSION + 2;
const AT_NODE: usize = AT_FLAGS + 2;
const AT_ZERO: usize = AT_NODE + 1;
const AT_CLUSTER: usize = AT_ZERO + 3;
const AT_GROUP: usize = AT_CLUSTER + 16;
const AT_BOOT: usize = AT_GROUP + 16;
const AT_LIFE: usize = AT_BOOT + 16;
const AT_TO_LIFE: usize = AT_LIFE + 16;
const AT_DIRECTORY: usize = AT_TO_LIFE + 16;
const AT_SEQUENCE: usize = AT_DIRECTORY + 16;
const AT_SENT: usize = AT_SEQUENCE + 8;
const AT_HEARD_SEQUENCE: usize = AT_SENT + 8;
const AT_HEARD_SENT: usize = AT_HEARD_SEQUENCE + 8;
const AT_RELEASED: usize = AT_HEARD_SENT + 8;
const AT_RECORD: usize = AT_RELEASED + 8;
const AT_MAC: usize = AT_RECORD + 8;
/// Bytes of a packet.
pub const BYTES: usize = AT_MAC + 32;
const _: () = assert!(BYTES == 192);

const HAS_ANSWER: u16 = 1;
const HAS_RELEASED: u16 = 1 << 1;
const HAS_RECORD: u16 = 1 << 2;
const HAS_DIRECTORY: u16 = 1 << 3;
const FLAGS_ALL: u16 = HAS_ANSWER | HAS_RELEASED | HAS_RECORD | HAS_DIRECTORY;

/// Who may talk to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group that the heartbeats speak for.
    pub group: GroupId,
    /// The node on this side.
    pub node: NodeId,
}

/// An answer to a heartbeat of the receiver (R13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Last sequence accepted.
    pub sequence: u64,
    /// When the receiver of this packet had sent it, by its own clock.
    pub sent: Tick,
}

/// What a heartbeat says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Sender.
    pub node: NodeId,
    /// Boot of the sender's host.
    pub boot: BootId,
    /// This life of the sender: random, new with each start of its daemon.
    pub life: Nonce,
    /// Life of the receiver as far as the sender knows it; `NONE` before the first exchange.
    pub to_life: Nonce,
    /// Raised with each packet of a life.
    pub sequence: u64,
    /// When it was sent, by the sender's clock.
    pub sent: Tick,
    /// The answer to the last heartbeat heard; absent while a takeover is prepared (R13).
    pub answer: Option<Answer>,
    /// The sender has released the group at this version.
    pub released: Option<Version>,
    /// Highest version of the group's record that the sender knows.
    pub record: Option<Version>,
    /// What the sender wrote into the arbiter's directory, as a proof of which one it sees.
    pub directory: Option<Nonce>,
}

/// Why bytes are no heartbeat for this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// Not the length of a heartbeat.
    Length { bytes: usize },
    /// HMAC differs: another key, or damaged.
    Key,
    /// No heartbeat, or reserved bytes are set.
    Shape,
    /// Another version of the packet.
    Version { found: u16 },
    /// Another cluster or group with the same key.
    Pair,
    /// Not from the peer (its own echo, for example).
    Sender,
}

fn mac(key: &[u8], bytes: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length; an error here can't happen and counts as a foreign key.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(bytes);
    Some(mac)
}

fn put(bytes: &mut [u8; BYTES], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The bytes of `packet` from `pair.node`.
pub fn seal(packet: &Packet, pair: &Pair, key: &[u8]) -> [u8; BYTES] {
    let mut flags = 0;
    let mut raw = [0; BYTES];
    put(&mut raw, AT_MAGIC, MAGIC);
    put(&mut raw, AT_VERSION, &VERSION.to_le_bytes());
    put(&mut raw, AT_NODE, &[packet.node.to_byte()]);
    put(&mut raw, AT_CLUSTER, &pair.cluster.0.to_le_bytes());
    put(&mut raw, AT_GROUP, &pair.group.0.to_le_bytes());
    put(&mut raw, AT_BOOT, &packet.boot.0.to_le_bytes());
    put(&mut raw, AT_LIFE, &packet.life.0.to_le_bytes());
    put(&mut raw, AT_TO_LIFE, &packet.to_life.0.to_le_bytes());
    put(&mut raw, AT_SEQUENCE, &packet.sequence.to_le_bytes());
    put(&mut raw, AT_SENT, &packet.sent.0.to_le_bytes());
    if let Some(answer) = packet.answer {
        flags |= HAS_ANSWER;
        put(&mut raw, AT_HEARD_SEQUENCE, &answer.sequence.to_le_bytes());
        put(&mut raw, AT_HEARD_SENT, &answer.sent.0.to_le_bytes());
    }
    if let Some(version) = packet.released {
        flags |= HAS_RELEASED;
        put(&mut raw, AT_RELEASED, &version.0.to_le_bytes());
    }
    if let Some(version) = packet.record {
        flags |= HAS_RECORD;
        put(&mut raw, AT_RECORD, &version.0.to_le_bytes());
    }
    if let Some(nonce) = packet.directory {
        flags |= HAS_DIRECTORY;
        put(&mut raw, AT_DIRECTORY, &nonce.0.to_le_bytes());
    }
    put(&mut raw, AT_FLAGS, &flags.to_le_bytes());
    if let Some(mac) = mac(key, &raw[..AT_MAC]) {
        put(&mut raw, AT_MAC, &mac.finalize().into_bytes());
    }
    raw
}

fn take<const N: usize>(raw: &[u8; BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&raw[at..at + N]);
    out
}

/// The packet in `raw`, when it comes from the peer of `pair.node`.
///
/// # Errors
/// The reason why it is foreign.
pub fn open(raw: &[u8], pair: &Pair, key: &[u8]) -> Result<Packet, Foreign> {
    let raw: &[u8; BYTES] = raw.try_into().map_err(|_| Foreign::Length { bytes: raw.len() })?;
    let mac = mac(key, &raw[..AT_MAC]).ok_or(Foreign::Key)?;
    mac.verify_slice(&raw[AT_MAC..]).map_err(|_| Foreign::Key)?;
    if &take::<8>(raw, AT_MAGIC) != MAGIC {
        return Err(Foreign::Shape);
    }
    let version = u16::from_le_bytes(take(raw, AT_VERSION));
    if version != VERSION {
        return Err(Foreign::Version { found: version });
    }
    let flags = u16::from_le_bytes(take(raw, AT_FLAGS));
    if flags & !FLAGS_ALL != 0 || take::<3>(raw, AT_ZERO) != [0; 3] {
        return Err(Foreign::Shape);
    }
    let wide = |at| u128::from_le_bytes(take(raw, at));
    let long = |at| u64::from_le_bytes(take(raw, at));
    if ClusterId(wide(AT_CLUSTER)) != pair.cluster || GroupId(wide(AT_GROUP)) != pair.group {
        return Err(Foreign::Pair);
    }
    let node = NodeId::from_byte(raw[AT_NODE]).ok_or(Foreign::Shape)?;
    if node != pair.node.peer() {
        return Err(Foreign::Sender);
    }
    let when = |flag: u16| flags & flag != 0;
    Ok(Packet {
        node,
        boot: BootId(wide(AT_BOOT)),
        life: Nonce(wide(AT_LIFE)),
        to_life: Nonce(wide(AT_TO_LIFE)),
        sequence: long(AT_SEQUENCE),
        sent: Tick(long(AT_SENT)),
        answer: when(HAS_ANSWER)
            .then(|| Answer { sequence: long(AT_HEARD_SEQUENCE), sent: Tick(long(AT_HEARD_SENT)) }),
        released: when(HAS_RELEASED).then(|| Version(long(AT_RELEASED))),
        record: when(HAS_RECORD).then(|| Version(long(AT_RECORD))),
        directory: when(HAS_DIRECTORY).then(|| Nonce(wide(AT_DIRECTORY))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"a cluster key of the tests";

    fn pair(node: NodeId) -> Pair {
        Pair { cluster: ClusterId(7), group: GroupId(8), node }
    }

    fn packet() -> Packet {
        Packet {
            node: NodeId::A,
            boot: BootId(3),
            life: Nonce(4),
            to_life: Nonce(5),
            sequence: 6,
            sent: Tick(7),
            answer: Some(Answer { sequence: 8, sent: Tick(9) }),
            released: Some(Version(10)),
            record: Some(Version(11)),
            directory: Some(Nonce(12)),
        }
    }

    #[test]
    fn a_packet_survives_the_journey_with_and_without_its_options() {
        let bare =
            Packet { answer: None, released: None, record: None, directory: None, ..packet() };
        for packet in [packet(), bare] {
            let raw = seal(&packet, &pair(NodeId::A), KEY);
            assert_eq!(open(&raw, &pair(NodeId::B), KEY), Ok(packet));
        }
    }

    #[test]
    fn another_key_and_each_flipped_bit_are_refused() {
        let raw = seal(&packet(), &pair(NodeId::A), KEY);
        assert_eq!(open(&raw, &pair(NodeId::B), b"another key"), Err(Foreign::Key));
        for at in 0..BYTES {
            let mut bad = raw;
            bad[at] ^= 0x10;
            assert_eq!(open(&bad, &pair(NodeId::B), KEY), Err(Foreign::Key), "byte {at}");
        }
    }

    #[test]
    fn another_cluster_an_echo_and_a_short_packet_are_refused() {
        let raw = seal(&packet(), &pair(NodeId::A), KEY);
        let other = Pair { cluster: ClusterId(99), ..pair(NodeId::B) };
        assert_eq!(open(&raw, &other, KEY), Err(Foreign::Pair));
        assert_eq!(open(&raw, &pair(NodeId::A), KEY), Err(Foreign::Sender));
        let short = &raw[..BYTES - 1];
        assert_eq!(open(short, &pair(NodeId::B), KEY), Err(Foreign::Length { bytes: BYTES - 1 }));
    }
}
