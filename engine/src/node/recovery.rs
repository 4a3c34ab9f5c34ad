//! What the last engine left on both partitions, checked against the configuration.
//! Always: writes one page at most, the superblock slot that recovery asks to be healed.

use crate::config::EngineConfig;
use crate::device::Device;
use crate::error::StartError;
use crate::format::Damage;
use crate::format::layout::SUPERBLOCK_PAGES;
use crate::format::recover::{Recovered, recover as recover_pages};
use crate::format::superblock::{self, Superblock};
use crate::format::tail::Tail;
use crate::limits::DATA_TAIL_BYTES;
use crate::units::{PAGE_BYTES, Page};
use crate::uring::sys::Region;
use std::os::unix::fs::FileExt;

/// Bytes read at once: the bitmap of 1 TiB is 33 of these.
const CHUNK: usize = 1 << 20;

/// Reads, checks and heals.
pub fn recover(
    config: &EngineConfig,
    data: &Device,
    meta: &Device,
) -> Result<Recovered, StartError> {
    let path = || meta.path().to_path_buf();
    let slots = SUPERBLOCK_PAGES.map(|page| meta.read_page(page).ok());
    if slots.iter().flatten().count() == 2
        && slots.iter().flatten().all(|page| page.iter().all(|byte| *byte == 0))
    {
        return Err(StartError::NotFormatted { path: path() });
    }
    let damaged = |damage: Damage| StartError::Damaged { path: path(), damage };
    let chosen = superblock::choose([slots[0].as_ref(), slots[1].as_ref()]);
    let (sb, _) = chosen.map_err(damaged)?;
    check(config, &sb, data, meta)?;
    let tail = [0, 1].map(|slot| data.read_at(Tail::slot_offset(sb.tail_offset, slot)).ok());
    let mut pages = Chunks::new(meta)?;
    let recovered =
        recover_pages(&mut |page| pages.page(page), tail, data.serial()).map_err(damaged)?;
    for finding in &recovered.findings {
        tracing::warn!(volume = %config.volume.name, "{finding}");
    }
    if let Some(slot) = recovered.heal {
        let page = recovered.superblock.encode(slot);
        meta.write_page(SUPERBLOCK_PAGES[usize::from(slot)], &page)?;
        meta.sync()?;
    }
    Ok(recovered)
}

fn check(
    config: &EngineConfig,
    sb: &Superblock,
    data: &Device,
    meta: &Device,
) -> Result<(), StartError> {
    let path = meta.path().to_path_buf();
    if sb.cluster != config.cluster.id {
        let (expected, found) = (config.cluster.id, sb.cluster);
        return Err(StartError::WrongCluster { path, expected, found });
    }
    if sb.group != config.group.id {
        let (expected, found) = (config.group.id, sb.group);
        return Err(StartError::WrongGroup { path, expected, found });
    }
    if sb.volume != config.volume.id {
        let (expected, found) = (config.volume.id, sb.volume);
        return Err(StartError::WrongVolume { path, expected, found });
    }
    if sb.node != config.node {
        let (expected, found) = (config.node, sb.node);
        return Err(StartError::WrongNode { path, expected, found });
    }
    let needed = sb.layout().total_bytes();
    if meta.size() < needed {
        return Err(StartError::TooSmall { path, needed, found: meta.size() });
    }
    let needed = (sb.tail_offset + 2 * PAGE_BYTES as u64).max(sb.size + DATA_TAIL_BYTES);
    if data.size() < needed {
        let path = data.path().to_path_buf();
        return Err(StartError::TooSmall { path, needed, found: data.size() });
    }
    Ok(())
}

/// Pages of the cluster partition, read a chunk at a time; a chunk that can't be read is tried
/// page by page.
struct Chunks<'a> {
    meta: &'a Device,
    buffer: crate::uring::sys::Piece,
    first: Option<u64>,
}

impl<'a> Chunks<'a> {
    fn new(meta: &'a Device) -> Result<Chunks<'a>, StartError> {
        let region = Region::map(CHUNK).map_err(|error| StartError::Memory { error })?;
        let pieces = region.carve(&[CHUNK]).and_then(|mut pieces| pieces.pop());
        Ok(Chunks { meta, buffer: pieces.expect("one piece of a fresh region"), first: None })
    }

    fn page(&mut self, page: u64) -> Option<Page> {
        let per_chunk = (CHUNK / PAGE_BYTES) as u64;
        let first = page / per_chunk * per_chunk;
        if self.first != Some(first) {
            let offset = first * PAGE_BYTES as u64;
            let read = self.meta.file().read_exact_at(self.buffer.bytes_mut(), offset);
            self.first = read.ok().map(|()| first);
        }
        if self.first != Some(first) {
            return self.meta.read_page(page).ok();
        }
        let at = usize::try_from(page - first).ok()? * PAGE_BYTES;
        let mut copy = [0; PAGE_BYTES];
        copy.copy_from_slice(&self.buffer.bytes()[at..at + PAGE_BYTES]);
        Some(copy)
    }
}
