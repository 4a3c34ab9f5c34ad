//! Two nodes in one directory: files, keys, ports, configurations, processes. It has no opinion
//! about who should serve; all of that is asked of the daemons.

use super::process::{Process, ProcessError, Processes};
use super::relay::Cable;
use crate::act::host;
use crate::config::Config;
use lockstep_engine::config::{
    ClientsConfig, EngineConfig, LimitsConfig, LinkConfig, Named, SyncConfig,
};
use lockstep_engine::limits::Times;
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{ClusterId, GroupId, NodeId, Span, VolumeId};
use lockstep_nbd::client::Address;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// Bytes of a node's data file beyond the exported ones (R21).
const TAIL_BYTES: u64 = lockstep_engine::limits::DATA_TAIL_BYTES;
/// Bytes of a node's cluster file: more than enough for a volume of the demo.
const CLUSTER_BYTES: u64 = 64 << 20;
/// Intent table of the demo: 4 GiB of working set.
const INTENT_REGIONS: u32 = 1_024;
/// Longest path of a socket that the kernel takes.
const SOCKET_PATH_MAX: usize = 107;
/// Name of the volume.
pub const VOLUME: &str = "demo";

/// Why the world could not be made.
#[derive(Debug)]
pub enum WorldError {
    /// A file or directory.
    File { path: PathBuf, cause: io::Error },
    /// No free port.
    Port { cause: io::Error },
    /// Random numbers.
    Host(host::HostError),
    /// A process.
    Process(ProcessError),
    /// The directory's name is too long for sockets in it.
    PathTooLong { path: PathBuf },
}

impl fmt::Display for WorldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorldError::File { path, cause } => {
                write!(f, "{}: {cause}; is there room, and the right to write?", path.display())
            }
            WorldError::Port { cause } => write!(f, "loopback port: {cause}; is loopback up?"),
            WorldError::Host(error) => error.fmt(f),
            WorldError::Process(error) => error.fmt(f),
            WorldError::PathTooLong { path } => write!(
                f,
                "{}: too long for the sockets inside; choose a shorter --keep",
                path.display()
            ),
        }
    }
}

impl std::error::Error for WorldError {}

impl From<ProcessError> for WorldError {
    fn from(error: ProcessError) -> WorldError {
        WorldError::Process(error)
    }
}

/// Identities of a world.
#[derive(Clone, Copy)]
struct Ids {
    cluster: ClusterId,
    group: GroupId,
    volume: VolumeId,
}

/// Addresses of one node, and the relays through which the other reaches it.
struct Ports {
    link: SocketAddr,
    link_relay: SocketAddr,
    beat: SocketAddr,
    beat_relay: SocketAddr,
}

/// One node.
pub struct Node {
    /// Its name.
    pub id: NodeId,
    dir: PathBuf,
    programs: Programs,
    processes: Processes,
    engine: Option<Process>,
    daemon: Option<Process>,
}

/// The executables.
#[derive(Clone)]
struct Programs {
    engine: PathBuf,
    ctl: PathBuf,
}

/// Both nodes and the cable between them.
pub struct World {
    /// Node a, then node b.
    pub nodes: [Node; 2],
    /// All that runs between them.
    pub cable: Cable,
    /// Exported bytes.
    pub size: u64,
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> WorldError + '_ {
    move |cause| WorldError::File { path: path.to_owned(), cause }
}

impl World {
    /// Makes both nodes in `dir` and formats them.
    pub fn make(dir: &Path, size: u64, processes: &Processes) -> Result<World, WorldError> {
        let programs = programs()?;
        let ids = ids()?;
        let key = dir.join("key");
        let secret = (host::nonce(), host::nonce());
        let text = format!(
            "{}{}\n",
            secret.0.map_err(WorldError::Host)?,
            secret.1.map_err(WorldError::Host)?
        );
        fs::write(&key, text).map_err(file_error(&key))?;
        let cable = Cable::default();
        let ports = [ports(&cable)?, ports(&cable)?];
        let make = |id: NodeId, own: usize| {
            let node = Node {
                id,
                dir: dir.join(id.to_string()),
                programs: programs.clone(),
                processes: processes.clone(),
                engine: None,
                daemon: None,
            };
            node.lay_out(dir, size, ids, &ports[own], &ports[1 - own]).map(|()| node)
        };
        let nodes = [make(NodeId::A, 0)?, make(NodeId::B, 1)?];
        Ok(World { nodes, cable, size })
    }

    /// Where clients of both nodes connect.
    pub fn servers(&self) -> Vec<Address> {
        self.nodes.iter().map(|node| Address::Unix(node.clients())).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cable.end();
    }
}

/// The executables next to this one.
fn programs() -> Result<Programs, WorldError> {
    let ctl = std::env::current_exe()
        .map_err(|cause| WorldError::File { path: PathBuf::from("/proc/self/exe"), cause })?;
    let engine = ctl.with_file_name("lockstep-engine");
    if !engine.is_file() {
        let cause = io::ErrorKind::NotFound.into();
        return Err(ProcessError::Start { program: engine, cause }.into());
    }
    Ok(Programs { engine, ctl })
}

fn ids() -> Result<Ids, WorldError> {
    let fresh = || host::nonce().map(|nonce| nonce.0).map_err(WorldError::Host);
    Ok(Ids { cluster: ClusterId(fresh()?), group: GroupId(fresh()?), volume: VolumeId(fresh()?) })
}

/// Free addresses on loopback, with relays in front of them.
fn ports(cable: &Cable) -> Result<Ports, WorldError> {
    let free = || -> io::Result<Ports> {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (link, beat) = (tcp.local_addr()?, udp.local_addr()?);
        Ok(Ports { link, link_relay: cable.tcp(link)?, beat, beat_relay: cable.udp(beat)? })
    };
    free().map_err(|cause| WorldError::Port { cause })
}

impl Node {
    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/daemon.sock")
    }

    /// Where clients connect.
    pub fn clients(&self) -> PathBuf {
        self.dir.join("run/nbd.sock")
    }

    /// The data file.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn engine_config(&self) -> PathBuf {
        self.dir.join("engine.toml")
    }

    fn node_config(&self) -> PathBuf {
        self.dir.join("node.toml")
    }

    fn lay_out(
        &self,
        root: &Path,
        size: u64,
        ids: Ids,
        own: &Ports,
        peer: &Ports,
    ) -> Result<(), WorldError> {
        if self.socket().as_os_str().len() > SOCKET_PATH_MAX {
            return Err(WorldError::PathTooLong { path: root.to_owned() });
        }
        for dir in [self.dir.join("run"), self.dir.join("state")] {
            fs::create_dir_all(&dir).map_err(file_error(&dir))?;
        }
        let sizes = [(self.data(), size + TAIL_BYTES), (self.dir.join("cluster"), CLUSTER_BYTES)];
        for (path, bytes) in sizes {
            File::create(&path).and_then(|file| file.set_len(bytes)).map_err(file_error(&path))?;
        }
        let engine = self.engine_toml(root, ids, own, peer);
        fs::write(self.engine_config(), engine).map_err(file_error(&self.engine_config()))?;
        let node = self.node_toml(root, ids, own, peer);
        debug_assert!(Config::parse(&node).is_ok(), "{:?}", Config::parse(&node));
        fs::write(self.node_config(), node).map_err(file_error(&self.node_config()))?;
        let config = self.engine_config();
        let args = ["format", "--config", &config.to_string_lossy()];
        Ok(self.processes.run(&self.programs.engine, &args, &self.log("format"))?)
    }

    fn engine_toml(&self, root: &Path, ids: Ids, own: &Ports, peer: &Ports) -> String {
        EngineConfig {
            cluster: Named { id: ids.cluster, name: "demo".to_owned() },
            group: Named { id: ids.group, name: "demo".to_owned() },
            volume: Named { id: ids.volume, name: VOLUME.to_owned() },
            node: self.id,
            data: self.data(),
            cluster_partition: self.dir.join("cluster"),
            device: None,
            admin: self.dir.join("run/engine.sock"),
            ack: AckMode::Written,
            intent_idle: Span::millis(1_000),
            clients: ClientsConfig { unix: Some(self.clients()), tcp: Vec::new() },
            link: LinkConfig {
                listen: own.link,
                peer: peer.link_relay,
                flows: 2,
                key_file: root.join("key"),
            },
            sync: SyncConfig::default(),
            times: Times::DEFAULT,
            limits: LimitsConfig {
                intent_regions: INTENT_REGIONS,
                connections: 8,
                // Needs a privilege that a demo does not ask for.
                lock_memory: false,
                ..LimitsConfig::default()
            },
        }
        .to_toml()
    }

    fn node_toml(&self, root: &Path, ids: Ids, own: &Ports, peer: &Ports) -> String {
        let text = |path: PathBuf| toml::Value::String(path.display().to_string());
        let Ids { cluster, group, volume } = ids;
        let (id, bind, beat_peer) = (self.id, own.beat, peer.beat_relay);
        format!(
            "# The operator of the demo decides when to take over, so that each step can be seen.\n\
             node = \"{id}\"\n\
             auto_takeover = false\n\
             key_file = {key}\n\
             runtime_dir = {run}\n\
             state_dir = {state}\n\
             daemon_socket = {socket}\n\n\
             [cluster]\nid = \"{cluster}\"\nname = \"demo\"\n\n\
             [group]\nid = \"{group}\"\nname = \"demo\"\n\n\
             [volume]\nid = \"{volume}\"\nname = \"{VOLUME}\"\n\n\
             [engine]\nsocket = {engine}\nconfig = {config}\n\n\
             [heartbeat]\nbind = \"{bind}\"\npeer = \"{beat_peer}\"\n\n\
             [arbiter]\ndirectory = {arbiter}\n",
            key = text(root.join("key")),
            run = text(self.dir.join("run")),
            state = text(self.dir.join("state")),
            socket = text(self.socket()),
            engine = text(self.dir.join("run/engine.sock")),
            config = text(self.engine_config()),
            arbiter = text(root.join("arbiter")),
        )
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// Starts the engine and the daemon.
    pub fn start(&mut self) -> Result<(), WorldError> {
        let config = self.engine_config();
        let args = ["run", "--config", &config.to_string_lossy()];
        self.engine =
            Some(self.processes.start(&self.programs.engine, &args, &self.log("engine"))?);
        let config = self.node_config();
        let args = ["daemon", "--config", &config.to_string_lossy()];
        self.daemon = Some(self.processes.start(&self.programs.ctl, &args, &self.log("daemon"))?);
        Ok(())
    }

    /// SIGKILL to both processes, as near to a power cut as a host that lives can come.
    pub fn kill(&mut self) -> Result<(), WorldError> {
        for process in [self.daemon.take(), self.engine.take()].into_iter().flatten() {
            process.kill()?;
        }
        Ok(())
    }
}
