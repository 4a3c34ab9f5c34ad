//! Two nodes in one directory: files, keys, addresses, configurations, processes. It has no opinion
//! about who should serve; all of that is the daemons' business. Always: a node that is killed has
//! lost its engine, its daemon and the programs of its group, and nobody else a process.

use super::file::{self, Demo, GROUP, HOSTS, Ids, SERVICE};
use super::net::Net;
use super::process::{Process, ProcessError, Processes, end_programs};
use super::relay::Cable;
use crate::act::host;
use crate::act::resource::Context;
use crate::config::cluster::{Cluster, Mistake, NodeView};
use lockstep_engine::units::{ClusterId, GroupId, NodeId, VolumeId};
use lockstep_nbd::client::Address;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a node's data file beyond the exported ones (R21).
const TAIL_BYTES: u64 = lockstep_engine::limits::DATA_TAIL_BYTES;
/// Bytes of a node's cluster file: more than enough for a volume of the demo.
const CLUSTER_BYTES: u64 = 64 << 20;
/// Longest path of a socket that the kernel takes.
const SOCKET_PATH_MAX: usize = 107;

/// Why the world could not be made.
#[derive(Debug)]
pub enum WorldError {
    /// A file or directory.
    File { path: PathBuf, cause: io::Error },
    /// No free addresses.
    Address { cause: io::Error },
    /// Random numbers.
    Host(host::HostError),
    /// A process.
    Process(ProcessError),
    /// The file that was made is wrong.
    Cluster { mistakes: Vec<Mistake> },
    /// Programs of the group.
    Programs { cause: io::Error },
    /// The directory's name is too long for sockets in it.
    PathTooLong { path: PathBuf },
}

impl fmt::Display for WorldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorldError::File { path, cause } => {
                write!(f, "{}: {cause}; is there room, and the right to write?", path.display())
            }
            WorldError::Address { cause } => {
                write!(f, "addresses of loopback: {cause}; is loopback up?")
            }
            WorldError::Cluster { mistakes } => {
                write!(f, "cluster.toml: {mistakes:?}; this is a defect, report it")
            }
            WorldError::Programs { cause } => {
                write!(f, "what the group runs can't be ended: {cause}; see /proc for who it is")
            }
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

/// One node.
pub struct Node {
    /// Its name.
    pub id: NodeId,
    dir: PathBuf,
    view: NodeView,
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
        let key = dir.join("key");
        make_key(&key)?;
        let cable = Cable::default();
        let net = Net::find(&cable).map_err(|cause| WorldError::Address { cause })?;
        let text = file::text(dir, &programs.ctl, ids()?, &net, own_process()?);
        let cluster = Cluster::parse(&text).map_err(|mistakes| WorldError::Cluster { mistakes })?;
        let arbiter = dir.join("arbiter");
        fs::create_dir(&arbiter).map_err(file_error(&arbiter))?;
        let make = |id: NodeId| {
            let node = Node {
                id,
                dir: dir.join(id.to_string()),
                view: cluster.node(id),
                programs: programs.clone(),
                processes: processes.clone(),
                engine: None,
                daemon: None,
            };
            node.lay_out(dir, size, &text).map(|()| node)
        };
        let nodes = [make(NodeId::A)?, make(NodeId::B)?];
        Ok(World { nodes, cable, size })
    }

    /// Where clients of both nodes connect.
    pub fn servers(&self) -> Vec<Address> {
        self.nodes.iter().map(|node| Address::Unix(node.dir.join("nbd.sock"))).collect()
    }

    /// Where the program of the group answers, on either node.
    pub fn services(&self) -> [PathBuf; 2] {
        self.nodes.each_ref().map(|node| node.dir.join("app.sock"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // A story that broke off tells why; its processes end with their handles in any case.
            let _ = node.kill();
        }
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

fn make_key(path: &Path) -> Result<(), WorldError> {
    let word = || host::nonce().map_err(WorldError::Host);
    let text = format!("{}{}\n", word()?, word()?);
    let write = |text: &str| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write(&text).map_err(file_error(path))
}

fn ids() -> Result<Ids, WorldError> {
    let fresh = || host::nonce().map(|nonce| nonce.0).map_err(WorldError::Host);
    Ok(Ids { cluster: ClusterId(fresh()?), group: GroupId(fresh()?), volume: VolumeId(fresh()?) })
}

fn own_process() -> Result<Demo, WorldError> {
    let pid = std::process::id();
    let gone = || WorldError::File {
        path: PathBuf::from("/proc/self/stat"),
        cause: io::ErrorKind::NotFound.into(),
    };
    Ok(Demo { pid, started: host::process_started(pid).ok_or_else(gone)? })
}

impl Node {
    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.view.daemon_socket.clone()
    }

    /// The data file.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("cluster.toml")
    }

    fn lay_out(&self, root: &Path, size: u64, text: &str) -> Result<(), WorldError> {
        if self.socket().as_os_str().len() > SOCKET_PATH_MAX {
            return Err(WorldError::PathTooLong { path: root.to_owned() });
        }
        for dir in [&self.view.run_dir, &self.view.state_dir] {
            fs::create_dir_all(dir).map_err(file_error(dir))?;
        }
        let sizes = [(self.data(), size + TAIL_BYTES), (self.dir.join("cluster"), CLUSTER_BYTES)];
        for (path, bytes) in sizes {
            File::create(&path).and_then(|file| file.set_len(bytes)).map_err(file_error(&path))?;
        }
        fs::write(self.config(), text).map_err(file_error(&self.config()))?;
        for engine in &self.view.engines {
            let path = &engine.path;
            let made = path.parent().map_or(Ok(()), fs::create_dir_all);
            made.and_then(|()| fs::write(path, &engine.text)).map_err(file_error(path))?;
            let args = ["format", "--config", &path.to_string_lossy()];
            self.processes.run(&self.programs.engine, &args, &self.log("format"))?;
        }
        self.processes.may_start(self.service());
        Ok(())
    }

    /// Whose programs this node's daemon starts.
    fn service(&self) -> Context {
        Context {
            node: HOSTS[usize::from(self.id.to_byte() - 1)].to_owned(),
            group: GROUP.to_owned(),
            resource: SERVICE.to_owned(),
            event: "demo".to_owned(),
            runtime_dir: self.view.run_dir.clone(),
            state_dir: self.view.state_dir.clone(),
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// Starts the engine and the daemon.
    pub fn start(&mut self) -> Result<(), WorldError> {
        for engine in &self.view.engines {
            let args = ["run", "--config", &engine.path.to_string_lossy()];
            self.engine =
                Some(self.processes.start(&self.programs.engine, &args, &self.log("engine"))?);
        }
        let (node, config) = (self.id.to_string(), self.config());
        let args = ["daemon", "--node", &node, "--cluster", &config.to_string_lossy()];
        self.daemon = Some(self.processes.start(&self.programs.ctl, &args, &self.log("daemon"))?);
        Ok(())
    }

    /// SIGKILL to engine, daemon and the group's programs, as near to a power cut as a host that
    /// lives can come.
    pub fn kill(&mut self) -> Result<(), WorldError> {
        for process in [self.daemon.take(), self.engine.take()].into_iter().flatten() {
            process.kill()?;
        }
        end_programs(&self.service()).map_err(|cause| WorldError::Programs { cause })
    }
}
