//! `cluster.toml`: one file for both nodes, checked as a whole (REFERENCE §7). `section` takes
//! values out of the text, `read` gives them a shape, `check` looks at how they go together,
//! `view` says what one node needs, `changes` what another file would change.
//! Always: a `Cluster` has passed every check, for both nodes; what is wrong is told at once, each
//! mistake with its place; no text of any kind makes it panic.

mod automatic;
mod aws;
mod changes;
mod check;
mod costs;
mod facts;
mod mistake;
mod order;
mod questions;
mod read;
mod section;
mod units;
mod view;

pub use aws::{AWS_HERE, needs_aws};
pub use changes::{Change, Effect, Sides, changes, groups_to_restart, rests};
pub use costs::{Cost, Row, TABLE as COSTS};
pub use mistake::{ClusterError, Mistake, Wrong};
pub use questions::{Answers, AnswersError, ArbiterAnswer, GroupAnswer, Pair, VolumeAnswer};
pub use units::{show_rate, show_span};
pub use view::{EngineView, HeartbeatLink, HeartbeatView, NodeView};

use super::Named;
use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::spec::{Command, Spec as Resource};
use crate::decide::settings::{GroupSettings, MonitorSettings};
use lockstep_engine::config::{ClientsConfig, LimitsConfig, SyncConfig};
use lockstep_engine::limits::Times;
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{BootId, ClusterId, NodeId, Span, VolumeId};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Largest file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most mistakes that are told at once.
pub const MISTAKES_MAX: usize = 200;
/// The file of an installed cluster.
pub const FILE_DEFAULT: &str = "/etc/lockstep/cluster.toml";

/// A checked configuration of both nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    a: Local,
    b: Local,
}

/// The configuration as one node reads it: every value that may differ is that node's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// Which node.
    pub node: NodeId,
    /// The cluster.
    pub cluster: Named<ClusterId>,
    /// File with the key of the cluster: link and heartbeats.
    pub key_file: PathBuf,
    /// Look and report, but never act.
    pub observe_only: bool,
    /// Final actions on the host are only written down.
    pub harmless: bool,
    /// Both hosts: a, b.
    pub hosts: [Host; 2],
    /// Where files live.
    pub paths: Paths,
    /// How engines are started.
    pub engine: EngineProcess,
    /// Best first.
    pub interconnects: Vec<Interconnect>,
    /// Heartbeats. Their time-out is one of the times.
    pub heartbeat: Heartbeat,
    /// Where the record lives.
    pub arbiter: ArbiterSpec,
    /// How AWS is reached.
    pub aws: AwsSpec,
    /// Stops the other node's instance in a takeover.
    pub forced_stop: Option<ForcedStop>,
    /// In the order of the file.
    pub volumes: Vec<Volume>,
    /// In the order of the file, then one for each volume outside every group.
    pub groups: Vec<Group>,
    /// In the order of the file, then the automatic ones.
    pub monitors: Vec<Monitor>,
    /// Times of SAFETY §1.2.
    pub times: Times,
    /// Control over TCP.
    pub api: Option<ApiSpec>,
    /// Events that are kept.
    pub events_kept: u32,
    /// Stands in for the host's boot id, to play a reboot in a lab.
    pub lab_boot_id: Option<BootId>,
}

/// One of the two hosts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Host {
    /// Name of the host, by which it also finds itself in the file.
    pub name: String,
    /// Further addresses of it, beside those of the interconnects.
    pub addresses: Vec<IpAddr>,
}

/// Directories.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    /// Written by people: `cluster.toml`, keys.
    pub config: PathBuf,
    /// Not surviving a boot: sockets.
    pub run: PathBuf,
    /// Surviving a boot: events, open attempts, rendered files of the engines.
    pub state: PathBuf,
}

/// How engines are started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineProcess {
    /// The daemon starts them itself, instead of the service manager.
    pub spawn: bool,
    /// The executable; the one next to `lockstep` unless configured.
    pub program: Option<PathBuf>,
}

/// A path between the nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interconnect {
    /// What people read.
    pub name: String,
    /// Lower is better.
    pub priority: u32,
    /// This node's address.
    pub address: IpAddr,
    /// The peer's address as this node reaches it, when that is not the peer's own (NAT, relay).
    pub reach: Option<IpAddr>,
    /// Volumes may be mirrored over it.
    pub mirror: bool,
}

/// Heartbeats of this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Time between two.
    pub interval: Span,
    /// UDP port, on every interconnect.
    pub port: u16,
}

/// Where the record lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArbiterSpec {
    /// A directory that both nodes see.
    Directory(PathBuf),
    /// A store.
    Etcd(EtcdSpec),
    /// An item of a table of DynamoDB.
    Dynamodb {
        /// The table.
        table: String,
    },
    /// The nodes themselves, with a probe that tells an isolated one (REFERENCE §5).
    None {
        /// Name of a `ping` or `port` monitor.
        probe: String,
    },
}

/// How AWS is reached; what is not set is found as every tool of AWS finds it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AwsSpec {
    /// The region.
    pub region: Option<String>,
    /// Profile of the shared files.
    pub profile: Option<String>,
    /// ARN of a role to be taken on.
    pub role: Option<String>,
    /// Server of EC2 in place of the region's.
    pub ec2_endpoint: Option<String>,
    /// Server of DynamoDB in place of the region's.
    pub dynamodb_endpoint: Option<String>,
    /// Server of STS in place of the region's.
    pub sts_endpoint: Option<String>,
    /// Server of the instance metadata.
    pub metadata_endpoint: Option<String>,
}

/// The instances of both nodes, as one node sees them: whoever takes over stops the other one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForcedStop {
    /// This node's instance.
    pub own: String,
    /// The other node's.
    pub peer: String,
    /// How long it is waited for.
    pub timeout: Span,
}

/// How etcd is reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EtcdSpec {
    /// `http://HOST:PORT` or `https://HOST:PORT`, at least one.
    pub endpoints: Vec<String>,
    /// In front of every key.
    pub prefix: String,
    /// Certificates that are trusted; always there with `https`.
    pub ca_file: Option<PathBuf>,
    /// Certificate of this client, together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// `user:password` in one line.
    pub credentials_file: Option<PathBuf>,
}

/// A mirrored volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// Identity and name.
    pub id: Named<VolumeId>,
    /// Data partition on this node.
    pub data: PathBuf,
    /// Cluster partition on this node.
    pub cluster_partition: PathBuf,
    /// Where the kernel shows the volume while it is served here.
    pub device: Option<PathBuf>,
    /// TCP port of the mirror link on this node.
    pub port: u16,
    /// Name of the interconnect that carries the mirror link.
    pub interconnect: String,
    /// Sockets of clients beside the kernel's.
    pub clients: ClientsConfig,
    /// TCP flows of the link.
    pub flows: u8,
    /// When a write counts on the peer.
    pub ack: AckMode,
    /// A region is retired this long after its last write.
    pub intent_idle: Span,
    /// Resync.
    pub resync: SyncConfig,
    /// Bounds.
    pub limits: LimitsConfig,
}

/// A failover group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// What decisions need.
    pub settings: GroupSettings,
    /// What effects need, one for each resource in the same order.
    pub specs: Vec<Resource>,
    /// Not in the file: made for a volume that stands outside every group.
    pub implicit: bool,
}

/// A monitor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Monitor {
    /// What decisions need.
    pub settings: MonitorSettings,
    /// What the probe needs.
    pub spec: Probe,
    /// Run first when it finds an error.
    pub script: Option<Command>,
    /// Not in the file: came with a resource.
    pub automatic: bool,
}

/// Control over TCP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiSpec {
    /// Own address.
    pub listen: SocketAddr,
    /// The peer's.
    pub peer: SocketAddr,
    /// File with the token that callers show; always there without `client_ca_file`.
    pub token_file: Option<PathBuf>,
    /// TLS; always there unless the address is this host's own.
    pub tls: Option<ApiTls>,
}

/// TLS of the control over TCP.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApiTls {
    /// Certificate of this node, with those between it and its authority.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Authority of clients: whoever has a certificate of it needs no token.
    pub client_ca_file: Option<PathBuf>,
}

impl Cluster {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file can't be read, or has mistakes: all of them.
    pub fn load(path: &Path) -> Result<Cluster, ClusterError> {
        let unreadable = |cause| ClusterError::Unreadable { path: path.to_owned(), cause };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        let bytes_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
        // One byte more than may be there, so that a longer file is seen to be longer.
        let mut limited = std::io::Read::take(file, bytes_max.saturating_add(1));
        std::io::Read::read_to_end(&mut limited, &mut bytes).map_err(unreadable)?;
        let wrong = |mistakes| ClusterError::Wrong { path: path.to_owned(), mistakes };
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(error.as_bytes());
            let (line, column) = mistake::position(&valid, error.utf8_error().valid_up_to());
            wrong(vec![Mistake { line, column, key: String::new(), wrong: Wrong::NotText }])
        })?;
        Cluster::parse(&text).map_err(wrong)
    }

    /// Checks a text.
    ///
    /// # Errors
    /// Every mistake in it, by place; at most `MISTAKES_MAX`.
    pub fn parse(text: &str) -> Result<Cluster, Vec<Mistake>> {
        let file = |wrong| vec![Mistake { line: 1, column: 1, key: String::new(), wrong }];
        if text.len() > FILE_BYTES_MAX {
            let (bytes, bytes_max) = (text.len(), FILE_BYTES_MAX);
            return Err(file(Wrong::TooLarge { bytes, bytes_max }));
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(mistakes(text, errors.iter().map(syntax).collect()));
        }
        let readings = [NodeId::A, NodeId::B].map(|node| read::read(table.get_ref(), node));
        let [(mut a, a_notes), (mut b, b_notes)] = readings;
        if let (Some(a), Some(b)) = (&mut a.api, &mut b.api) {
            (a.peer, b.peer) = (b.listen, a.listen);
        }
        if let (Some(a), Some(b)) = (&mut a.forced_stop, &mut b.forced_stop) {
            (a.peer, b.peer) = (b.own.clone(), a.own.clone());
        }
        let cluster = Cluster { a, b };
        check::check(&cluster, [&a_notes, &b_notes]);
        let found: Vec<section::Note> =
            [a_notes, b_notes].into_iter().flat_map(|notes| notes.found.into_inner()).collect();
        if found.is_empty() { Ok(cluster) } else { Err(mistakes(text, found)) }
    }

    /// The configuration as that node reads it.
    pub fn local(&self, node: NodeId) -> &Local {
        match node {
            NodeId::A => &self.a,
            NodeId::B => &self.b,
        }
    }

    /// Which of the nodes has that host name, in full or up to its first dot.
    pub fn which(&self, host: &str) -> Option<NodeId> {
        let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let [a, b] = &self.a.hosts;
        let by = |same: &dyn Fn(&Host) -> bool| match (same(a), same(b)) {
            (true, false) => Some(NodeId::A),
            (false, true) => Some(NodeId::B),
            _ => None,
        };
        by(&|node| node.name == host).or_else(|| by(&|node| short(&node.name) == short(host)))
    }

    /// Everything that this node's daemon needs.
    pub fn node(&self, node: NodeId) -> NodeView {
        view::view(self, node)
    }
}

fn syntax(error: &toml::de::Error) -> section::Note {
    let detail = error.message().lines().collect::<Vec<_>>().join(", ");
    let at = error.span().map_or(0, |span| span.start);
    section::Note { at, key: String::new(), wrong: Wrong::Syntax { detail } }
}

/// Notes by place, each once, with line and column.
fn mistakes(text: &str, mut found: Vec<section::Note>) -> Vec<Mistake> {
    found.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
    let mut told: Vec<section::Note> = Vec::new();
    let mut all: Vec<Mistake> = Vec::new();
    for note in found {
        // Both readings find what stands there once.
        let here = told.iter().rev().take_while(|other| other.at == note.at);
        if here.clone().any(|other| *other == note) {
            continue;
        }
        told.push(note.clone());
        let (line, column) = mistake::position(text, note.at);
        let wrong = match note.wrong {
            // Until here, where the text is known, it was a byte.
            Wrong::Twice { what, value, first_line } => {
                let first_line = mistake::position(text, first_line).0;
                Wrong::Twice { what, value, first_line }
            }
            other => other,
        };
        all.push(Mistake { line, column, key: note.key, wrong });
        if all.len() == MISTAKES_MAX {
            break;
        }
    }
    all
}

#[cfg(test)]
mod tests;
