//! Text to a checked configuration of one node's daemon. Always: every problem is reported at
//! once, an unknown key is a problem, and what is returned has been checked as a whole.

pub mod cluster;
mod problem;
mod reader;

pub use problem::{ConfigError, Problem};

use crate::act::arbiter::directory::Place;
use lockstep_engine::limits::Times;
use lockstep_engine::units::{BootId, ClusterId, GroupId, NodeId, Span, VolumeId};
use reader::Reader;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Interval of heartbeats unless configured.
const HEARTBEAT_INTERVAL: Span = Span::millis(500);

/// An identity and the name that people use for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Named<T> {
    /// What machines compare.
    pub id: T,
    /// What people read and type.
    pub name: String,
}

/// Heartbeats of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Own address.
    pub bind: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Time between two heartbeats.
    pub interval: Span,
}

/// The store of the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArbiterConfig {
    /// A directory that both nodes see.
    Directory(PathBuf),
}

/// Configuration of one node's daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The cluster.
    pub cluster: Named<ClusterId>,
    /// The failover group.
    pub group: Named<GroupId>,
    /// Its volume.
    pub volume: Named<VolumeId>,
    /// This node.
    pub node: NodeId,
    /// Key of the cluster.
    pub key_file: PathBuf,
    /// Admin socket of the engine.
    pub engine_socket: PathBuf,
    /// Configuration file of the engine.
    pub engine_config: PathBuf,
    /// The engine's executable; next to `lockstep` unless configured.
    pub engine_program: Option<PathBuf>,
    /// The daemon starts the engine and restarts it when it dies.
    pub spawn_engine: bool,
    /// Socket of the daemon for operators.
    pub daemon_socket: PathBuf,
    /// Files that a boot does not survive (`/run`).
    pub runtime_dir: PathBuf,
    /// Files that a boot survives.
    pub state_dir: PathBuf,
    /// Heartbeats.
    pub heartbeat: Heartbeat,
    /// The store of the record.
    pub arbiter: ArbiterConfig,
    /// Take over without an operator once there is evidence.
    pub auto_takeover: bool,
    /// Times of SAFETY §1.2.
    pub times: Times,
    /// Stands in for the host's boot id, to play a reboot in a lab.
    pub lab_boot_id: Option<BootId>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file can't be read, is no TOML, or has problems: all of them.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
        Config::parse(&text)
            .map_err(|problems| ConfigError::Wrong { path: path.to_owned(), problems })
    }

    /// Checks a text.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        let table = text.parse::<toml::Table>().map_err(|cause| {
            vec![Problem::Syntax { cause: cause.to_string().trim_end().to_owned() }]
        })?;
        let mut problems = Vec::new();
        let config = read(Reader::new(table, "", &mut problems));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    /// Where the directory arbiter keeps the record.
    pub fn place(&self) -> Place {
        let ArbiterConfig::Directory(root) = &self.arbiter;
        Place {
            root: root.clone(),
            cluster: self.cluster.id,
            group: self.group.id,
            node: self.node,
            state_dir: self.state_dir.clone(),
            deadline: Duration::from_nanos(self.times.arbiter_attempt.0),
        }
    }
}

/// Reads everything before it gives up, so that all problems are seen.
fn read(mut top: Reader<'_>) -> Option<Config> {
    let cluster = named(top.table("cluster"));
    let group = named(top.table("group"));
    let volume = named(top.table("volume"));
    let node = top.node("node");
    let key_file = top.path("key_file");
    let runtime_dir = top.path("runtime_dir");
    let state_dir = top.path("state_dir");
    let daemon_socket = top.path("daemon_socket");
    let spawn_engine = top.flag("spawn_engine", false);
    let auto_takeover = top.flag("auto_takeover", true);
    let engine = top.table("engine").map(|mut engine| {
        let found = (engine.path("socket"), engine.path("config"), engine.maybe_path("program"));
        engine.finish();
        found
    });
    let heartbeat = top.table("heartbeat").and_then(heartbeat);
    let arbiter = top.table("arbiter").and_then(|mut arbiter| {
        let directory = arbiter.path("directory");
        arbiter.finish();
        directory
    });
    let times = top.maybe_table("times").map_or(Some(Times::DEFAULT), times);
    let lab_boot_id = top.maybe_table("lab").and_then(|mut lab| {
        let boot = lab.maybe_id("boot_id");
        lab.finish();
        boot
    });
    top.finish();
    let (engine_socket, engine_config, engine_program) = engine?;
    Some(Config {
        cluster: cluster?,
        group: group?,
        volume: volume?,
        node: node?,
        key_file: key_file?,
        engine_socket: engine_socket?,
        engine_config: engine_config?,
        engine_program,
        spawn_engine,
        daemon_socket: daemon_socket?,
        runtime_dir: runtime_dir?,
        state_dir: state_dir?,
        heartbeat: heartbeat?,
        arbiter: ArbiterConfig::Directory(arbiter?),
        auto_takeover,
        times: times?,
        lab_boot_id,
    })
}

fn named<T: std::str::FromStr>(table: Option<Reader<'_>>) -> Option<Named<T>> {
    let mut table = table?;
    let (id, name) = (table.id("id"), table.name("name"));
    table.finish();
    Some(Named { id: id?, name: name? })
}

fn heartbeat(mut table: Reader<'_>) -> Option<Heartbeat> {
    let (bind, peer) = (table.address("bind"), table.address("peer"));
    let interval = table.span("interval_ms", HEARTBEAT_INTERVAL);
    table.finish();
    Some(Heartbeat { bind: bind?, peer: peer?, interval })
}

fn times(mut table: Reader<'_>) -> Option<Times> {
    let default = Times::DEFAULT;
    let times = Times {
        ping: table.span("ping_ms", default.ping),
        link_dead: table.span("link_dead_ms", default.link_dead),
        grace: table.span("grace_ms", default.grace),
        arbiter_attempt: table.span("arbiter_attempt_ms", default.arbiter_attempt),
        lease: table.span("lease_ms", default.lease),
        fence: table.span("fence_ms", default.fence),
        heartbeat_timeout: table.span("heartbeat_timeout_ms", default.heartbeat_timeout),
        margin: table.span("margin_ms", default.margin),
        suspend_max: table.span_or_never("suspend_max_ms", default.suspend_max),
        ack_timeout: table.span("ack_timeout_ms", default.ack_timeout),
        life_interval: table.span("life_interval_ms", default.life_interval),
        hello: table.span("hello_ms", default.hello),
        sync_stall: table.span("sync_stall_ms", default.sync_stall),
    };
    table.check_times(&times);
    table.finish();
    Some(times)
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
