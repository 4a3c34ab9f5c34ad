//! Bytes of one heartbeat: a head, an entry for each group, and HMAC-SHA256 of the cluster key at
//! the end. Fixed offsets, little-endian, within one datagram of an Ethernet.
//! Always: `open(seal(p)) == p`; a packet of another key, cluster or version is refused with a
//! reason, and no byte of it is looked at before its HMAC has been checked.

use hmac::{Hmac, KeyInit, Mac};
use lockstep_engine::units::{BootId, ClusterId, GroupId, NodeId, Nonce, Tick, Version};
use sha2::Sha256;

/// Versions of the packet: a number, what and why.
pub const LEDGER: &[(u16, &str)] = &[
    (1, "first shape"),
    (2, "an entry for each group, state of the node and digest of its configuration"),
];

const MAGIC: &[u8; 8] = b"LKSTBEAT";
const VERSION: u16 = 2;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = AT_MAGIC + 8;
const AT_FLAGS: usize = AT_VERSION + 2;
const AT_NODE: usize = AT_FLAGS + 2;
const AT_STATE: usize = AT_NODE + 1;
const AT_GROUPS: usize = AT_STATE + 1;
const AT_ZERO: usize = AT_GROUPS + 1;
const AT_CLUSTER: usize = AT_ZERO + 1;
const AT_BOOT: usize = AT_CLUSTER + 16;
const AT_LIFE: usize = AT_BOOT + 16;
const AT_TO_LIFE: usize = AT_LIFE + 16;
const AT_DIGEST: usize = AT_TO_LIFE + 16;
const AT_SEQUENCE: usize = AT_DIGEST + 16;
const AT_SENT: usize = AT_SEQUENCE + 8;
const AT_HEARD_SEQUENCE: usize = AT_SENT + 8;
const AT_HEARD_SENT: usize = AT_HEARD_SEQUENCE + 8;
/// Bytes before the first entry.
const HEAD: usize = AT_HEARD_SENT + 8;
const _: () = assert!(HEAD == 128);

// Offsets within an entry.
const OF_GROUP: usize = 0;
const OF_PROOF: usize = OF_GROUP + 16;
const OF_RELEASED: usize = OF_PROOF + 16;
const OF_RECORD: usize = OF_RELEASED + 8;
const OF_FLAGS: usize = OF_RECORD + 8;
const OF_STATE: usize = OF_FLAGS + 2;
const OF_ZERO: usize = OF_STATE + 1;
const ENTRY: usize = OF_ZERO + 5;
const _: () = assert!(ENTRY == 56);

const MAC: usize = 32;
/// Most groups of a cluster.
pub const GROUPS_MAX: usize = 20;
/// Most bytes of a packet: 1,500 of an Ethernet, less the heads of IPv6 and UDP.
pub const BYTES_MAX: usize = HEAD + GROUPS_MAX * ENTRY + MAC;
const _: () = assert!(BYTES_MAX <= 1500 - 40 - 8);

const HAS_ANSWER: u16 = 1;
const HEAD_FLAGS: u16 = HAS_ANSWER;
const ANSWERS: u16 = 1;
const HAS_RELEASED: u16 = 1 << 1;
const HAS_RECORD: u16 = 1 << 2;
const HAS_PROOF: u16 = 1 << 3;
const ENTRY_FLAGS: u16 = ANSWERS | HAS_RELEASED | HAS_RECORD | HAS_PROOF;

/// Who may talk to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The cluster.
    pub cluster: ClusterId,
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

/// What a heartbeat says about one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupBeat {
    /// The group.
    pub group: GroupId,
    /// The answer of the packet extends the receiver's lease on this group; not while a takeover
    /// of it is prepared (R13).
    pub answers: bool,
    /// The sender has released the group at this version.
    pub released: Option<Version>,
    /// Highest version of the group's record that the sender knows.
    pub record: Option<Version>,
    /// What the sender wrote into the arbiter's store, as a proof of which one it sees.
    pub proof: Option<Nonce>,
    /// How the group is doing there; a word of whoever reads it.
    pub state: u8,
}

/// What a heartbeat says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Sender.
    pub node: NodeId,
    /// Whether the node takes part; a word of whoever reads it.
    pub state: u8,
    /// Boot of the sender's host.
    pub boot: BootId,
    /// This life of the sender: random, new with each start of its daemon.
    pub life: Nonce,
    /// Life of the receiver as far as the sender knows it; `NONE` before the first exchange.
    pub to_life: Nonce,
    /// Digest of the configuration that the sender runs with.
    pub digest: u128,
    /// Raised with each packet of a life.
    pub sequence: u64,
    /// When it was sent, by the sender's clock.
    pub sent: Tick,
    /// The answer to the last heartbeat heard.
    pub answer: Option<Answer>,
    /// The groups of the cluster, at most `GROUPS_MAX`.
    pub groups: Vec<GroupBeat>,
}

/// Why bytes are no heartbeat for this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// No length of a heartbeat.
    Length { bytes: usize },
    /// HMAC differs: another key, or damaged.
    Key,
    /// No heartbeat, or reserved bytes are set.
    Shape,
    /// Another version of the packet.
    Version { found: u16 },
    /// Another cluster with the same key.
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

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The bytes of `packet`. More groups than a packet holds are left out; a configuration with so
/// many is refused.
pub fn seal(packet: &Packet, pair: &Pair, key: &[u8]) -> Vec<u8> {
    let groups = &packet.groups[..packet.groups.len().min(GROUPS_MAX)];
    let mut raw = vec![0; HEAD + groups.len() * ENTRY];
    put(&mut raw, AT_MAGIC, MAGIC);
    put(&mut raw, AT_VERSION, &VERSION.to_le_bytes());
    let flags = if packet.answer.is_some() { HAS_ANSWER } else { 0 };
    put(&mut raw, AT_FLAGS, &flags.to_le_bytes());
    let count = u8::try_from(groups.len()).unwrap_or(u8::MAX);
    put(&mut raw, AT_NODE, &[packet.node.to_byte(), packet.state, count]);
    put(&mut raw, AT_CLUSTER, &pair.cluster.0.to_le_bytes());
    put(&mut raw, AT_BOOT, &packet.boot.0.to_le_bytes());
    put(&mut raw, AT_LIFE, &packet.life.0.to_le_bytes());
    put(&mut raw, AT_TO_LIFE, &packet.to_life.0.to_le_bytes());
    put(&mut raw, AT_DIGEST, &packet.digest.to_le_bytes());
    put(&mut raw, AT_SEQUENCE, &packet.sequence.to_le_bytes());
    put(&mut raw, AT_SENT, &packet.sent.0.to_le_bytes());
    if let Some(answer) = packet.answer {
        put(&mut raw, AT_HEARD_SEQUENCE, &answer.sequence.to_le_bytes());
        put(&mut raw, AT_HEARD_SENT, &answer.sent.0.to_le_bytes());
    }
    for (group, entry) in groups.iter().zip(raw[HEAD..].chunks_exact_mut(ENTRY)) {
        seal_group(group, entry);
    }
    if let Some(mac) = mac(key, &raw) {
        raw.extend_from_slice(&mac.finalize().into_bytes());
    }
    raw
}

fn seal_group(group: &GroupBeat, entry: &mut [u8]) {
    let mut flags = if group.answers { ANSWERS } else { 0 };
    put(entry, OF_GROUP, &group.group.0.to_le_bytes());
    put(entry, OF_STATE, &[group.state]);
    if let Some(version) = group.released {
        flags |= HAS_RELEASED;
        put(entry, OF_RELEASED, &version.0.to_le_bytes());
    }
    if let Some(version) = group.record {
        flags |= HAS_RECORD;
        put(entry, OF_RECORD, &version.0.to_le_bytes());
    }
    if let Some(nonce) = group.proof {
        flags |= HAS_PROOF;
        put(entry, OF_PROOF, &nonce.0.to_le_bytes());
    }
    put(entry, OF_FLAGS, &flags.to_le_bytes());
}

fn take<const N: usize>(raw: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&raw[at..at + N]);
    out
}

fn short(raw: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(take(raw, at))
}

fn long(raw: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(take(raw, at))
}

fn wide(raw: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(take(raw, at))
}

/// The packet in `raw`, when it comes from the peer of `pair.node`.
///
/// # Errors
/// The reason why it is foreign.
pub fn open(raw: &[u8], pair: &Pair, key: &[u8]) -> Result<Packet, Foreign> {
    let entries = raw.len().checked_sub(HEAD + MAC);
    let Some(entries) = entries.filter(|bytes| bytes % ENTRY == 0 && raw.len() <= BYTES_MAX) else {
        return Err(Foreign::Length { bytes: raw.len() });
    };
    let (raw, sum) = raw.split_at(raw.len() - MAC);
    let mac = mac(key, raw).ok_or(Foreign::Key)?;
    mac.verify_slice(sum).map_err(|_| Foreign::Key)?;
    if &take::<8>(raw, AT_MAGIC) != MAGIC {
        return Err(Foreign::Shape);
    }
    let version = short(raw, AT_VERSION);
    if version != VERSION {
        return Err(Foreign::Version { found: version });
    }
    let flags = short(raw, AT_FLAGS);
    let counted = usize::from(raw[AT_GROUPS]) == entries / ENTRY;
    if flags & !HEAD_FLAGS != 0 || raw[AT_ZERO] != 0 || !counted {
        return Err(Foreign::Shape);
    }
    if ClusterId(wide(raw, AT_CLUSTER)) != pair.cluster {
        return Err(Foreign::Pair);
    }
    let node = NodeId::from_byte(raw[AT_NODE]).ok_or(Foreign::Shape)?;
    if node != pair.node.peer() {
        return Err(Foreign::Sender);
    }
    let answer =
        Answer { sequence: long(raw, AT_HEARD_SEQUENCE), sent: Tick(long(raw, AT_HEARD_SENT)) };
    let groups = raw[HEAD..].chunks_exact(ENTRY).map(open_group).collect::<Result<_, _>>()?;
    Ok(Packet {
        node,
        state: raw[AT_STATE],
        boot: BootId(wide(raw, AT_BOOT)),
        life: Nonce(wide(raw, AT_LIFE)),
        to_life: Nonce(wide(raw, AT_TO_LIFE)),
        digest: wide(raw, AT_DIGEST),
        sequence: long(raw, AT_SEQUENCE),
        sent: Tick(long(raw, AT_SENT)),
        answer: (flags & HAS_ANSWER != 0).then_some(answer),
        groups,
    })
}

fn open_group(entry: &[u8]) -> Result<GroupBeat, Foreign> {
    let flags = short(entry, OF_FLAGS);
    if flags & !ENTRY_FLAGS != 0 || take::<5>(entry, OF_ZERO) != [0; 5] {
        return Err(Foreign::Shape);
    }
    let when = |flag: u16| flags & flag != 0;
    Ok(GroupBeat {
        group: GroupId(wide(entry, OF_GROUP)),
        answers: when(ANSWERS),
        released: when(HAS_RELEASED).then(|| Version(long(entry, OF_RELEASED))),
        record: when(HAS_RECORD).then(|| Version(long(entry, OF_RECORD))),
        proof: when(HAS_PROOF).then(|| Nonce(wide(entry, OF_PROOF))),
        state: entry[OF_STATE],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"a cluster key of the tests";

    fn pair(node: NodeId) -> Pair {
        Pair { cluster: ClusterId(7), node }
    }

    fn group(id: u128) -> GroupBeat {
        GroupBeat {
            group: GroupId(id),
            answers: true,
            released: Some(Version(10)),
            record: Some(Version(11)),
            proof: Some(Nonce(12)),
            state: 3,
        }
    }

    fn packet(groups: Vec<GroupBeat>) -> Packet {
        Packet {
            node: NodeId::A,
            state: 2,
            boot: BootId(3),
            life: Nonce(4),
            to_life: Nonce(5),
            digest: 13,
            sequence: 6,
            sent: Tick(7),
            answer: Some(Answer { sequence: 8, sent: Tick(9) }),
            groups,
        }
    }

    #[test]
    fn a_packet_survives_the_journey_with_and_without_its_options() {
        let bare = GroupBeat { answers: false, released: None, record: None, ..group(1) };
        let bare = GroupBeat { proof: None, ..bare };
        let full = packet((1..=GROUPS_MAX as u128).map(group).collect());
        let none = Packet { answer: None, ..packet(Vec::new()) };
        for packet in [packet(vec![group(1), bare]), full, none] {
            let raw = seal(&packet, &pair(NodeId::A), KEY);
            assert!(raw.len() <= BYTES_MAX);
            assert_eq!(open(&raw, &pair(NodeId::B), KEY), Ok(packet));
        }
    }

    #[test]
    fn another_key_and_each_flipped_bit_are_refused() {
        let raw = seal(&packet(vec![group(1)]), &pair(NodeId::A), KEY);
        assert_eq!(open(&raw, &pair(NodeId::B), b"another key"), Err(Foreign::Key));
        for at in 0..raw.len() {
            let mut bad = raw.clone();
            bad[at] ^= 0x10;
            assert_eq!(open(&bad, &pair(NodeId::B), KEY), Err(Foreign::Key), "byte {at}");
        }
    }

    #[test]
    fn another_cluster_an_echo_and_any_other_length_are_refused() {
        let raw = seal(&packet(vec![group(1)]), &pair(NodeId::A), KEY);
        let other = Pair { cluster: ClusterId(99), ..pair(NodeId::B) };
        assert_eq!(open(&raw, &other, KEY), Err(Foreign::Pair));
        assert_eq!(open(&raw, &pair(NodeId::A), KEY), Err(Foreign::Sender));
        for bytes in 0..raw.len() {
            let refused = open(&raw[..bytes], &pair(NodeId::B), KEY);
            assert!(matches!(refused, Err(Foreign::Length { .. } | Foreign::Key)), "{bytes}");
        }
        let endless = vec![0; 1 << 16];
        let refused = open(&endless, &pair(NodeId::B), KEY);
        assert_eq!(refused, Err(Foreign::Length { bytes: 1 << 16 }));
    }

    #[test]
    fn a_count_that_is_not_the_length_is_refused() {
        let mut raw = seal(&packet(vec![group(1)]), &pair(NodeId::A), KEY);
        raw.truncate(raw.len() - MAC);
        raw[AT_GROUPS] = 2;
        let sum = mac(KEY, &raw).unwrap().finalize().into_bytes();
        raw.extend_from_slice(&sum);
        assert_eq!(open(&raw, &pair(NodeId::B), KEY), Err(Foreign::Shape));
    }
}
