//! From a node's view of the configuration to a daemon that has not turned yet.

use super::apply::Applying;
use super::apply::reload::{Former, Talk};
use super::discard::Discarding;
use super::effects::Effects;
use super::engines;
use super::heartbeats::Late;
use super::keepers::{self, Keepers};
use super::lease::{self, LeaseKeeper};
use super::registers::{Outside, Own};
use super::{Daemon, ENDS_MAX, Ears, End, Store};
use crate::act::arbiter::Arbiter;
use crate::act::arbiter::directory::{Directory, Place};
use crate::act::arbiter::etcd::{
    Endpoint, Etcd, Identity, Place as EtcdPlace, PlaceError, TlsFiles,
};
use crate::act::clock;
use crate::act::engine::Heard;
use crate::act::events::Diary;
use crate::act::heartbeat::{Exchange, Opening, Pair, PathAddress, Paths};
use crate::act::host::{self, HostError};
use crate::act::last::{Hand, Mode};
use crate::act::peer::{Asked, Caller, Life, Listener, Lives, Who};
use crate::api::ListenError;
use crate::config::cluster::{AWS_HERE, ArbiterSpec, EtcdSpec, Group, NodeView, needs_aws};
use crate::decide::node::{self, Memory, Node, PeerState};
use crate::decide::{self};
use lockstep_engine::config::{KeyFileError, key_exposed, read_key};
use lockstep_engine::units::{BootId, GroupId, Nonce, Tick};
use lockstep_engine::wire::greeting::Key;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What the key of heartbeats is derived for.
const HEARTBEAT_PURPOSE: &str = "heartbeats";

/// Why the daemon did not start.
#[derive(Debug)]
pub enum DaemonError {
    /// The host lacks something.
    Host(HostError),
    /// The cluster key can't be used.
    Key(KeyFileError),
    /// No operators.
    Listen(ListenError),
    /// The runtime can't be built.
    Runtime { cause: io::Error },
    /// A directory can't be made.
    Directory { path: PathBuf, cause: io::Error },
    /// No events can be written.
    Diary { path: PathBuf, cause: io::Error },
    /// The configured etcd can't be used.
    Etcd { error: PlaceError },
    /// This build has no AWS and can't act on those keys.
    NoAws { keys: Vec<String> },
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonError::Host(error) => error.fmt(f),
            DaemonError::Key(error) => error.fmt(f),
            DaemonError::Listen(error) => error.fmt(f),
            DaemonError::Runtime { cause } => {
                write!(f, "event loop: {cause}; raise the limits of open files")
            }
            DaemonError::Directory { path, cause } => {
                write!(f, "{}: {cause}; create it or correct the configuration", path.display())
            }
            DaemonError::Diary { path, cause } => {
                write!(f, "{}: events: {cause}; raise the limit of processes", path.display())
            }
            DaemonError::Etcd { error } => write!(f, "arbiter: {error}"),
            DaemonError::NoAws { keys } => write!(
                f,
                "this build has no AWS and can't act on {}; install the package with AWS support",
                keys.join(", ")
            ),
        }
    }
}

impl std::error::Error for DaemonError {}

/// Where everything that a daemon has set going reports to.
pub(super) struct Channels {
    ends: mpsc::Sender<End>,
    told: mpsc::Sender<(usize, Heard)>,
    asked: mpsc::Sender<Asked>,
}

impl Channels {
    /// Channels of one daemon: what an older one has left under way reports to nobody. Calls of
    /// the peer are for whoever is there.
    pub(super) fn open(
        asked: &mpsc::Sender<Asked>,
        asks: mpsc::Receiver<Asked>,
    ) -> (Channels, Ears) {
        let (ends, ended) = mpsc::channel(ENDS_MAX);
        let (told, heard) = mpsc::channel(ENDS_MAX);
        let ears = Ears { told: told.clone(), heard, ended, asks };
        (Channels { ends, told, asked: asked.clone() }, ears)
    }
}

/// Builds the daemon and starts the tasks that listen for it. It takes from the former one what it
/// can use, once nothing can fail any more.
///
/// # Errors
/// Something that it needs is not there.
pub(super) fn start(
    view: NodeView,
    applying: Applying,
    channels: &Channels,
    former: &mut Former,
) -> Result<Daemon, DaemonError> {
    let (key, boot) = of_host(&view)?;
    let now = clock::now();
    let node = open_node(&view, boot, now)?;
    let stores = view.groups.iter().map(|group| open_store(&view, group, now));
    let stores = stores.collect::<Result<Vec<Store>, DaemonError>>()?;
    let life = fresh()?;
    let starts = keepers::starts(&view)?;
    let diary = match former.diary.take() {
        Some(diary) => diary,
        None => Diary::open(&view.state_dir, view.events_kept)
            .map_err(|cause| DaemonError::Diary { path: view.state_dir.clone(), cause })?,
    };
    let slots = match engines::open(&view, boot, &channels.told, former) {
        Ok(slots) => slots,
        Err(error) => {
            former.diary = Some(diary);
            return Err(error);
        }
    };
    let keepers = Keepers::open(&view, (boot, starts), &channels.ends, &mut former.keepers);
    let groups: Vec<GroupId> = view.groups.iter().map(|group| group.settings.id).collect();
    let Talk { exchange, paths, lives, listener, caller } = match former.talk.take() {
        Some(mut talk) => {
            talk.exchange.renew(&groups);
            talk
        }
        None => talk(&view, &key, Life { boot, life }, groups, &channels.asked),
    };
    for own in stores.iter().filter_map(|store| store.own.as_ref()) {
        own.speaks_over(&caller);
    }
    let mode = if view.harmless { Mode::Harmless } else { Mode::Real };
    let hand = Hand::new(mode, view.state_dir.join("final-actions"));
    tracing::info!(node = %view.node, cluster = view.cluster.name, %boot, "daemon started");
    Ok(Daemon {
        node,
        slots,
        keepers,
        stores,
        leases: LeaseKeeper::open(&view, boot),
        exchange,
        late: Late::new(view.heartbeat.links.len(), view.groups.len()),
        paths,
        lives,
        listener,
        caller,
        announced: PeerState::default(),
        discarding: Discarding::No,
        outside: Outside { listens: now, probed: None },
        digest: applying.digest(),
        applying,
        boot,
        ends: channels.ends.clone(),
        effects: Effects::new(&view),
        hand,
        diary,
        requests: HashMap::new(),
        watchers: std::mem::take(&mut former.watchers),
        lost_steps: Vec::new(),
        memory_fails: false,
        lost_keepers: Vec::new(),
        view,
    })
}

/// Whether this build knows what to do about everything in the configuration.
fn can_act(view: &NodeView) -> Result<(), DaemonError> {
    let beyond = if AWS_HERE { Vec::new() } else { needs_aws(view) };
    if beyond.is_empty() { Ok(()) } else { Err(DaemonError::NoAws { keys: beyond }) }
}

/// Makes the directories; gives the key of the cluster and the boot of this host.
fn of_host(view: &NodeView) -> Result<(Key, BootId), DaemonError> {
    can_act(view)?;
    for path in [&view.run_dir, &view.state_dir] {
        let failed = |cause| DaemonError::Directory { path: path.clone(), cause };
        std::fs::create_dir_all(path).map_err(failed)?;
    }
    let key = read_key(&view.key_file).map_err(DaemonError::Key)?;
    if let Some(exposed) = key_exposed(&view.key_file) {
        tracing::warn!("{exposed}");
    }
    let boot = match view.lab_boot_id {
        Some(boot) => boot,
        None => host::boot_id().map_err(DaemonError::Host)?,
    };
    Ok((key, boot))
}

/// Begins to talk to the peer: heartbeats, and calls over the same addresses by TCP.
fn talk(
    view: &NodeView,
    key: &Key,
    own: Life,
    groups: Vec<GroupId>,
    asked: &mpsc::Sender<Asked>,
) -> Talk {
    let address = |link: &crate::config::cluster::HeartbeatLink| PathAddress {
        bind: link.bind,
        peer: link.peer,
    };
    let addresses: Vec<PathAddress> = view.heartbeat.links.iter().map(address).collect();
    let exchange = Exchange::new(Opening {
        pair: Pair { cluster: view.cluster.id, node: view.node },
        key: key.for_purpose(HEARTBEAT_PURPOSE).to_vec(),
        boot: own.boot,
        life: own.life,
        next_life: || host::nonce().ok(),
        paths: addresses.len(),
        groups,
    });
    let who = Who::new(view.cluster.id, view.node, key);
    let (lives, seen) = watch::channel(Lives { own, peer: None });
    Talk {
        exchange,
        paths: Paths::open(&addresses),
        listener: Listener::open(&addresses, who.clone(), seen.clone(), asked.clone()),
        caller: Caller::new(addresses, who, seen),
        lives,
    }
}

fn fresh() -> Result<Nonce, DaemonError> {
    host::nonce().map_err(DaemonError::Host)
}

fn open_node(view: &NodeView, boot: BootId, now: Tick) -> Result<Node, DaemonError> {
    let mut groups = Vec::new();
    for group in &view.groups {
        let mut entropy = [0; 32];
        entropy[..16].copy_from_slice(&fresh()?.0.to_le_bytes());
        entropy[16..].copy_from_slice(&fresh()?.0.to_le_bytes());
        let arbitration = decide::Settings {
            node: view.node,
            cluster: view.cluster.id,
            group: group.settings.id,
            volumes: group.settings.volumes.clone(),
            boot,
            times: view.times,
            entropy,
            heartbeats_from: now,
            auto_takeover: false,
        };
        groups.push((group.settings.clone(), arbitration));
    }
    let settings = node::Settings {
        node: view.node,
        boot,
        times: view.times,
        heartbeats_from: now,
        groups,
        monitors: view.monitors.iter().map(|monitor| monitor.settings.clone()).collect(),
        observe_only: view.observe_only,
        memory: read_memory(&memory_path(view)),
        kept: lease::read(view, boot, now),
    };
    Ok(Node::new(settings, now))
}

fn open_store(view: &NodeView, group: &Group, now: Tick) -> Result<Store, DaemonError> {
    let mut own = None;
    let arbiter: Arc<dyn Arbiter> = match &view.arbiter {
        ArbiterSpec::Directory(root) => {
            let place = Place {
                root: root.clone(),
                cluster: view.cluster.id,
                group: group.settings.id,
                node: view.node,
                state_dir: view.state_dir.clone(),
                deadline: Duration::from_nanos(view.times.arbiter_attempt.0),
            };
            Arc::new(Directory::new(place, fresh()?))
        }
        ArbiterSpec::Etcd(spec) => Arc::new(open_etcd(view, group, spec)?),
        ArbiterSpec::Dynamodb { table } => open_dynamodb(view, group, table)?,
        ArbiterSpec::None { .. } => {
            let made = Own::new(view, group);
            let register = Arc::clone(&made.register);
            own = Some(made);
            register
        }
    };
    Ok(Store { arbiter, own, next_probe: now, troubled: false, split: false })
}

#[cfg(feature = "aws")]
fn open_dynamodb(
    view: &NodeView,
    group: &Group,
    table: &str,
) -> Result<Arc<dyn Arbiter>, DaemonError> {
    use crate::act::arbiter::dynamodb::{Dynamodb, Place};
    let place = Place {
        table: table.to_owned(),
        settings: crate::act::aws::settings(&view.aws),
        cluster: view.cluster.id,
        group: group.settings.id,
        node: view.node,
        state_dir: view.state_dir.clone(),
        deadline: Duration::from_nanos(view.times.arbiter_attempt.0),
    };
    Ok(Arc::new(Dynamodb::new(place, fresh()?)))
}

#[cfg(not(feature = "aws"))]
fn open_dynamodb(view: &NodeView, _: &Group, _: &str) -> Result<Arc<dyn Arbiter>, DaemonError> {
    Err(DaemonError::NoAws { keys: needs_aws(view) })
}

fn open_etcd(view: &NodeView, group: &Group, spec: &EtcdSpec) -> Result<Etcd, DaemonError> {
    let wrong = |error| DaemonError::Etcd { error };
    let endpoints = spec.endpoints.iter().map(|text| text.parse::<Endpoint>().map_err(wrong));
    let identity = match (&spec.cert_file, &spec.key_file) {
        (Some(certificate), Some(key)) => {
            Some(Identity { certificate: certificate.clone(), key: key.clone() })
        }
        _ => None,
    };
    let place = EtcdPlace {
        endpoints: endpoints.collect::<Result<Vec<Endpoint>, DaemonError>>()?,
        prefix: spec.prefix.clone(),
        credentials: spec.credentials_file.clone(),
        tls: spec.ca_file.clone().map(|ca| TlsFiles { ca, identity }),
        cluster: view.cluster.id,
        group: group.settings.id,
        node: view.node,
        state_dir: view.state_dir.clone(),
        deadline: Duration::from_nanos(view.times.arbiter_attempt.0),
    };
    Etcd::new(place, fresh()?).map_err(wrong)
}

/// Where the node's memory is kept: it is of no use in another boot.
pub(super) fn memory_path(view: &NodeView) -> PathBuf {
    view.run_dir.join("node.json")
}

/// What the last daemon remembered. A file that makes no sense is no memory: what it would have
/// said, an operator may have to say again.
fn read_memory(path: &Path) -> Memory {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|cause| {
            tracing::warn!(path = %path.display(), %cause, "memory makes no sense: none");
            Memory::default()
        }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Memory::default(),
        Err(cause) => {
            tracing::warn!(path = %path.display(), %cause, "memory can't be read: none");
            Memory::default()
        }
    }
}
