//! What the engine's program does without serving: `format` and `inspect`.
//! Always: `format` writes nothing before every check has passed, wipes the superblocks first and
//! writes them last, so that a cut-short format reads as not formatted. `inspect` never writes.

mod content;
mod look;
mod refusal;

pub use content::Content;
pub use look::{Inspection, inspect};
pub use refusal::FormatError;

use crate::config::{EngineConfig, read_key};
use crate::device::{Device, DeviceError};
use crate::format::layout::{Layout, SUPERBLOCK_PAGES};
use crate::format::recover::fresh;
use crate::format::superblock::{Superblock, choose};
use crate::format::tail::Tail;
use crate::limits::{ATTEMPTS_MAX, DATA_TAIL_BYTES, HISTORY_MAX, VOLUME_BYTES_MAX};
use crate::units::{
    BLOCK_BYTES, BootId, DiskState, Generation, PAGE_BYTES, Page, PairTag, VolumeId,
};
use std::path::{Path, PathBuf};

/// What an operator allows `format` to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permission {
    /// Overwrite whatever is there.
    pub force: bool,
    /// Keep a file system on the data partition that ends before the last 1 MiB.
    pub adopt: bool,
}

/// What `format` made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Formatted {
    /// Exported bytes.
    pub size: u64,
    /// Bytes of the cluster partition that are in use.
    pub metadata: u64,
    /// Tag that ties both partitions together.
    pub pair_tag: PairTag,
    /// Serial of the data device, may be empty.
    pub serial: String,
    /// Partitions without direct I/O: for labs only.
    pub buffered: Vec<PathBuf>,
}

/// Formats both partitions of this node: a fresh copy that must be filled whole.
/// `waiting` is told when another engine still holds a partition.
pub fn format(
    config: &EngineConfig,
    permission: Permission,
    waiting: &mut dyn FnMut(&Path),
) -> Result<Formatted, FormatError> {
    // An engine that could not be started is no reason to give up what is on the partitions.
    read_key(&config.link.key_file).map_err(FormatError::Key)?;
    // Otherwise the second lock would wait for the first for ever.
    let [data, cluster] = [&config.data, &config.cluster_partition].map(std::fs::canonicalize);
    if let (Ok(path), Ok(other)) = (data, cluster)
        && path == other
    {
        return Err(FormatError::SamePartition { path });
    }
    let data = Device::open_configured("data", &config.data, waiting)?;
    let cluster = Device::open_configured("cluster_partition", &config.cluster_partition, waiting)?;
    let size = exported_size(&data)?;
    let layout = Layout::new(size, config.limits.intent_regions);
    if cluster.size() < layout.total_bytes() {
        let (path, needed) = (cluster.path().to_path_buf(), layout.total_bytes());
        return Err(FormatError::ClusterTooSmall { path, needed, found: cluster.size() });
    }
    check_cluster(&cluster, permission)?;
    check_data(&data, size, permission)?;
    let superblock = fresh_superblock(config, size, data.serial())?;
    write_all(&superblock, &data, &cluster)?;
    let direct = |device: &&Device| !device.is_direct();
    let buffered = [&data, &cluster].into_iter().filter(direct);
    Ok(Formatted {
        size,
        metadata: layout.total_bytes(),
        pair_tag: superblock.pair_tag,
        serial: superblock.serial,
        buffered: buffered.map(|device| device.path().to_path_buf()).collect(),
    })
}

/// Bytes that a data partition of that size exports: all but the tail, in whole blocks. Also the
/// offset of the tail.
fn exported_size(data: &Device) -> Result<u64, FormatError> {
    let found = data.size();
    let path = || data.path().to_path_buf();
    let size = found.saturating_sub(DATA_TAIL_BYTES) / BLOCK_BYTES * BLOCK_BYTES;
    if size == 0 {
        return Err(FormatError::DataTooSmall { path: path(), found });
    }
    if size > VOLUME_BYTES_MAX {
        return Err(FormatError::DataTooLarge { path: path(), found });
    }
    Ok(size)
}

fn check_cluster(cluster: &Device, permission: Permission) -> Result<(), FormatError> {
    if permission.force {
        return Ok(());
    }
    let path = || cluster.path().to_path_buf();
    let [first, second] = SUPERBLOCK_PAGES.map(|page| cluster.read_page(page).ok());
    if let Ok((found, _)) = choose([first.as_ref(), second.as_ref()]) {
        return Err(FormatError::Formatted { path: path(), volume: found.volume });
    }
    // The data partition of a node, when the two were exchanged.
    let end = cluster.size().saturating_sub(DATA_TAIL_BYTES) / BLOCK_BYTES * BLOCK_BYTES;
    if let Some(volume) = tail_of(cluster, end)? {
        return Err(FormatError::Tail { path: path(), volume });
    }
    match content::look(cluster)? {
        Some(content) => Err(FormatError::ClusterInUse { path: path(), content }),
        None => Ok(()),
    }
}

/// The volume whose tail begins at that offset; `None` without one.
fn tail_of(device: &Device, offset: u64) -> Result<Option<VolumeId>, DeviceError> {
    for slot in [0u8, 1] {
        let at = Tail::slot_offset(offset, slot);
        if at + BLOCK_BYTES > device.size() {
            continue;
        }
        if let Ok(tail) = Tail::decode(&device.read_at(at)?, slot) {
            return Ok(Some(tail.volume));
        }
    }
    Ok(None)
}

fn check_data(data: &Device, size: u64, permission: Permission) -> Result<(), FormatError> {
    if permission.force && !permission.adopt {
        return Ok(());
    }
    let path = || data.path().to_path_buf();
    if !permission.force {
        if let Some(volume) = tail_of(data, size)? {
            return Err(FormatError::Tail { path: path(), volume });
        }
        // The cluster partition of a node, when the two were exchanged.
        let [first, second] = SUPERBLOCK_PAGES.map(|page| data.read_page(page).ok());
        if let Ok((found, _)) = choose([first.as_ref(), second.as_ref()]) {
            return Err(FormatError::Formatted { path: path(), volume: found.volume });
        }
    }
    let content = content::look(data)?;
    match (permission.adopt, content) {
        (false, None) => Ok(()),
        (false, Some(content)) => Err(FormatError::DataInUse { path: path(), content }),
        (true, Some(content)) => match content.bytes() {
            Some(bytes) if bytes <= size => Ok(()),
            Some(_) => Err(FormatError::NoRoomForTail { path: path(), content, limit: size }),
            None => Err(FormatError::CannotAdopt { path: path(), content: Some(content) }),
        },
        (true, None) => Err(FormatError::CannotAdopt { path: path(), content: None }),
    }
}

fn fresh_superblock(
    config: &EngineConfig,
    size: u64,
    serial: &str,
) -> Result<Superblock, FormatError> {
    let mut tag = [0; 16];
    getrandom::fill(&mut tag).map_err(|_| FormatError::NoRandomness)?;
    Ok(Superblock {
        sequence: 1,
        cluster: config.cluster.id,
        group: config.group.id,
        volume: config.volume.id,
        node: config.node,
        size,
        intent_regions: config.limits.intent_regions,
        pair_tag: PairTag(u128::from_le_bytes(tag)),
        tail_offset: size,
        serial: serial.to_string(),
        life: 1,
        life_heard: 0,
        disk: DiskState::Inconsistent,
        needs_full: true,
        generation: Generation::NONE,
        base: Generation::NONE,
        history: [Generation::NONE; HISTORY_MAX],
        record: None,
        attempts: [None; ATTEMPTS_MAX],
        primary_boot: BootId::NONE,
        mark: None,
        diverged: false,
    })
}

fn write_all(superblock: &Superblock, data: &Device, cluster: &Device) -> Result<(), DeviceError> {
    for page in SUPERBLOCK_PAGES {
        cluster.write_page(page, &[0; PAGE_BYTES])?;
    }
    cluster.sync()?;
    let mut result = Ok(());
    let mut last: Vec<(u64, Box<Page>)> = Vec::new();
    let tails = fresh(superblock, &mut |address, page| {
        if SUPERBLOCK_PAGES.contains(&address) {
            last.push((address, page));
        } else if result.is_ok() {
            result = cluster.write_page(address, &page);
        }
    });
    result?;
    for (slot, page) in (0u8..).zip(&tails) {
        data.write_at(Tail::slot_offset(superblock.tail_offset, slot), page)?;
    }
    data.sync()?;
    cluster.sync()?;
    for (address, page) in last {
        cluster.write_page(address, &page)?;
        cluster.sync()?;
    }
    Ok(())
}
