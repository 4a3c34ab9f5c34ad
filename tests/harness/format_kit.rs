//! Disks made of pages, for tests of the on-disk format: writes that tear at any set of sectors,
//! rot, misdirected reads, and a superblock with every field in use.
//! Always: deterministic; the generator is seeded by the test, which prints the seed.

use lockstep_engine::format::recover::{Recovered, fresh, recover};
use lockstep_engine::format::superblock::Superblock;
use lockstep_engine::limits::HISTORY_MAX;
use lockstep_engine::units::{
    BootId, ClusterId, DiskState, Epoch, Generation, GroupId, Members, NodeId, Nonce, OpenAttempt,
    Page, PairTag, Version, VolumeId, VolumeRecord,
};
use std::collections::BTreeMap;

/// Unit in which a device tears a page.
pub const SECTOR: usize = 512;

/// A small seeded generator (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }
    /// A number below `n`, as an index.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("below a usize")
    }
    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[0]
    }
}

/// A record with every field in use.
pub fn sample_record(version: u64) -> VolumeRecord {
    VolumeRecord {
        version: Version(version),
        epoch: Epoch(7),
        members: Members::only(NodeId::B),
        primary: Some(NodeId::B),
        generation: Generation(0x6e6e),
        parent: Generation(0x9a9a),
        nonce: Nonce(0x0123_4567_89ab_cdef),
        writer: NodeId::B,
        since: 1_700_000_000_000,
        forced: true,
    }
}

/// A superblock with every field in use.
pub fn sample_superblock(size: u64, intent_regions: u32) -> Superblock {
    let mut history = [Generation::NONE; HISTORY_MAX];
    history[0] = Generation(0xfeed);
    history[HISTORY_MAX - 1] = Generation(0xbeef);
    Superblock {
        sequence: 41,
        cluster: ClusterId(0xc1),
        group: GroupId(0x62),
        volume: VolumeId(0x7001),
        node: NodeId::B,
        size,
        intent_regions,
        pair_tag: PairTag(0x7a6),
        tail_offset: size,
        serial: "vol-0123456789abcdef0".to_string(),
        life: 12,
        life_heard: 11,
        disk: DiskState::UpToDate,
        needs_full: false,
        generation: Generation(0x6e6e),
        base: Generation(0x9a9a),
        history,
        record: Some(sample_record(9)),
        attempts: [None, Some(OpenAttempt { expected: Version(9), wanted: sample_record(10) })],
        primary_boot: BootId(0xb007),
        mark: None,
        diverged: true,
    }
}

/// A cluster partition with its data tail.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Disk {
    /// Pages that were ever written.
    pub pages: BTreeMap<u64, Page>,
    /// Tail slots.
    pub tail: [Option<Page>; 2],
}

impl Disk {
    /// Freshly formatted for that superblock.
    pub fn formatted(superblock: &Superblock) -> Disk {
        let mut disk = Disk::default();
        let tail = fresh(superblock, &mut |address, page| {
            disk.pages.insert(address, *page);
        });
        disk.tail = tail.map(|page| Some(*page));
        disk
    }

    /// The page at an address; zeroes when it was never written.
    pub fn read(&self, address: u64) -> Option<Page> {
        Some(self.pages.get(&address).copied().unwrap_or([0; 4096]))
    }

    /// Writes a whole page.
    pub fn write(&mut self, address: u64, page: &Page) {
        self.pages.insert(address, *page);
    }

    /// A power loss within a write: only the sectors of `mask` arrive.
    pub fn tear(&mut self, address: u64, page: &Page, mask: u8) {
        let held = self.pages.entry(address).or_insert([0; 4096]);
        for sector in 0..8 {
            if mask >> sector & 1 == 1 {
                let range = sector * SECTOR..(sector + 1) * SECTOR;
                held[range.clone()].copy_from_slice(&page[range]);
            }
        }
    }

    /// Changes one byte of a sector.
    pub fn rot(&mut self, address: u64, sector: usize, dice: &mut Dice) {
        let held = self.pages.entry(address).or_insert([0; 4096]);
        held[sector * SECTOR + dice.index(SECTOR)] ^= dice.byte() | 1;
    }

    /// Recovers everything; the serial is the sample's.
    pub fn recover(&self) -> Result<Recovered, lockstep_engine::format::Damage> {
        recover(&mut |address| self.read(address), self.tail, "vol-0123456789abcdef0")
    }
}

/// Masks of the ways in which a write may tear: every prefix, every suffix, and some that are
/// neither. The whole page and nothing are not among them.
pub fn tears() -> Vec<u8> {
    let prefixes = (1..8u32).map(|n| u8::try_from((1u32 << n) - 1).expect("below 256"));
    let suffixes = prefixes.clone().map(|mask| !mask);
    prefixes.chain(suffixes).chain([0b0101_0101, 0b1000_0001, 0b0111_1110, 0b0001_0000]).collect()
}

/// A page as text: offset and bytes of each row of 32 that is not zero.
pub fn dump(page: &Page) -> String {
    let mut out = String::new();
    for (n, row) in page.chunks(32).enumerate() {
        if row.iter().any(|byte| *byte != 0) {
            let bytes: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
            out.push_str(&format!("{:04x} {bytes}\n", n * 32));
        }
    }
    out
}

/// The page of such a text; `None` when the text is not one.
pub fn undump(text: &str) -> Option<Page> {
    let mut page = [0; 4096];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (offset, bytes) = line.split_once(' ')?;
        let at = usize::from_str_radix(offset, 16).ok()?;
        for n in 0..bytes.len() / 2 {
            let byte = u8::from_str_radix(bytes.get(n * 2..n * 2 + 2)?, 16).ok()?;
            *page.get_mut(at + n)? = byte;
        }
    }
    Some(page)
}
