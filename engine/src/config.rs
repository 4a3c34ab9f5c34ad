//! Text to checked configuration of one engine. People edit `cluster.toml`; this file is rendered
//! from it, or written by hand in a lab.
//! Always: an `EngineConfig` that was parsed holds every bound it names; unknown keys are refused;
//! all problems of a file are told at once, each with its key and what to do.

mod kernel_device;
mod key_file;
mod reader;
mod render;

pub use kernel_device::KernelDevice;
pub use key_file::{KeyExposed, KeyFileError, key_exposed, read_key};

use crate::limits::{FLOWS_MAX, SYNC_DELAY_TARGET, SYNC_OPS_MAX, SYNC_RATE_FLOOR, Times};
use crate::replica::settings::AckMode;
use crate::units::{ClusterId, GroupId, NodeId, Span, VolumeId};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything that an engine is started with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineConfig {
    /// The cluster.
    pub cluster: Named<ClusterId>,
    /// The failover group whose record speaks for the volume.
    pub group: Named<GroupId>,
    /// The volume.
    pub volume: Named<VolumeId>,
    /// Which node of the pair this is.
    pub node: NodeId,
    /// Data partition: block device, or file in a lab.
    pub data: PathBuf,
    /// Cluster partition.
    pub cluster_partition: PathBuf,
    /// Where the kernel shows the volume while this node serves it; `None` is nowhere.
    pub device: Option<KernelDevice>,
    /// Unix socket on which the daemon commands.
    pub admin: PathBuf,
    /// When a write counts on the peer.
    pub ack: AckMode,
    /// A region is retired this long after its last write.
    pub intent_idle: Span,
    /// Where clients connect.
    pub clients: ClientsConfig,
    /// The replication link.
    pub link: LinkConfig,
    /// Resync.
    pub sync: SyncConfig,
    /// Times of SAFETY §1.2.
    pub times: Times,
    /// Bounds fixed at `format`, and of this process.
    pub limits: LimitsConfig,
}

/// An identity and the name that people use for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named<Id> {
    /// Identity.
    pub id: Id,
    /// Name.
    pub name: String,
}

/// Where clients connect. May be empty: the kernel's own client needs none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientsConfig {
    /// Unix socket.
    pub unix: Option<PathBuf>,
    /// TCP addresses.
    pub tcp: Vec<SocketAddr>,
}

/// The replication link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// TCP flows for data, 1 to `FLOWS_MAX`.
    pub flows: u8,
    /// File with the pre-shared key.
    pub key_file: PathBuf,
}

/// Resync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncConfig {
    /// Compare digests before sending.
    pub digests: bool,
    /// Pieces in flight, 1 to `SYNC_OPS_MAX`.
    pub window: usize,
    /// Bytes a second at most; `None` is no cap.
    pub rate_max: Option<u64>,
    /// Bytes a second whatever clients feel, up to `rate_max`.
    pub rate_floor: u64,
    /// What client requests may take on average beside a resync.
    pub delay_target: Span,
}

/// Bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitsConfig {
    /// Entries of the intent table, used by `format` only.
    pub intent_regions: u32,
    /// Client connections at once.
    pub connections: u32,
    /// Lock the process into memory (R36). Off in labs without the privilege.
    pub lock_memory: bool,
    /// Look for completions this long before a sleep, when that has paid lately; zero is never, and
    /// so is any span on a host with fewer than three processors.
    pub poll: Span,
}

/// Longest polling before a sleep, in microseconds.
pub const POLL_US_MAX: u64 = 1_000;
/// Most client connections that may be asked for.
pub const CONNECTIONS_MAX: u32 = 64;

/// One thing that is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Key, with its table: `link.flows`.
    pub key: String,
    /// What is wrong.
    pub what: Wrong,
}

/// What can be wrong with a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// It must be there.
    Missing {
        /// An example.
        example: &'static str,
    },
    /// Nobody knows it.
    Unknown {
        /// Keys that this table has.
        known: Vec<&'static str>,
    },
    /// It is of another type or shape.
    Expected {
        /// What belongs there.
        wanted: &'static str,
        /// What stands there.
        found: String,
    },
    /// The number is outside its bounds.
    Range {
        /// What stands there.
        found: i64,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// Two keys name the same thing.
    Same {
        /// The other key.
        other: &'static str,
    },
    /// Asynchronous replication does not exist yet.
    LocalAck,
    /// The times break an inequality of SAFETY §1.2.
    Times,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        match &self.what {
            Wrong::Missing { example } => write!(f, "is missing; add for example `{example}`"),
            Wrong::Unknown { known } => {
                write!(f, "is not a key; remove it, or use one of: {}", known.join(", "))
            }
            Wrong::Expected { wanted, found } => {
                write!(f, "is {found}; write {wanted}")
            }
            Wrong::Range { found, min, max } => {
                write!(f, "is {found}; choose a number from {min} to {max}")
            }
            Wrong::Same { other } => {
                write!(f, "is the same as {other}; give each its own")
            }
            Wrong::LocalAck => f.write_str(
                "\"local\" (asynchronous) comes in a later version; use \"written\" or \
                 \"received\"",
            ),
            Wrong::Times => f.write_str(
                "the times do not hold together; needed: 4 * ping_ms <= link_dead_ms, \
                 link_dead_ms + grace_ms + 2 * arbiter_attempt_ms < lease_ms, \
                 lease_ms + fence_ms <= heartbeat_timeout_ms",
            ),
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The file can't be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        kind: std::io::ErrorKind,
    },
    /// The text is not TOML.
    Syntax {
        /// The parser's words, with line and column.
        detail: String,
    },
    /// Keys are wrong.
    Problems(Vec<Problem>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, kind } => {
                write!(f, "configuration {}: {kind}; check `--config`", path.display())
            }
            ConfigError::Syntax { detail } => {
                write!(f, "configuration is not TOML: {}", detail.trim_end())
            }
            ConfigError::Problems(problems) => {
                write!(f, "configuration has {} problem(s):", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl EngineConfig {
    /// The configuration of that text, or everything that is wrong with it.
    pub fn parse(text: &str) -> Result<EngineConfig, ConfigError> {
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax { detail: error.to_string() })?;
        reader::read(&table).map_err(ConfigError::Problems)
    }

    /// Reads and parses a file.
    pub fn load(path: &Path) -> Result<EngineConfig, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_path_buf(),
            kind: error.kind(),
        })?;
        EngineConfig::parse(&text)
    }

    /// The canonical text: every key, in a fixed order. Parses to the same configuration.
    pub fn to_toml(&self) -> String {
        render::render(self)
    }

    /// Digest of the canonical text, as 32 hex digits: equal when two configurations are.
    pub fn digest(&self) -> String {
        blake3::hash(self.to_toml().as_bytes()).to_hex()[..32].to_string()
    }

    /// Every problem that no single key shows.
    fn check_whole(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |key: &str, what| problems.push(Problem { key: key.to_string(), what });
        if !self.times.hold() {
            add("times", Wrong::Times);
        }
        if self.data == self.cluster_partition {
            add("cluster_partition", Wrong::Same { other: "data" });
        }
        if self.clients.unix.as_ref() == Some(&self.admin) {
            add("clients.unix", Wrong::Same { other: "admin" });
        }
        if self.link.peer == self.link.listen {
            add("link.peer", Wrong::Same { other: "link.listen" });
        }
        problems
    }
}

impl Default for SyncConfig {
    fn default() -> SyncConfig {
        SyncConfig {
            digests: true,
            window: SYNC_OPS_MAX,
            rate_max: None,
            rate_floor: SYNC_RATE_FLOOR,
            delay_target: SYNC_DELAY_TARGET,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        LimitsConfig {
            intent_regions: crate::limits::INTENT_REGIONS_DEFAULT,
            connections: 16,
            lock_memory: true,
            poll: Span(100_000),
        }
    }
}

const _: () = assert!(FLOWS_MAX <= 16);
