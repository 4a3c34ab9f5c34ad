//! Cluster partitions of the simulated hosts, made and read by the production format code.

use super::disk::Disk;
use lockstep_engine::format::layout::{Layout, SUPERBLOCK_PAGES};
use lockstep_engine::format::recover::{Recovered, fresh, recover};
use lockstep_engine::format::superblock::{Superblock, choose};
use lockstep_engine::limits::{ATTEMPTS_MAX, HISTORY_MAX};
use lockstep_engine::units::{
    BLOCK_BYTES, BootId, ClusterId, DiskState, Generation, GroupId, NodeId, PAGE_BYTES, Page,
    PairTag, VolumeId,
};

/// Identity of the simulated cluster, group and volume.
pub const CLUSTER: ClusterId = ClusterId(0xc1);
/// See `CLUSTER`.
pub const GROUP: GroupId = GroupId(0x61);
/// See `CLUSTER`.
pub const VOLUME: VolumeId = VolumeId(0x71);

/// A blank copy's superblock.
pub fn blank_superblock(
    node: NodeId,
    blocks: u64,
    intent_regions: u32,
    tag: u128,
    serial: &str,
) -> Superblock {
    Superblock {
        sequence: 1,
        cluster: CLUSTER,
        group: GROUP,
        volume: VOLUME,
        node,
        size: blocks * BLOCK_BYTES,
        intent_regions,
        pair_tag: PairTag(tag),
        tail_offset: blocks * BLOCK_BYTES,
        serial: serial.to_owned(),
        life: 1,
        life_heard: 0,
        disk: DiskState::Inconsistent,
        needs_full: true,
        generation: Generation::NONE,
        base: Generation::NONE,
        history: [Generation::NONE; HISTORY_MAX],
        record: None,
        attempts: [None; ATTEMPTS_MAX],
        mark: None,
        primary_boot: BootId::NONE,
        diverged: false,
    }
}

/// A formatted, blank disk.
pub fn blank_disk(superblock: &Superblock) -> Disk {
    let blocks = superblock.size / BLOCK_BYTES;
    let layout = Layout::new(superblock.size, superblock.intent_regions);
    let count = usize::try_from(layout.total_pages()).expect("a small partition");
    let mut pages: Vec<Page> = vec![[0; PAGE_BYTES]; count];
    let tail = fresh(superblock, &mut |page, bytes| {
        pages[usize::try_from(page).expect("a small partition")] = *bytes;
    });
    let [first, second] = tail;
    Disk::new(blocks, pages, Some([*first, *second]))
}

/// What an engine that opens this disk finds. `misread` makes one page read as another.
pub fn open(disk: &Disk, misread: Option<(u64, u64)>, serial: &str) -> Result<Recovered, String> {
    let mut read = |page: u64| {
        let page = match misread {
            Some((from, to)) if from == page => to,
            _ => page,
        };
        usize::try_from(page).ok().and_then(|page| disk.pages.get(page).copied())
    };
    let tail = disk.tail.map(Some);
    recover(&mut read, tail, serial).map_err(|damage| format!("{damage}"))
}

/// What the disk says of itself at this moment; `None` when rot has taken both slots.
pub fn stored(disk: &Disk) -> Option<Superblock> {
    let page = |at: u64| usize::try_from(at).ok().and_then(|at| disk.pages.get(at));
    choose(SUPERBLOCK_PAGES.map(page)).ok().map(|(found, _)| found)
}

/// Own life counter, and the highest heard of the peer, as stored.
pub fn lives(disk: &Disk) -> Option<(u64, u64)> {
    let found = open(disk, None, "").ok()?;
    Some((found.superblock.life, found.superblock.life_heard))
}

/// Blocks that a stopped engine would count as possibly different; `None` when everything.
pub fn marked(disk: &Disk) -> Option<impl Fn(u64) -> bool> {
    let found = open(disk, None, "").ok()?;
    let distrust = found.superblock.needs_full
        || found.superblock.diverged
        || found.log.is_lost()
        || matches!(found.tail, lockstep_engine::format::recover::TailVerdict::Swapped { .. });
    if distrust {
        return None;
    }
    let (bitmap, log) = (found.bitmap, found.log);
    Some(move |block: u64| {
        let region = u32::try_from(block / lockstep_engine::units::BLOCKS_PER_REGION)
            .expect("a small volume");
        bitmap.is_set(block) || log.contains(lockstep_engine::units::RegionIndex(region))
    })
}
