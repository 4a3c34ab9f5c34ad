//! Stores of the group's record: a strongly consistent read and a compare-and-set, nothing else.
//! Always: a call ends within its deadline; what was not heard by then is `Failed` or `Unknown`
//! and may still take effect later (SAFETY R4).

mod blocking;
pub mod directory;
#[cfg(feature = "aws")]
pub mod dynamodb;
pub mod etcd;
mod kept;
pub mod none;
mod proof;
mod view;
mod watch;

use crate::decide::event::{ReadResult, SwapResult};
use crate::decide::record::Record;
use lockstep_engine::units::{Nonce, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// A call under way.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// A store of one group's record.
pub trait Arbiter: Send + Sync {
    /// The newest record. `Failed` when that can't be known now.
    fn read(&self) -> Pending<ReadResult>;

    /// Installs `next` if the newest version is `expected` (`None`: if there is no record).
    fn swap(&self, expected: Option<Version>, next: Record) -> Pending<SwapResult>;

    /// What the store needs to know of the pair; called whenever that may have changed.
    fn tell(&self, _pair: PairView) {}

    /// How the last calls went.
    fn health(&self) -> Health;
}

/// What a store that must be proved common to both nodes is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PairView {
    /// The peer is heard at present.
    pub peer_heard: bool,
    /// What the peer says it has written into the store.
    pub peer_nonce: Option<Nonce>,
    /// Highest version that this node has persisted; `None` while that is not known.
    pub floor: Option<Version>,
}

/// How a store is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Health {
    /// What kind of store, and where.
    pub store: String,
    /// Own proof in the store, to be told to the peer.
    #[serde(skip)]
    pub own_nonce: Option<Nonce>,
    /// Why the last call got no answer; `None` when it did.
    pub trouble: Option<Trouble>,
    /// Whether any call has ended yet.
    pub tried: bool,
    /// Milliseconds that the last answered call took.
    pub last_ms: Option<u64>,
    /// Calls that ran out of time and have not ended yet.
    pub stuck: u32,
}

/// Why a store gave no answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// No answer within the deadline.
    Slow {
        /// The deadline in milliseconds.
        ms: u64,
    },
    /// Too many calls are stuck; no more are sent.
    Stuck {
        /// How many.
        calls: u32,
    },
    /// The operating system refused.
    Io {
        /// What was being done.
        doing: String,
        /// The error.
        cause: String,
    },
    /// The peer has not said yet what it wrote into the store.
    PeerUnproved,
    /// The peer's proof is not there: both nodes see different stores.
    Different {
        /// What was found instead.
        found: Option<Nonce>,
    },
    /// The peer is away and this store was never proved to be the pair's.
    NeverProved,
    /// The peer is away and the store is not the one that was proved.
    OtherPair,
    /// The engine has not said yet which version it has persisted, and the peer is away.
    FloorUnknown,
    /// The store holds less than this node has persisted.
    RolledBack {
        /// Version in the store.
        found: Option<Version>,
        /// Version persisted here.
        persisted: Version,
    },
    /// The record is of another cluster or group.
    ForeignRecord,
    /// The record can't be read.
    Damaged {
        /// Version whose file is damaged.
        version: Version,
    },
    /// What stands where the record belongs is none.
    Unreadable {
        /// The store's own number of that change.
        revision: u64,
    },
    /// The record is longer than a store takes.
    TooLong {
        /// Bytes of it.
        bytes: u64,
    },
    /// A server of the store can't be reached.
    Unreachable {
        /// The server.
        endpoint: String,
        /// The error.
        cause: String,
    },
    /// The encrypted connection was refused by one side.
    Tls {
        /// The server.
        endpoint: String,
        /// The error.
        cause: String,
    },
    /// The server answers, but the store has no leader: most of its servers are away.
    NoLeader {
        /// The server.
        endpoint: String,
    },
    /// The store refuses this user.
    Denied {
        /// The server.
        endpoint: String,
        /// What it said.
        cause: String,
    },
    /// The server answered what it should not.
    Answer {
        /// The server.
        endpoint: String,
        /// What it said.
        cause: String,
    },
    /// AWS did not do what was asked; its own words, with the next move.
    Aws {
        /// They.
        cause: String,
    },
    /// No store: this version was written on each node apart.
    SplitBrain {
        /// The version.
        version: Version,
    },
    /// No store: the peer is asked first, and was heard too short a time ago to decide without it.
    PeerNeeded,
    /// No store: the peer is silent, and the isolation probe has not answered since.
    Isolated,
    /// No store: the peer was not heard since this host booted.
    Rebooted,
    /// The peer is away and the server belongs to another store than the one that was proved.
    OtherStore {
        /// Id that the store shows.
        found: u64,
        /// Id of the store that was proved.
        proved: u64,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Slow { ms } => {
                write!(f, "no answer within {ms} ms; check the store and the way to it")
            }
            Trouble::Stuck { calls } => {
                write!(f, "{calls} calls hang; repair the file system under it")
            }
            Trouble::Io { doing, cause } => {
                write!(f, "{doing}: {cause}; check path and rights")
            }
            Trouble::PeerUnproved => f.write_str(
                "the peer has not shown yet that it sees this store; check the arbiter there",
            ),
            Trouble::Different { .. } => f.write_str(
                "a and b see different directories or stores; give both the same `arbiter`",
            ),
            Trouble::NeverProved => f.write_str(
                "never proved to be the same on both nodes; start the peer's daemon once",
            ),
            Trouble::OtherPair => {
                f.write_str("not the store that this pair has used; check `arbiter`")
            }
            Trouble::FloorUnknown => {
                f.write_str("waits for the engine to tell its last record; start the engine")
            }
            Trouble::RolledBack { found, persisted } => write!(
                f,
                "holds version {}, but this node has seen {}: it was deleted or rolled back; \
                 bring it back or connect both nodes",
                found.map_or_else(|| "none".to_owned(), |version| version.0.to_string()),
                persisted.0
            ),
            Trouble::ForeignRecord => f.write_str(
                "the record there is of another cluster or group; check ids and `arbiter`",
            ),
            Trouble::Damaged { version } => {
                write!(
                    f,
                    "version {} can't be read; restore that file from the peer's view",
                    version.0
                )
            }
            other => other.fmt_server(f),
        }
    }
}

impl Trouble {
    /// The part of `fmt` about stores that are servers.
    fn fmt_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Unreadable { revision } => write!(
                f,
                "what revision {revision} put there is no record; nothing is decided until it is \
                 put right"
            ),
            Trouble::TooLong { bytes } => {
                write!(f, "a record of {bytes} bytes is too long; use fewer volumes in the group")
            }
            Trouble::Unreachable { endpoint, cause } => {
                write!(f, "{endpoint}: {cause}; check that server and the way to it")
            }
            Trouble::Tls { endpoint, cause } => {
                write!(f, "{endpoint}: {cause}; check the certificates of both sides")
            }
            Trouble::NoLeader { endpoint } => write!(
                f,
                "{endpoint}: no leader; bring back most servers of the store, or the way to them"
            ),
            Trouble::Denied { endpoint, cause } => {
                write!(f, "{endpoint}: {cause}; check user, password and rights on the keys")
            }
            Trouble::Answer { endpoint, cause } => {
                write!(f, "{endpoint}: {cause}; check that this is the store and its log")
            }
            Trouble::OtherStore { found, proved } => write!(
                f,
                "store {found:x}, but this pair has used {proved:x}; check `arbiter` or connect \
                 both nodes"
            ),
            Trouble::Aws { cause } => f.write_str(cause),
            other => other.fmt_pair(f),
        }
    }

    /// The part of `fmt` about a pair without a store.
    fn fmt_pair(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::SplitBrain { version } => write!(
                f,
                "split brain: version {} was written on each node apart; keep one side and discard \
                 the other",
                version.0
            ),
            Trouble::PeerNeeded => f.write_str(
                "the other node does not answer, and is not silent for long enough to go on alone",
            ),
            Trouble::Isolated => f.write_str(
                "the other node is silent and the probe does not answer: this node may be cut off",
            ),
            Trouble::Rebooted => f.write_str(
                "the other node was not heard since this host booted and may have gone on alone; \
                 bring it back",
            ),
            // Said by `fmt`.
            _ => Ok(()),
        }
    }
}
