//! What one node's daemon needs of the cluster. Always: pure; the same cluster gives the same view,
//! and what both nodes must agree on is the same in both views.

use super::{
    ApiSpec, ArbiterSpec, AwsSpec, Cluster, EngineProcess, ForcedStop, Group, Host, Interconnect,
    Local, Monitor, Volume,
};
use crate::config::Named;
use lockstep_engine::config::{EngineConfig, KernelDevice, LinkConfig, Named as EngineNamed};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{BootId, ClusterId, GroupId, NodeId, Span};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything that one node's daemon needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeView {
    /// This node.
    pub node: NodeId,
    /// Both hosts: a, b.
    pub hosts: [Host; 2],
    /// The cluster.
    pub cluster: Named<ClusterId>,
    /// Key of the cluster.
    pub key_file: PathBuf,
    /// Look and report, but never act.
    pub observe_only: bool,
    /// Final actions on the host are only written down.
    pub harmless: bool,
    /// Files that a boot does not survive.
    pub run_dir: PathBuf,
    /// Files that a boot survives.
    pub state_dir: PathBuf,
    /// Files that people write.
    pub config_dir: PathBuf,
    /// Socket of the daemon for operators.
    pub daemon_socket: PathBuf,
    /// How engines are started.
    pub engine_process: EngineProcess,
    /// Engines, one for each volume.
    pub engines: Vec<EngineView>,
    /// Groups; `GroupIndex` and `ResourceIndex` count here.
    pub groups: Vec<Group>,
    /// Monitors; `MonitorIndex` counts here.
    pub monitors: Vec<Monitor>,
    /// Heartbeats.
    pub heartbeat: HeartbeatView,
    /// Where the record lives.
    pub arbiter: ArbiterSpec,
    /// How AWS is reached.
    pub aws: AwsSpec,
    /// Stops the other node's instance in a takeover.
    pub forced_stop: Option<ForcedStop>,
    /// Control over TCP.
    pub api: Option<ApiSpec>,
    /// Times of SAFETY §1.2.
    pub times: Times,
    /// Events that are kept.
    pub events_kept: u32,
    /// Stands in for the host's boot id, in a lab.
    pub lab_boot_id: Option<BootId>,
}

/// Heartbeats of this node. Their time-out is `times.heartbeat_timeout`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeartbeatView {
    /// Time between two.
    pub interval: Span,
    /// Best first.
    pub links: Vec<HeartbeatLink>,
}

/// Heartbeats over one interconnect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeartbeatLink {
    /// Name of the interconnect.
    pub name: String,
    /// Lower is better.
    pub priority: u32,
    /// Whether it carries mirror links too.
    pub mirror: bool,
    /// Own address.
    pub bind: SocketAddr,
    /// Where the peer is reached.
    pub peer: SocketAddr,
}

/// The engine of one volume on this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineView {
    /// What it is started with. `admin` is its socket.
    pub config: EngineConfig,
    /// Group whose record speaks for the volume.
    pub group: Named<GroupId>,
    /// Where its file belongs.
    pub path: PathBuf,
    /// Its file: the canonical text under a head that names the digest.
    pub text: String,
    /// Digest of the canonical text, as the engine reports it.
    pub digest: String,
    /// Where the kernel shows the volume while it is served here.
    pub device: Option<PathBuf>,
}

pub(super) fn view(cluster: &Cluster, node: NodeId) -> NodeView {
    let (own, peer) = (cluster.local(node), cluster.local(node.peer()));
    let engines = own.volumes.iter().filter_map(|volume| engine(own, peer, volume)).collect();
    let links = links(own, peer);
    NodeView {
        node,
        hosts: own.hosts.clone(),
        cluster: own.cluster.clone(),
        key_file: own.key_file.clone(),
        observe_only: own.observe_only,
        harmless: own.harmless,
        run_dir: own.paths.run.clone(),
        state_dir: own.paths.state.clone(),
        config_dir: own.paths.config.clone(),
        daemon_socket: own.paths.run.join("daemon.sock"),
        engine_process: own.engine.clone(),
        engines,
        groups: own.groups.clone(),
        monitors: own.monitors.clone(),
        heartbeat: HeartbeatView { interval: own.heartbeat.interval, links },
        arbiter: own.arbiter.clone(),
        aws: own.aws.clone(),
        forced_stop: own.forced_stop.clone(),
        api: own.api.clone(),
        times: own.times,
        events_kept: own.events_kept,
        lab_boot_id: own.lab_boot_id,
    }
}

/// Own address of an interconnect, and where the peer is reached over it.
fn ends(
    (own, own_port): (&Interconnect, u16),
    peer: &Local,
    peer_port: u16,
) -> Option<(SocketAddr, SocketAddr)> {
    let there = peer.interconnects.iter().find(|one| one.name == own.name)?;
    let reached = own.reach.unwrap_or(there.address);
    Some((SocketAddr::new(own.address, own_port), SocketAddr::new(reached, peer_port)))
}

fn links(own: &Local, peer: &Local) -> Vec<HeartbeatLink> {
    let (own_port, peer_port) = (own.heartbeat.port, peer.heartbeat.port);
    let link = |one: &Interconnect| {
        let (bind, peer) = ends((one, own_port), peer, peer_port)?;
        let (name, priority, mirror) = (one.name.clone(), one.priority, one.mirror);
        Some(HeartbeatLink { name, priority, mirror, bind, peer })
    };
    let mut links: Vec<HeartbeatLink> = own.interconnects.iter().filter_map(link).collect();
    links.sort_by_key(|link| link.priority);
    links
}

/// Both ends of a volume's link.
pub(super) fn link(own: &Local, peer: &Local, volume: &Volume) -> Option<(SocketAddr, SocketAddr)> {
    let carrier = own.interconnects.iter().find(|one| one.name == volume.interconnect)?;
    let there = peer.volumes.iter().find(|one| one.id.id == volume.id.id)?;
    ends((carrier, volume.port), peer, there.port)
}

/// `None` cannot be in a checked cluster: both readings have the same volumes and interconnects.
fn engine(own: &Local, peer: &Local, volume: &Volume) -> Option<EngineView> {
    let (listen, peer) = link(own, peer, volume)?;
    let holds = |group: &&Group| group.settings.volumes.contains(&volume.id.id);
    let group = own.groups.iter().find(holds)?;
    let name = &volume.id.name;
    let config = EngineConfig {
        cluster: EngineNamed { id: own.cluster.id, name: own.cluster.name.clone() },
        group: EngineNamed { id: group.settings.id, name: group.settings.name.clone() },
        volume: EngineNamed { id: volume.id.id, name: name.clone() },
        node: own.node,
        data: volume.data.clone(),
        cluster_partition: volume.cluster_partition.clone(),
        device: volume.device.as_deref().and_then(|path| KernelDevice::parse(path, name)),
        admin: own.paths.run.join(format!("{name}.admin")),
        ack: volume.ack,
        intent_idle: volume.intent_idle,
        clients: volume.clients.clone(),
        link: LinkConfig { listen, peer, flows: volume.flows, key_file: own.key_file.clone() },
        sync: volume.resync,
        times: own.times,
        limits: volume.limits,
    };
    let digest = config.digest();
    let text = format!(
        "# Generated from cluster.toml for node {}, digest {digest}.\n\
         # Edit cluster.toml and apply it; what is changed here is lost.\n{}",
        own.node,
        config.to_toml()
    );
    Some(EngineView {
        group: Named { id: group.settings.id, name: group.settings.name.clone() },
        path: own.paths.state.join("engines").join(format!("{name}.toml")),
        text,
        digest,
        device: volume.device.clone(),
        config,
    })
}
