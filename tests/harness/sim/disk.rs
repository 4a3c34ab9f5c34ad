//! The simulated storage of one host: data partition, its tail, and the cluster partition.
//!
//! Fault model. The *data* partition keeps completed writes in a volatile cache until a flush that
//! was submitted after their completion ends, or the write itself was FUA. At power loss any subset
//! of the cached writes and of the writes in flight survives, each of them possibly torn at 512 B.
//! Reads and writes fail, are slow, the device vanishes, is swapped, or is set back to an old
//! snapshot together with its cluster partition. It does not rot silently, except where a scenario
//! injects rot to see `verify` find it.
//! Pages of the *cluster* partition and of the data tail are stable when reported; in flight at
//! power loss they are before, torn at 512 B, or after. Any page may rot, or one read may return
//! another page. A flushed write that lies is out of scope.
//! When a process is killed, the device keeps its cache and finishes what is in flight, in any
//! order; no engine opens the partition before that (R20).
//!
//! A block is eight version stamps, one per 512-byte sector, so that tearing shows.

use super::random::Random;
use lockstep_engine::replica::event::OpId;
use lockstep_engine::units::{BLOCKS_PER_REGION, Extent, PAGE_BYTES, Page};
use std::collections::BTreeMap;

/// Stamps of the sectors of one block.
pub type Block = [u64; 8];
/// Errno of a failed device.
pub const EIO: i32 = 5;

/// Sparse blocks of a partition.
#[derive(Clone)]
pub struct Store {
    regions: Vec<Option<Box<[Block]>>>,
}

fn split(block: u64) -> (usize, usize) {
    let region = usize::try_from(block / BLOCKS_PER_REGION).expect("small volume");
    let inside = usize::try_from(block % BLOCKS_PER_REGION).expect("small region");
    (region, inside)
}

impl Store {
    fn new(blocks: u64) -> Store {
        let (regions, _) = split(blocks + BLOCKS_PER_REGION - 1);
        Store { regions: vec![None; regions] }
    }

    /// The stamps of a block.
    pub fn get(&self, block: u64) -> Block {
        let (region, inside) = split(block);
        self.regions[region].as_ref().map_or([0; 8], |blocks| blocks[inside])
    }

    /// Replaces a block.
    pub fn set(&mut self, block: u64, data: Block) {
        let (region, inside) = split(block);
        let slot = &mut self.regions[region];
        if slot.is_none() && data == [0; 8] {
            return;
        }
        let len = usize::try_from(BLOCKS_PER_REGION).expect("small region");
        slot.get_or_insert_with(|| vec![[0; 8]; len].into_boxed_slice())[inside] = data;
    }

    fn set_torn(&mut self, block: u64, data: Block, mask: u64) {
        let mut now = self.get(block);
        for (sector, stamp) in data.into_iter().enumerate() {
            if mask & (1 << sector) != 0 {
                now[sector] = stamp;
            }
        }
        self.set(block, now);
    }
}

/// What a request to the storage does.
#[derive(Clone, Debug)]
pub enum IoKind {
    /// Data into a buffer.
    Read { at: Extent, buf: u32 },
    /// Data from a buffer, taken when submitted: buffers in flight do not change.
    Write { at: Extent, data: Vec<Block>, fua: bool },
    /// Zeroes.
    Zero { at: Extent, fua: bool },
    /// Makes stable what completed before it was submitted.
    Flush { upto: u64 },
    /// A page of the cluster partition.
    Meta { page: usize, bytes: Box<Page> },
    /// A slot of the data tail.
    Tail { slot: usize, bytes: Box<Page> },
}

/// A request in flight.
#[derive(Clone, Debug)]
pub struct Io {
    /// Engine run that asked.
    pub run: u64,
    /// Its name for it.
    pub op: OpId,
    /// What to do.
    pub kind: IoKind,
}

/// How a request ended.
pub struct Done {
    /// The request.
    pub io: Io,
    /// Its result.
    pub result: Result<(), i32>,
    /// What a read found.
    pub data: Vec<Block>,
    /// Blocks that changed: number, before, after.
    pub changed: Vec<(u64, Block, Block)>,
}

struct Cached {
    seq: u64,
    block: u64,
    data: Block,
}

/// A copy of everything that a volume snapshot holds.
pub struct Snapshot {
    store: Store,
    pages: Vec<Page>,
    tail: [Page; 2],
}

impl Snapshot {
    /// The snapshot as a disk of its own, to be looked at.
    pub fn as_disk(&self) -> Disk {
        Disk::new(0, self.pages.clone(), Some(self.tail))
    }
}

/// What the device refuses at present.
#[derive(Clone, Copy, Default, Debug)]
pub struct DiskFaults {
    /// Data reads fail.
    pub reads: bool,
    /// Data writes and flushes fail.
    pub writes: bool,
    /// Writes of the cluster partition fail.
    pub meta: bool,
    /// Nanoseconds added to every request.
    pub slow: u64,
}

/// Storage of one host.
pub struct Disk {
    /// Content, volatile cache included.
    pub current: Store,
    /// Content that survives power loss.
    pub stable: Store,
    cache: Vec<Cached>,
    seq: u64,
    /// Pages of the cluster partition.
    pub pages: Vec<Page>,
    /// Slots of the data tail.
    pub tail: [Page; 2],
    inflight: BTreeMap<u64, Io>,
    next: u64,
    /// Faults in force.
    pub faults: DiskFaults,
    /// Blocks that cannot be read until they are written.
    pub bad_blocks: Vec<u64>,
    blocks: u64,
}

fn blank() -> [Page; 2] {
    [[0; PAGE_BYTES]; 2]
}

impl Disk {
    /// A blank disk of `blocks` blocks and these pages of its cluster partition and tail.
    pub fn new(blocks: u64, pages: Vec<Page>, tail: Option<[Page; 2]>) -> Disk {
        Disk {
            current: Store::new(blocks),
            stable: Store::new(blocks),
            cache: Vec::new(),
            seq: 0,
            pages,
            tail: tail.unwrap_or_else(blank),
            inflight: BTreeMap::new(),
            next: 0,
            faults: DiskFaults::default(),
            bad_blocks: Vec::new(),
            blocks,
        }
    }

    /// Takes a request. `Err` names a rule that the replica broke.
    pub fn submit(&mut self, io: Io) -> Result<u64, String> {
        if let Some((at, true)) = data_range(&io.kind) {
            if at.end() > self.blocks * 4096 || at.offset % 4096 != 0 || at.len % 4096 != 0 {
                return Err(format!("write outside the volume or unaligned: {at:?}"));
            }
            for other in self.inflight.values() {
                if let Some((range, true)) = data_range(&other.kind)
                    && range.overlaps(at)
                {
                    return Err(format!("overlapping writes on one disk: {at:?} and {range:?}"));
                }
            }
        }
        if let IoKind::Meta { page, .. } = &io.kind {
            if *page >= self.pages.len() {
                return Err(format!("page {page} is outside the cluster partition"));
            }
            let same =
                |other: &Io| matches!(&other.kind, IoKind::Meta { page: p, .. } if p == page);
            if self.inflight.values().any(same) {
                return Err(format!("two writes of page {page} in flight"));
            }
        }
        let mut io = io;
        if let IoKind::Flush { upto } = &mut io.kind {
            *upto = self.seq;
        }
        self.next += 1;
        self.inflight.insert(self.next, io);
        Ok(self.next)
    }

    /// Whether nothing is in flight.
    pub fn idle(&self) -> bool {
        self.inflight.is_empty()
    }

    /// Whether a data operation with this buffer is in flight.
    pub fn reads_into(&self, run: u64, buf: u32) -> bool {
        self.inflight
            .values()
            .any(|io| io.run == run && matches!(io.kind, IoKind::Read { buf: b, .. } if b == buf))
    }

    /// Ends a request; `None` when a power loss has taken it.
    pub fn complete(&mut self, id: u64) -> Option<Done> {
        let io = self.inflight.remove(&id)?;
        let mut done = Done { io, result: Ok(()), data: Vec::new(), changed: Vec::new() };
        let io = done.io.clone();
        match io.kind {
            IoKind::Read { at, .. } => {
                let bad = at.blocks().any(|block| self.bad_blocks.contains(&block));
                if self.faults.reads || bad {
                    done.result = Err(EIO);
                } else {
                    done.data = at.blocks().map(|block| self.current.get(block)).collect();
                }
            }
            IoKind::Write { .. } | IoKind::Zero { .. } if self.faults.writes => {
                done.result = Err(EIO);
            }
            IoKind::Write { at, data, fua } => {
                for (block, data) in at.blocks().zip(data) {
                    self.apply(block, data, fua, &mut done.changed);
                }
            }
            IoKind::Zero { at, fua } => {
                for block in at.blocks() {
                    self.apply(block, [0; 8], fua, &mut done.changed);
                }
            }
            IoKind::Flush { .. } if self.faults.writes => done.result = Err(EIO),
            IoKind::Flush { upto } => self.settle(upto),
            IoKind::Meta { .. } | IoKind::Tail { .. } if self.faults.meta => {
                done.result = Err(EIO);
            }
            IoKind::Meta { page, bytes } => self.pages[page] = *bytes,
            IoKind::Tail { slot, bytes } => self.tail[slot] = *bytes,
        }
        Some(done)
    }

    fn apply(
        &mut self,
        block: u64,
        data: Block,
        fua: bool,
        changed: &mut Vec<(u64, Block, Block)>,
    ) {
        self.bad_blocks.retain(|bad| *bad != block);
        let before = self.current.get(block);
        if before != data {
            changed.push((block, before, data));
        }
        self.current.set(block, data);
        if fua {
            self.cache.retain(|cached| cached.block != block);
            self.stable.set(block, data);
        } else if before != data || self.stable.get(block) != data {
            self.seq += 1;
            self.cache.push(Cached { seq: self.seq, block, data });
        }
    }

    fn settle(&mut self, upto: u64) {
        for cached in &self.cache {
            if cached.seq <= upto {
                self.stable.set(cached.block, cached.data);
            }
        }
        self.cache.retain(|cached| cached.seq > upto);
    }

    /// The host loses power.
    pub fn power_loss(&mut self, random: &mut Random) {
        let odds = [0, 200, 500, 800, 1000][random.index(5)];
        for cached in std::mem::take(&mut self.cache) {
            if random.chance(odds) {
                let mask = if random.chance(200) { random.word() } else { u64::MAX };
                self.stable.set_torn(cached.block, cached.data, mask);
            }
        }
        for (_, io) in std::mem::take(&mut self.inflight) {
            self.lose(io, random);
        }
        self.current = self.stable.clone();
    }

    fn lose(&mut self, io: Io, random: &mut Random) {
        let mask = match random.below(3) {
            0 => return,
            1 => random.word(),
            _ => u64::MAX,
        };
        match io.kind {
            IoKind::Write { at, data, .. } if !self.faults.writes => {
                for (block, data) in at.blocks().zip(data) {
                    let torn = if mask == u64::MAX { mask } else { random.word() };
                    self.stable.set_torn(block, data, torn);
                }
            }
            IoKind::Zero { at, .. } if !self.faults.writes => {
                for block in at.blocks() {
                    self.stable.set_torn(block, [0; 8], mask);
                }
            }
            IoKind::Meta { page, bytes } if !self.faults.meta => {
                tear(&mut self.pages[page], &bytes, mask);
            }
            IoKind::Tail { slot, bytes } if !self.faults.meta => {
                tear(&mut self.tail[slot], &bytes, mask);
            }
            _ => {}
        }
    }

    /// What a snapshot of the volume holds now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { store: self.stable.clone(), pages: self.pages.clone(), tail: self.tail }
    }

    /// Sets everything back to a snapshot. The host is off.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.stable = snapshot.store.clone();
        self.current = snapshot.store.clone();
        self.pages.clone_from(&snapshot.pages);
        self.tail = snapshot.tail;
        self.cache.clear();
        self.bad_blocks.clear();
    }

    /// Puts a blank data device in the place of the old one. The host is off.
    pub fn swap(&mut self) {
        self.stable = Store::new(self.blocks);
        self.current = self.stable.clone();
        self.tail = blank();
        self.cache.clear();
        self.bad_blocks.clear();
    }

    /// Rots the sectors in `mask` of a page of the cluster partition.
    pub fn rot(&mut self, page: usize, mask: u64) {
        for (sector, bytes) in self.pages[page].chunks_mut(512).enumerate() {
            if mask & (1 << sector) != 0 {
                bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
            }
        }
    }

    /// Changes a data block behind everybody's back.
    pub fn rot_data(&mut self, block: u64, stamp: u64) {
        let mut data = self.current.get(block);
        data[3] = stamp;
        self.current.set(block, data);
        self.stable.set(block, data);
    }
}

fn tear(old: &mut Page, new: &Page, mask: u64) {
    for (sector, (old, new)) in old.chunks_mut(512).zip(new.chunks(512)).enumerate() {
        if mask & (1 << sector) != 0 {
            old.copy_from_slice(new);
        }
    }
}

/// The blocks that a request touches and whether it writes them.
fn data_range(kind: &IoKind) -> Option<(Extent, bool)> {
    match kind {
        IoKind::Read { at, .. } => Some((*at, false)),
        IoKind::Write { at, .. } | IoKind::Zero { at, .. } => Some((*at, true)),
        _ => None,
    }
}
