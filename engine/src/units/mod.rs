//! Newtypes for every quantity and identity that crosses a wall between rooms.
//! Always: bytes, blocks and regions never mix; an identity prints as the hex an operator sees.

mod record;
mod status;

pub use record::{Members, OpenAttempt, VolumeRecord};
pub use status::{Counters, LinkState, Mirror, ShownDevice, Status};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes of a block: the unit of the bitmap, of digests and of client alignment.
pub const BLOCK_BYTES: u64 = 4096;
/// Bytes of a region: the unit of write intent.
pub const REGION_BYTES: u64 = 4 << 20;
/// Blocks of a region.
pub const BLOCKS_PER_REGION: u64 = REGION_BYTES / BLOCK_BYTES;
/// Bytes of a metadata page of the cluster partition.
pub const PAGE_BYTES: usize = 4096;

/// One metadata page.
pub type Page = [u8; PAGE_BYTES];

/// Nanoseconds of CLOCK_BOOTTIME (virtual in the simulator).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick `span` later; stops at the end of time.
    pub const fn after(self, span: Span) -> Tick {
        Tick(self.0.saturating_add(span.0))
    }
    /// Time passed since `earlier`, zero when `earlier` is later.
    pub const fn since(self, earlier: Tick) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Span(pub u64);

impl Span {
    /// `n` milliseconds.
    pub const fn millis(n: u64) -> Span {
        Span(n * 1_000_000)
    }
    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
    /// Sum of two lengths.
    pub const fn plus(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

/// A range of bytes of the volume. Inside the replica it is always whole blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
}

impl Extent {
    /// The range of `len` bytes at `offset`.
    pub const fn new(offset: u64, len: u32) -> Extent {
        Extent { offset, len }
    }
    /// The bytes of whole blocks.
    pub const fn of_blocks(first: BlockIndex, count: u32) -> Extent {
        // Callers keep `count` within a request, far below 2^20 blocks.
        Extent { offset: first.0 * BLOCK_BYTES, len: count * 4096 }
    }
    /// One past the last byte.
    pub const fn end(self) -> u64 {
        self.offset + self.len as u64
    }
    /// Whether both ranges share a byte.
    pub const fn overlaps(self, other: Extent) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
    /// Blocks that the range touches.
    pub fn blocks(self) -> std::ops::Range<u64> {
        self.offset / BLOCK_BYTES..self.end().div_ceil(BLOCK_BYTES)
    }
    /// Regions that the range touches.
    pub fn regions(self) -> std::ops::Range<u64> {
        self.offset / REGION_BYTES..self.end().div_ceil(REGION_BYTES)
    }
}

/// Number of a 4 KiB block of the volume.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct BlockIndex(pub u64);

/// Number of a 4 MiB region of the volume.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct RegionIndex(pub u32);

impl RegionIndex {
    /// Blocks of the region.
    pub const fn blocks(self) -> std::ops::Range<u64> {
        let first = self.0 as u64 * BLOCKS_PER_REGION;
        first..first + BLOCKS_PER_REGION
    }
}

/// First 16 bytes of the keyed BLAKE3 of one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest(pub [u8; 16]);

/// One of the two nodes of the pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeId {
    /// The first node of the configuration.
    A,
    /// The second node of the configuration.
    B,
}

impl NodeId {
    /// The other node of the pair.
    pub const fn peer(self) -> NodeId {
        match self {
            NodeId::A => NodeId::B,
            NodeId::B => NodeId::A,
        }
    }
    /// Byte on disk and wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            NodeId::A => 1,
            NodeId::B => 2,
        }
    }
    /// Node of that byte.
    pub const fn from_byte(byte: u8) -> Option<NodeId> {
        match byte {
            1 => Some(NodeId::A),
            2 => Some(NodeId::B),
            _ => None,
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeId::A => "a",
            NodeId::B => "b",
        })
    }
}

macro_rules! wide_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u128);

        impl $name {
            /// No value yet.
            pub const NONE: $name = $name(0);
            /// Whether a value is present.
            pub const fn is_some(self) -> bool {
                self.0 != 0
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<$name, Self::Err> {
                u128::from_str_radix(text, 16).map($name)
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(|_| {
                    let rest = ": 1 to 32 hex digits expected";
                    serde::de::Error::custom(format_args!("{}{rest}", stringify!($name)))
                })
            }
        }
    };
}

wide_id!(
    /// Identity of the cluster.
    ClusterId
);
wide_id!(
    /// Identity of the failover group whose record speaks for the volume.
    GroupId
);
wide_id!(
    /// Identity of the mirrored volume.
    VolumeId
);
wide_id!(
    /// Identity of one history of the data.
    Generation
);
wide_id!(
    /// Random value that lets an author recognise its own record.
    Nonce
);
wide_id!(
    /// One incarnation of the link: 64 random bits of each side.
    Session
);
wide_id!(
    /// One boot of a host.
    BootId
);
wide_id!(
    /// One start of an engine process.
    StartId
);
wide_id!(
    /// Binds a data partition to its cluster partition.
    PairTag
);

/// Order of records: every change of a record raises it by one.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash, Serialize, Deserialize,
)]
pub struct Version(pub u64);

/// Fencing token of the record: raised by start, takeover, move and force.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

/// What this node's copy of the data is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum DiskState {
    /// Holds every acknowledged write.
    UpToDate,
    /// Was good when last seen; nobody has confirmed it in this life of the engine.
    Consistent,
    /// A legal old state: the peer has gone on without this node.
    Outdated,
    /// Partly overwritten by a resync, or never filled.
    Inconsistent,
    /// The device refused a write, or its metadata did.
    Failed,
}

/// What this engine does for the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Follows the peer or waits.
    Secondary,
    /// Is becoming primary: the record is being made durable.
    Promoting,
    /// Serves clients.
    Primary,
    /// Is handing over: drains, flushes, refuses clients.
    Demoting,
}

/// What the engine asks its daemon to have decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// The peer can't be counted on: continue alone (`shrink`), or learn that we lost.
    Shrink,
    /// Both copies are equal, tight, drained and flushed (R27 1–4): record both as members.
    Grow,
    /// This node's disk failed while the peer's is good: release the volume to the peer.
    HandOver,
}

/// Proof that a secondary held every acknowledged write in this life of its host (R42).
/// The engine and the daemon keep it in memory only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct InSyncMark {
    /// Generation in which it was given.
    pub generation: Generation,
    /// Boot of the holder.
    pub boot: BootId,
}
