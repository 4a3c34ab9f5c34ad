//! The bitmap and the intent log behave like their naive twins: a vector of flags, a list.

use harness::format_kit::Dice;
use lockstep_engine::format::bitmap::{Bitmap, OutOfRange};
use lockstep_engine::format::intent_log::{IntentLog, LogHealth, UPDATES_MAX};
use lockstep_engine::format::layout::{BLOCKS_PER_PAGE, Layout};
use lockstep_engine::units::{Page, RegionIndex, VolumeId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

const VOLUME: VolumeId = VolumeId(5);

fn at(n: u64) -> usize {
    usize::try_from(n).expect("small")
}

fn some_range(dice: &mut Dice, blocks: u64) -> Range<u64> {
    let start = dice.below(blocks + 1);
    let longest = [1, 3, 64, 200, 5_000, blocks][dice.index(6)];
    // Sometimes past the end: the last region may be cut short.
    start..start + dice.below(longest + 1)
}

fn naive_words(flags: &[bool]) -> Vec<u64> {
    let word = |part: &[bool]| (0..).zip(part).fold(0, |w, (n, bit)| w | u64::from(*bit) << n);
    flags.chunks(64).map(word).collect()
}

fn same(bitmap: &Bitmap, twin: &[bool], dice: &mut Dice) {
    let blocks = twin.len() as u64;
    assert_eq!(bitmap.count(), twin.iter().filter(|set| **set).count() as u64);
    assert_eq!(bitmap.words(0, usize::MAX), naive_words(twin));
    for _ in 0..8 {
        let range = some_range(dice, blocks);
        let clamped = at(range.start)..at(range.end.min(blocks)).max(at(range.start));
        let part = &twin[clamped.clone()];
        assert_eq!(bitmap.any(range.clone()), part.contains(&true), "any {range:?}");
        assert_eq!(bitmap.all(range.clone()), !part.contains(&false), "all {range:?}");
        let found = part.iter().position(|set| !set).map_or(clamped.end, |n| clamped.start + n);
        assert_eq!(bitmap.next_clear(range.start, range.end), found as u64, "clear {range:?}");
        let next = (at(range.start)..twin.len()).find(|n| twin[*n]).map(|n| n as u64);
        assert_eq!(bitmap.next_set(range.start), next, "next_set {}", range.start);
        let single = twin.get(at(range.start)).copied().unwrap_or(false);
        assert_eq!(bitmap.is_set(range.start), single);
    }
}

fn change(twin: &mut [bool], range: &Range<u64>, value: bool) -> u64 {
    let blocks = twin.len() as u64;
    let start = at(range.start.min(blocks));
    let part = &mut twin[start..at(range.end.min(blocks)).max(start)];
    let changed = part.iter().filter(|set| **set != value).count() as u64;
    part.fill(value);
    changed
}

#[test]
fn the_bitmap_is_a_vector_of_flags() {
    for (seed, blocks) in [(1, 64), (2, 1), (3, 70_003), (4, BLOCKS_PER_PAGE * 2), (5, 40_000)] {
        println!("seed {seed}, {blocks} blocks");
        let mut dice = Dice(seed);
        let layout = Layout::new(blocks * 4096, 64);
        let (mut bitmap, mut twin) = (Bitmap::new(layout, VOLUME), vec![false; at(blocks)]);
        let mut disk: BTreeMap<u64, Page> = BTreeMap::new();
        for page in 0..layout.bitmap_pages() {
            disk.insert(page, *bitmap.encode_page(page).1);
        }
        for _ in 0..300 {
            let range = some_range(&mut dice, blocks);
            match dice.below(12) {
                0..=4 => {
                    assert_eq!(bitmap.set(range.clone()), change(&mut twin, &range, true));
                }
                5..=8 => {
                    assert_eq!(bitmap.clear(range.clone()), change(&mut twin, &range, false));
                }
                9 => merge(&mut bitmap, &mut twin, &mut dice),
                10 => write_stale(&mut bitmap, &mut disk, &mut dice),
                _ if dice.below(8) == 0 => {
                    bitmap.set_all();
                    twin.fill(true);
                }
                _ if dice.below(8) == 0 => {
                    bitmap.clear_all();
                    twin.fill(false);
                }
                _ => {}
            }
            same(&bitmap, &twin, &mut dice);
        }
        while bitmap.next_stale(0).is_some() {
            write_stale(&mut bitmap, &mut disk, &mut dice);
        }
        let mut loaded = Bitmap::new(layout, VOLUME);
        loaded.set_all();
        for (page, bytes) in &disk {
            loaded.load_page(*page, bytes).expect("we wrote it");
        }
        same(&loaded, &twin, &mut dice);
        assert_eq!(loaded.next_stale(0), None);
    }
}

fn merge(bitmap: &mut Bitmap, twin: &mut [bool], dice: &mut Dice) {
    let first = dice.below(bitmap.word_count());
    let words: Vec<u64> = (0..dice.below(5)).map(|_| dice.bits() & dice.bits()).collect();
    let fits = first + words.len() as u64 <= bitmap.word_count();
    let mut newly = 0;
    if fits {
        for (n, word) in (first..).zip(&words) {
            for bit in (0..64).filter(|bit| word >> bit & 1 == 1) {
                newly += change(twin, &(n * 64 + bit..n * 64 + bit + 1), true);
            }
        }
    }
    let refused = OutOfRange { first_word: first, count: words.len(), words: bitmap.word_count() };
    let expected = if fits { Ok(newly) } else { Err(refused) };
    assert_eq!(bitmap.merge_words(first, &words), expected);
}

/// Writes one stale page; now and then the write fails.
fn write_stale(bitmap: &mut Bitmap, disk: &mut BTreeMap<u64, Page>, dice: &mut Dice) {
    let Some(page) = bitmap.next_stale(0) else { return };
    assert!(bitmap.is_stale(page));
    let (_, bytes) = bitmap.encode_page(page);
    assert!(!bitmap.is_stale(page));
    if dice.below(3) == 0 {
        bitmap.mark_stale(page);
        assert!(bitmap.is_stale(page));
    } else {
        disk.insert(page, *bytes);
    }
}

#[test]
fn a_page_that_is_not_stale_equals_its_disk_image() {
    let layout = Layout::new(200 << 20, 64);
    let mut dice = Dice(9);
    let mut bitmap = Bitmap::new(layout, VOLUME);
    let mut images: Vec<Page> =
        (0..layout.bitmap_pages()).map(|page| *bitmap.encode_page(page).1).collect();
    for _ in 0..400 {
        let range = some_range(&mut dice, layout.blocks());
        match dice.below(3) {
            0 => drop(bitmap.set(range)),
            1 => drop(bitmap.clear(range)),
            _ => {
                if let Some(page) = bitmap.next_stale(0) {
                    images[at(page)] = *bitmap.encode_page(page).1;
                }
            }
        }
        let mut disk = Bitmap::new(layout, VOLUME);
        for (page, image) in (0..).zip(&images) {
            disk.load_page(page, image).expect("we wrote it");
            if !bitmap.is_stale(page) {
                let blocks = bitmap.blocks_of_page(page);
                assert!(blocks.into_iter().all(|b| bitmap.is_set(b) == disk.is_set(b)));
            }
        }
    }
}

#[test]
fn a_region_never_straddles_bitmap_pages() {
    let layout = Layout::new(1 << 40, 16_384);
    for region in 0..u32::try_from(layout.regions()).expect("fits") {
        let blocks = RegionIndex(region).blocks();
        assert_eq!(blocks.start / BLOCKS_PER_PAGE, (blocks.end - 1) / BLOCKS_PER_PAGE);
    }
    assert_eq!(layout.bitmap_pages(), layout.regions().div_ceil(31));
    assert!(layout.log_pages() >= 2 * layout.log_cycle());
    assert!(layout.total_bytes() < 34 << 20, "about 32.5 MiB per TiB");
}

fn changes(
    dice: &mut Dice,
    twin: &[RegionIndex],
    capacity: usize,
    regions: u64,
) -> (Vec<RegionIndex>, Vec<RegionIndex>) {
    let drops = dice.index(UPDATES_MAX / 2).min(twin.len());
    let drop: BTreeSet<RegionIndex> = (0..drops).map(|_| twin[dice.index(twin.len())]).collect();
    let room = capacity - (twin.len() - drop.len());
    let wanted = dice.index(UPDATES_MAX - drop.len()).min(room);
    let add: BTreeSet<RegionIndex> = (0..wanted)
        .map(|_| RegionIndex(u32::try_from(dice.below(regions)).expect("a region number")))
        .filter(|region| !drop.contains(region))
        .collect();
    (add.into_iter().collect(), drop.into_iter().collect())
}

#[test]
fn the_intent_log_is_a_list_and_survives_a_restart() {
    for (seed, capacity) in [(1, 64), (2, 794), (3, 795), (4, 3_000)] {
        println!("seed {seed}, capacity {capacity}");
        let mut dice = Dice(seed);
        let layout = Layout::new(100 << 30, capacity);
        let mut log = IntentLog::new(layout, VOLUME);
        let mut twin: Vec<RegionIndex> = Vec::new();
        let mut disk: BTreeMap<u64, Page> = formatted_ring(layout);
        for round in 0..250 {
            let capacity = at(u64::from(capacity));
            let (add, drop) = changes(&mut dice, &twin, capacity, layout.regions());
            let (address, page) = log.transaction(&add, &drop);
            disk.insert(address, *page);
            twin.retain(|region| !drop.contains(region));
            twin.extend(add.iter().filter(|region| !twin.contains(region)).collect::<Vec<_>>());
            assert_eq!(at(u64::from(log.len())), twin.len());
            assert!(twin.iter().all(|region| log.contains(*region)));
            assert!(drop.iter().all(|region| !log.contains(*region)));
            if round % 20 == 0 {
                let read = &mut |address| disk.get(&address).copied();
                let (recovered, health) = IntentLog::recover(layout, VOLUME, read);
                assert_eq!(health, LogHealth::Intact);
                let table: BTreeSet<RegionIndex> = recovered.regions().collect();
                assert_eq!(table, twin.iter().copied().collect());
                assert_eq!(u64::from(recovered.len()), table.len() as u64);
                log = recovered;
            }
        }
    }
}

fn formatted_ring(layout: Layout) -> BTreeMap<u64, Page> {
    let superblock = lockstep_engine::format::superblock::Superblock {
        volume: VOLUME,
        ..harness::format_kit::sample_superblock(layout.size_bytes(), layout.intent_regions())
    };
    let mut disk = BTreeMap::new();
    lockstep_engine::format::recover::fresh(&superblock, &mut |address, page| {
        disk.insert(address, *page);
    });
    disk
}

#[test]
fn a_new_log_equals_the_one_that_format_leaves() {
    for capacity in [64, 1_000, 16_384] {
        let layout = Layout::new(100 << 30, capacity);
        let disk = formatted_ring(layout);
        let read = &mut |address| disk.get(&address).copied();
        let (mut recovered, health) = IntentLog::recover(layout, VOLUME, read);
        assert_eq!(health, LogHealth::Intact);
        let mut new = IntentLog::new(layout, VOLUME);
        let add = [RegionIndex(1)];
        assert_eq!(recovered.transaction(&add, &[]), new.transaction(&add, &[]));
    }
}

#[test]
fn changes_without_effect_are_harmless() {
    let layout = Layout::new(1 << 30, 64);
    let mut log = IntentLog::new(layout, VOLUME);
    log.transaction(&[RegionIndex(1), RegionIndex(1)], &[RegionIndex(9)]);
    log.transaction(&[RegionIndex(1)], &[RegionIndex(1)]);
    assert_eq!(log.regions().collect::<Vec<_>>(), [RegionIndex(1)]);
    assert_eq!(log.len(), 1);
    assert!(!log.contains(RegionIndex(u32::MAX)));
}
