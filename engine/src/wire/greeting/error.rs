//! Why a greeting failed, on the side that says no and on the side that is told.

use crate::limits::FLOWS_MAX;
use crate::units::{ClusterId, GroupId, NodeId, Session, VolumeId};
use crate::wire::version::VERSION;
use std::fmt;

/// Why two ends do not become a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GreetingError {
    /// Whoever is there does not speak this protocol at all.
    NotLockstep,
    /// Another version of the protocol.
    Version { theirs: u16 },
    /// Bytes changed on their way.
    Damaged,
    /// A message of the greeting out of turn, or the own one reflected.
    Unexpected { found: u8 },
    /// The checksum holds, the content makes no sense.
    Malformed,
    /// The peer belongs to another cluster.
    Cluster { ours: ClusterId, theirs: ClusterId },
    /// The peer belongs to another failover group.
    Group { ours: GroupId, theirs: GroupId },
    /// The peer serves another volume.
    Volume { ours: VolumeId, theirs: VolumeId },
    /// Both ends are the same node of the pair.
    SameNode { node: NodeId },
    /// The peer does not know the key, or replays an old greeting.
    Proof,
    /// A data flow of a session that is not the live one.
    NoSuchSession { asked: Session },
    /// A data flow beyond those that are configured here.
    FlowIndex { index: u8, flows: u8 },
    /// Both sides drew zeroes: the random source of both hosts is broken.
    NoSession,
    /// The peer said no. Nobody has vouched for this: it is a hint.
    PeerRefused { reason: Option<Refused>, theirs: u16 },
}

/// The reason in a refusal, one byte on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Refused {
    /// See `GreetingError::Version`.
    Version = 1,
    /// Damaged or senseless bytes.
    Malformed = 2,
    /// See `GreetingError::Cluster`.
    Cluster = 3,
    /// See `GreetingError::Group`.
    Group = 4,
    /// See `GreetingError::Volume`.
    Volume = 5,
    /// See `GreetingError::SameNode`.
    SameNode = 6,
    /// See `GreetingError::Proof`.
    Proof = 7,
    /// See `GreetingError::NoSuchSession`.
    NoSuchSession = 8,
    /// See `GreetingError::FlowIndex`.
    FlowIndex = 9,
    /// That data flow is attached already.
    FlowTaken = 10,
    /// The disk writes of the last session are not reaped yet, or too many strangers knock.
    Busy = 11,
}

impl Refused {
    const ALL: [Refused; 11] = [
        Refused::Version,
        Refused::Malformed,
        Refused::Cluster,
        Refused::Group,
        Refused::Volume,
        Refused::SameNode,
        Refused::Proof,
        Refused::NoSuchSession,
        Refused::FlowIndex,
        Refused::FlowTaken,
        Refused::Busy,
    ];

    /// Reason of that byte; a newer version may know more of them.
    pub(crate) fn from_byte(byte: u8) -> Option<Refused> {
        Refused::ALL.into_iter().find(|reason| *reason as u8 == byte)
    }
}

impl GreetingError {
    /// What the other side is told, if it is safe and of any use to tell it.
    pub(crate) const fn answer(&self) -> Option<Refused> {
        match self {
            GreetingError::Version { .. } => Some(Refused::Version),
            GreetingError::Damaged | GreetingError::Malformed => Some(Refused::Malformed),
            GreetingError::Cluster { .. } => Some(Refused::Cluster),
            GreetingError::Group { .. } => Some(Refused::Group),
            GreetingError::Volume { .. } => Some(Refused::Volume),
            GreetingError::SameNode { .. } => Some(Refused::SameNode),
            GreetingError::Proof => Some(Refused::Proof),
            GreetingError::NoSuchSession { .. } => Some(Refused::NoSuchSession),
            GreetingError::FlowIndex { .. } => Some(Refused::FlowIndex),
            GreetingError::NotLockstep
            | GreetingError::Unexpected { .. }
            | GreetingError::NoSession
            | GreetingError::PeerRefused { .. } => None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Version => "it speaks another protocol version; install one release on both",
            Refused::Malformed => "our greeting arrived damaged; the link tries again",
            Refused::Cluster => "its cluster id differs; compare `cluster` on both nodes",
            Refused::Group => "its group id differs; compare the group on both nodes",
            Refused::Volume => {
                "it serves another volume; compare the volume id and the link's address and port"
            }
            Refused::SameNode => {
                "it is the same node of the pair; one node must be `a`, the other `b`, and the \
                 address must be the peer's"
            }
            Refused::Proof => "our key is not its key; copy one link key to both nodes",
            Refused::NoSuchSession => "that session is over there; the link greets anew",
            Refused::FlowIndex => "it has fewer flows; set the same number on both nodes",
            Refused::FlowTaken => "that data flow is attached already; the link greets anew",
            Refused::Busy => "it still finishes the writes of the last session; the link waits",
        })
    }
}

impl GreetingError {
    /// The peer is not the one that this node is configured for.
    fn fmt_stranger(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GreetingError::Cluster { ours, theirs } => write!(
                f,
                "peer is of cluster {theirs}, this node of {ours}; compare `cluster` on both nodes"
            ),
            GreetingError::Group { ours, theirs } => write!(
                f,
                "peer is of group {theirs}, this volume of {ours}; compare the group on both nodes"
            ),
            GreetingError::Volume { ours, theirs } => write!(
                f,
                "peer serves volume {theirs}, this engine {ours}; compare the volume id and the \
                 link's address and port"
            ),
            GreetingError::SameNode { node } => write!(
                f,
                "peer says that it is node {node}, and so is this one; one node must be `a`, the \
                 other `b`, and the address must be the peer's"
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for GreetingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("link greeting failed: ")?;
        match self {
            GreetingError::NotLockstep => f.write_str(
                "whoever is there speaks another protocol; check the link's address and port",
            ),
            GreetingError::Version { theirs } => write!(
                f,
                "peer speaks protocol version {theirs}, this build {VERSION}; install one \
                 release on both nodes"
            ),
            GreetingError::Damaged => f.write_str(
                "bytes changed on their way; the link tries again, and if it happens again \
                 suspect a network card or the memory",
            ),
            GreetingError::Unexpected { found } => write!(
                f,
                "message {found} out of turn; look for a proxy between the nodes or a second \
                 dialer on this port"
            ),
            GreetingError::Malformed => f.write_str(
                "the message has fields that no release sends; compare `--version` on both nodes",
            ),
            GreetingError::Cluster { .. }
            | GreetingError::Group { .. }
            | GreetingError::Volume { .. }
            | GreetingError::SameNode { .. } => self.fmt_stranger(f),
            GreetingError::Proof => f.write_str(
                "peer does not prove that it knows the link key; copy one key to both nodes; if \
                 they are equal, a stranger replays an old greeting",
            ),
            GreetingError::NoSuchSession { asked } => write!(
                f,
                "peer attaches a data flow to session {asked}, which is not the live one; the \
                 link greets anew"
            ),
            GreetingError::FlowIndex { index, flows } => write!(
                f,
                "peer attaches data flow {index}, here are {flows} (at most {FLOWS_MAX}); set the \
                 same number of flows on both nodes"
            ),
            GreetingError::NoSession => f.write_str(
                "both halves of the session are zero; the random source of a host is broken",
            ),
            GreetingError::PeerRefused { reason: Some(Refused::Version), theirs } => write!(
                f,
                "peer refused: it speaks protocol version {theirs}, this build {VERSION}; install \
                 one release on both nodes"
            ),
            GreetingError::PeerRefused { reason: Some(reason), .. } => {
                write!(f, "peer refused: {reason}")
            }
            GreetingError::PeerRefused { reason: None, theirs } => write!(
                f,
                "peer (protocol version {theirs}) refused for a reason that this build does not \
                 know; see the peer's log"
            ),
        }
    }
}

impl std::error::Error for GreetingError {}
