//! From a configuration to a running reactor: privileges, partitions, recovery, memory, sockets.
//! Always: nothing is read from the cluster partition before both partitions are locked (R20), and
//! nobody is listened to before recovery is done; every privilege that is refused is one line.

use super::admin_lane::{AdminLane, Hello};
use super::bufs::Bufs;
use super::client_lane::ClientLane;
use super::device_lane::DeviceLane;
use super::digest::Digester;
use super::disk_lane::DiskLane;
use super::hub::Hub;
use super::metrics::Metrics;
use super::peer_lane::{PeerConfig, PeerLane};
use super::poll::Poller;
use super::port::Port;
use super::reactor::Reactor;
use super::{clock, listen, privileges, recovery};
use crate::config::{EngineConfig, key_exposed, read_key};
use crate::device::Device;
use crate::error::StartError;
use crate::format::superblock::Superblock;
use crate::replica::settings::Settings;
use crate::replica::{OpenRefused, Replica};
use crate::units::{BootId, NodeId, StartId};
use crate::uring::buffers::Arena;
use crate::uring::{File, Ring, sys};
use crate::wire::greeting::{GreetingConfig, Key};
use lockstep_nbd::device::{Wanted, backend};
use lockstep_nbd::protocol::Export;
use lockstep_nbd::protocol::constants::BLOCK_BYTES_MIN;
use std::collections::VecDeque;
use std::env::VarError;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Everything up to the first turn of the loop.
pub fn start(config: &EngineConfig) -> Result<Reactor, StartError> {
    // Before any work is done: a key that is missing must not wait for a recovery.
    let key = read_key(&config.link.key_file).map_err(StartError::Key)?;
    if let Some(exposed) = key_exposed(&config.link.key_file) {
        tracing::warn!("{exposed}");
    }
    // Before stop signals are kept for the loop: a wait for another engine must end by one.
    let (data, meta) = open_devices(config)?;
    // Before any thread exists: both are inherited.
    let signals = sys::stop_signals().map_err(|error| StartError::Signals { error })?;
    privileges::take(config.limits.lock_memory);
    let recovered = recovery::recover(config, &data, &meta)?;
    let sb = recovered.superblock.clone();
    let mut hub = open_hub()?;
    let (boot, start) = lives()?;
    let settings = Settings {
        boot,
        start,
        ack: config.ack,
        sync_digests: config.sync.digests,
        sync_window: config.sync.window,
        sync_rate_max: config.sync.rate_max,
        sync_rate_floor: config.sync.rate_floor,
        sync_delay_target: config.sync.delay_target,
        intent_idle: config.intent_idle,
        times: config.times,
    };
    let replica = Replica::open(settings, recovered, hub.now).map_err(|refused| match refused {
        OpenRefused::EmptyVolume => StartError::EmptyVolume { path: meta.path().to_path_buf() },
    })?;
    let data_file = adopt(&mut hub, &data)?;
    let meta_file = adopt(&mut hub, &meta)?;
    let zeroes = hub.bufs.pools.internal.take().expect("the pool is fresh");
    let disk = DiskLane::new(data_file.clone(), meta_file, sb.tail_offset, zeroes);
    let digester = Digester::start(&mut hub).map_err(|error| StartError::Helper { error })?;
    let mut clients = open_clients(config, &mut hub, &sb, data_file, !data.is_block())?;
    let waits = replica.may_serve();
    let device = open_kernel_device(config, &mut hub, &mut clients, &data, waits)?;
    let peer = open_peer(config, key, &mut hub, &sb, boot, start)?;
    let hello = Hello { build: lockstep_nbd::BUILD_ID.to_string(), config_digest: config.digest() };
    let admin = AdminLane::new(&mut hub, hello, listen::unix("admin", &config.admin)?);
    let signals = hub.port.ring.adopt(signals);
    let poller = Poller::new(config.limits.poll);
    tracing::info!(
        volume = %config.volume.name,
        node = %sb.node,
        size = sb.size,
        disk = ?sb.disk,
        generation = %sb.generation,
        "engine is up"
    );
    Ok(Reactor {
        hub,
        replica,
        disk,
        digester,
        clients,
        device,
        peer,
        admin,
        signals,
        poller,
        reaped: Vec::new(),
        events: 0,
        stop_by: None,
        give_up_at: None,
    })
}

fn open_devices(config: &EngineConfig) -> Result<(Device, Device), StartError> {
    let mut waiting = |path: &Path| {
        tracing::warn!(
            partition = %path.display(),
            "another engine still has it; waiting until its last request has ended"
        );
    };
    let data = Device::open_configured("data", &config.data, &mut waiting)?;
    let meta =
        Device::open_configured("cluster_partition", &config.cluster_partition, &mut waiting)?;
    for device in [&data, &meta] {
        if !device.is_direct() {
            tracing::warn!(
                partition = %device.path().display(),
                "no direct I/O here: fine for a lab, not for a kernel device on this host (R37)"
            );
        }
    }
    Ok((data, meta))
}

fn open_hub() -> Result<Hub, StartError> {
    let mut ring = Ring::open().map_err(|error| StartError::Ring { error })?;
    let arena = Arena::map(&Bufs::CLASSES, true).map_err(|error| StartError::Memory { error })?;
    ring.register(&arena);
    tracing::info!("ring: {}", ring.capabilities());
    let mib = arena.bytes >> 20;
    match (&arena.populated, &arena.huge) {
        (Ok(()), Ok(())) => tracing::info!("buffers: {mib} MiB, present, huge pages asked for"),
        (populated, huge) => {
            tracing::warn!(?populated, ?huge, "buffers: {mib} MiB, not all that was asked for");
        }
    }
    Ok(Hub {
        port: Port::new(ring),
        bufs: Bufs::new(&arena),
        events: VecDeque::with_capacity(1024),
        now: clock::now(),
        metrics: Metrics::default(),
    })
}

/// The lock belongs to the open description, so a duplicate descriptor keeps it.
fn adopt(hub: &mut Hub, device: &Device) -> Result<File, StartError> {
    let fd = device.file().as_fd().try_clone_to_owned();
    let fd: OwnedFd = fd.map_err(|error| StartError::Ring { error })?;
    Ok(hub.port.ring.adopt(fd))
}

/// Stands in for the host's boot id, in a lab: the daemon that starts this engine says which.
const LAB_BOOT_ID: &str = "LOCKSTEP_LAB_BOOT_ID";

fn lives() -> Result<(BootId, StartId), StartError> {
    let text = match std::env::var(LAB_BOOT_ID) {
        Ok(text) => Ok(text),
        Err(VarError::NotPresent) => std::fs::read_to_string("/proc/sys/kernel/random/boot_id"),
        Err(cause) => Err(io::Error::other(cause)),
    };
    let boot = text.and_then(|text| {
        let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
        digits.parse::<BootId>().map_err(io::Error::other)
    });
    let boot = boot.map_err(|error| StartError::NoBootId { error })?;
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| StartError::NoRandom { error: io::Error::other(error) })?;
    Ok((boot, StartId(u128::from_le_bytes(random).max(1))))
}

fn open_clients(
    config: &EngineConfig,
    hub: &mut Hub,
    sb: &Superblock,
    data: File,
    regular: bool,
) -> Result<ClientLane, StartError> {
    let mut sockets = Vec::new();
    if let Some(path) = &config.clients.unix {
        sockets.push((listen::unix("clients.unix", path)?, false));
    }
    for address in &config.clients.tcp {
        sockets.push((listen::tcp("clients.tcp", *address)?, true));
    }
    let export = Export::new(&config.volume.name, sb.size)
        .map_err(|error| StartError::Export { error: error.into() })?;
    let most = config.limits.connections;
    Ok(ClientLane::new(hub, export, data, regular, sockets, most))
}

/// The kernel's device, if the configuration has one. Not over a file: its pages would be written
/// back by the same kernel that waits for this engine (R37).
fn open_kernel_device(
    config: &EngineConfig,
    hub: &mut Hub,
    clients: &mut ClientLane,
    data: &Device,
    waits: bool,
) -> Result<Option<DeviceLane>, StartError> {
    let Some(device) = config.device else { return Ok(None) };
    if !data.is_block() {
        return Err(StartError::DeviceOverFile { path: data.path().to_path_buf() });
    }
    let wanted = Wanted {
        index: device.index,
        backend: backend(&config.volume.name),
        size: clients.size(),
        block_bytes: BLOCK_BYTES_MIN,
        flags: clients.kernel_flags(),
    };
    clients.keep_place_for_kernel(hub);
    let lane = DeviceLane::start(hub, wanted);
    let mut lane = lane.map_err(|error| StartError::Helper { error })?;
    if !waits {
        // What an engine before this one left may not wait for this node to serve.
        lane.detach();
    }
    Ok(Some(lane))
}

fn open_peer(
    config: &EngineConfig,
    key: Key,
    hub: &mut Hub,
    sb: &Superblock,
    boot: BootId,
    start: StartId,
) -> Result<PeerLane, StartError> {
    let greeting = GreetingConfig {
        cluster: sb.cluster,
        group: sb.group,
        volume: sb.volume,
        node: sb.node,
        boot,
        start,
        key,
        flows: config.link.flows,
    };
    let dial = (sb.node == NodeId::A).then_some(config.link.peer);
    let lane = PeerConfig { greeting, dial, hello: config.times.hello };
    Ok(PeerLane::new(hub, lane, listen::tcp("link.listen", config.link.listen)?))
}
