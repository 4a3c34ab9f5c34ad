//! Every metadata write may be cut short: before it, at any set of its 512-byte sectors, after it.
//! Recovery of each such disk is idempotent and never under-reports (P4, P8). Rot of any one
//! sector and misdirected reads give the same content, an error, or all-dirty for what was lost.

use harness::format_kit::{Dice, Disk, sample_record, sample_superblock, tears};
use lockstep_engine::format::Damage;
use lockstep_engine::format::bitmap::Bitmap;
use lockstep_engine::format::intent_log::{IntentLog, LogHealth};
use lockstep_engine::format::layout::{BLOCKS_PER_PAGE, Layout, SUPERBLOCK_PAGES};
use lockstep_engine::format::recover::{Finding, Recovered, SwapReason, TailVerdict};
use lockstep_engine::format::superblock::{SlotHealth, Superblock};
use lockstep_engine::format::tail::Tail;
use lockstep_engine::units::{Page, RegionIndex};
use std::collections::BTreeSet;

const SIZE: u64 = 600 << 20;

fn regions(recovered: &Recovered) -> BTreeSet<u32> {
    recovered.log.regions().map(|region| region.0).collect()
}

/// Recovers twice and checks that nothing depends on how often.
fn recover(disk: &Disk) -> Recovered {
    let (first, second) = (disk.recover(), disk.recover());
    let (first, second) = (first.expect("a superblock"), second.expect("a superblock"));
    assert_eq!(first.superblock, second.superblock);
    assert_eq!(first.bitmap, second.bitmap);
    assert_eq!(regions(&first), regions(&second));
    assert_eq!(first.findings, second.findings);
    assert_eq!(first.tail, second.tail);
    first
}

fn lost(recovered: &Recovered) -> bool {
    let lost = recovered.findings.contains(&Finding::LogLost);
    if lost {
        let blocks = recovered.superblock.layout().blocks();
        assert_eq!(recovered.bitmap.count(), blocks, "lost intent means all dirty");
    }
    lost
}

// --- superblock ---

fn updated(superblock: &Superblock) -> Superblock {
    Superblock {
        sequence: superblock.sequence + 1,
        life: superblock.life,
        record: Some(sample_record(superblock.sequence + 100)),
        ..superblock.clone()
    }
}

/// Disks after a crash at each point of an update, and whether the update must be seen.
fn cut_updates(disk: &Disk, new: &Superblock) -> Vec<(Disk, Option<bool>)> {
    let mut out = vec![(disk.clone(), Some(false))];
    let mut base = disk.clone();
    for (slot, address) in (0u8..).zip(SUPERBLOCK_PAGES) {
        let page = new.encode(slot);
        for mask in tears() {
            let mut cut = base.clone();
            cut.tear(address, &page, mask);
            // A torn slot 0 may turn out whole when the missing sectors did not change.
            out.push((cut, if slot == 0 { None } else { Some(true) }));
        }
        base.write(address, &page);
        out.push((base.clone(), Some(true)));
    }
    out
}

#[test]
fn a_superblock_update_happens_or_does_not() {
    let old = sample_superblock(SIZE, 64);
    let disk = Disk::formatted(&old);
    let new = updated(&old);
    for (cut, must) in cut_updates(&disk, &new) {
        let found = recover(&cut).superblock;
        match must {
            Some(true) => assert_eq!(found, new),
            Some(false) => assert_eq!(found, old),
            None => assert!(found == old || found == new),
        }
        // The engine starts again and heals, and is cut short again.
        let mut healed = cut.clone();
        if let Some(slot) = recover(&cut).heal {
            for mask in tears() {
                let mut torn = cut.clone();
                torn.tear(SUPERBLOCK_PAGES[usize::from(slot)], &found.encode(slot), mask);
                assert_eq!(recover(&torn).superblock, found);
            }
            healed.write(SUPERBLOCK_PAGES[usize::from(slot)], &found.encode(slot));
        }
        assert_eq!(recover(&healed).heal, None);
        // It updates again, and is cut short again.
        let newer = Superblock { life_heard: 77, ..updated(&found) };
        for (again, must) in cut_updates(&healed, &newer).into_iter().step_by(3) {
            let last = recover(&again).superblock;
            assert!(last == newer || (last == found && must != Some(true)));
        }
    }
}

/// Why `heal` exists: slot 0 holds the promise alone, and the next update begins by tearing it.
#[test]
fn an_update_without_healing_first_could_forget_a_promise() {
    let old = sample_superblock(SIZE, 64);
    let mut disk = Disk::formatted(&old);
    let promise = updated(&old);
    disk.write(0, &promise.encode(0));
    let recovered = recover(&disk);
    assert_eq!((recovered.superblock, recovered.heal), (promise.clone(), Some(1)));
    disk.tear(0, &updated(&promise).encode(0), 0b1);
    assert_eq!(recover(&disk).superblock, old, "the promise is gone");
}

#[test]
fn rot_of_one_superblock_sector_at_rest_changes_nothing() {
    let superblock = sample_superblock(SIZE, 64);
    let disk = Disk::formatted(&superblock);
    let mut dice = Dice(3);
    for (slot, address) in (0u8..).zip(SUPERBLOCK_PAGES) {
        for sector in 0..8 {
            let mut rotten = disk.clone();
            rotten.rot(address, sector, &mut dice);
            let recovered = recover(&rotten);
            assert_eq!(recovered.superblock, superblock);
            assert!(matches!(
                &recovered.findings[..],
                [Finding::Superblock(SlotHealth::Damaged { slot: found, .. })] if *found == slot
            ));
        }
    }
}

#[test]
fn two_unusable_superblock_slots_are_an_error() {
    let superblock = sample_superblock(SIZE, 64);
    let mut dice = Dice(4);
    let mut disk = Disk::formatted(&superblock);
    disk.rot(0, 1, &mut dice);
    disk.rot(1, 2, &mut dice);
    assert!(matches!(disk.recover(), Err(Damage::BothSlots { .. })));
    assert!(Disk::default().recover().expect_err("never formatted").is_blank());
    let mut contradiction = Disk::formatted(&superblock);
    let other = Superblock { life: 99, ..superblock };
    contradiction.write(1, &other.encode(1));
    assert!(matches!(contradiction.recover(), Err(Damage::SlotsDisagree { .. })));
}

#[test]
fn superblock_slots_do_not_stand_in_for_each_other() {
    let superblock = sample_superblock(SIZE, 64);
    let damage = Superblock::decode(&superblock.encode(0), 1).expect_err("slot 0 is not slot 1");
    assert!(matches!(damage, Damage::Slot { expected: 1, found: 0 }));
}

// --- intent log ---

/// An engine that keeps several transactions in flight, and what it may rely on.
struct Writer {
    log: IntentLog,
    disk: Disk,
    in_flight: Vec<(u64, Box<Page>, Vec<RegionIndex>)>,
    /// Regions whose transaction was reported and whose drop was not asked for: writes may be
    /// under way there, so no recovery may miss them.
    must: BTreeSet<u32>,
}

impl Writer {
    fn formatted(intent_regions: u32) -> Writer {
        let superblock = sample_superblock(SIZE, intent_regions);
        let log = IntentLog::new(superblock.layout(), superblock.volume);
        let disk = Disk::formatted(&superblock);
        Writer { log, disk, in_flight: Vec::new(), must: BTreeSet::new() }
    }

    fn submit(&mut self, dice: &mut Dice) {
        let table: Vec<RegionIndex> = self.log.regions().collect();
        let flying =
            |region: &RegionIndex| self.in_flight.iter().any(|(_, _, adds)| adds.contains(region));
        let drop: Vec<RegionIndex> =
            table.into_iter().filter(|r| dice.below(4) == 0 && !flying(r)).take(8).collect();
        let mut add = Vec::new();
        for _ in 0..dice.below(7) {
            let region = RegionIndex(u32::try_from(dice.below(150)).expect("small"));
            let full = self.log.len() as usize + add.len() >= self.log.capacity() as usize;
            if !self.log.contains(region) && !add.contains(&region) && !full {
                add.push(region);
            }
        }
        drop.iter().for_each(|region| {
            self.must.remove(&region.0);
        });
        let (address, page) = self.log.transaction(&add, &drop);
        self.in_flight.push((address, page, add));
    }

    fn complete(&mut self, n: usize) {
        let (address, page, adds) = self.in_flight.remove(n);
        self.disk.write(address, &page);
        // Dropped again while in flight is not possible here: `submit` leaves those alone.
        self.must.extend(adds.into_iter().map(|region| region.0));
    }

    /// The disk after a power loss that takes, tears or lands each transaction in flight.
    fn cut(&self, dice: &mut Dice) -> Disk {
        let masks = tears();
        let mut disk = self.disk.clone();
        for (address, page, _) in &self.in_flight {
            match dice.below(3) {
                0 => {}
                1 => disk.tear(*address, page, masks[dice.index(masks.len())]),
                _ => disk.write(*address, page),
            }
        }
        disk
    }

    /// Rot on top of the power loss: anywhere in the ring, nothing that was reported is missed.
    fn survives_rot(&self, disk: &Disk, dice: &mut Dice) {
        let layout = sample_superblock(SIZE, self.log.capacity()).layout();
        for _ in 0..10 {
            let mut rotten = disk.clone();
            let place = layout.log_first() + dice.below(layout.log_pages());
            rotten.rot(place, dice.index(8), dice);
            let recovered = recover(&rotten);
            assert!(lost(&recovered) || self.must.is_subset(&regions(&recovered)));
        }
    }

    fn restart(&mut self, disk: Disk) {
        let recovered = recover(&disk);
        assert!(!lost(&recovered), "a power loss alone never loses the log");
        let found = regions(&recovered);
        assert!(self.must.is_subset(&found), "{:?} not in {found:?}", self.must);
        self.log = recovered.log;
        self.disk = disk;
        self.in_flight.clear();
        self.must = found;
    }
}

#[test]
fn no_power_loss_hides_an_intent_that_was_reported() {
    for (seed, capacity, flight) in [(1, 64, 1), (2, 64, 32), (3, 2_000, 1), (4, 2_000, 32)] {
        println!("seed {seed}, capacity {capacity}, {flight} in flight");
        let (mut dice, mut writer) = (Dice(seed), Writer::formatted(capacity));
        for _ in 0..400 {
            if writer.in_flight.len() < flight {
                writer.submit(&mut dice);
            }
            if writer.in_flight.len() == flight || dice.below(3) == 0 {
                let n = dice.index(writer.in_flight.len());
                writer.complete(n);
            }
            if dice.below(8) == 0 {
                let disk = writer.cut(&mut dice);
                writer.survives_rot(&disk, &mut dice);
                writer.restart(disk);
            }
        }
    }
}

#[test]
fn a_torn_transaction_did_not_happen() {
    let (mut dice, mut writer) = (Dice(5), Writer::formatted(64));
    for _ in 0..90 {
        let before: BTreeSet<u32> = writer.log.regions().map(|region| region.0).collect();
        writer.submit(&mut dice);
        let after: BTreeSet<u32> = writer.log.regions().map(|region| region.0).collect();
        let (address, page, _) = writer.in_flight[0].clone();
        for mask in (1..255u8).step_by(if before.len() < 4 { 1 } else { 29 }) {
            let mut torn = writer.disk.clone();
            torn.tear(address, &page, mask);
            let recovered = recover(&torn);
            assert!(!lost(&recovered));
            assert_eq!(regions(&recovered), before, "mask {mask:08b}");
            assert_eq!(recovered.log.sequence() + 1, writer.log.sequence());
        }
        writer.complete(0);
        assert_eq!(regions(&recover(&writer.disk)), after);
    }
}

/// Two attempts at one sequence, both torn, leave sectors that must not pass for a whole.
#[test]
fn sectors_of_two_attempts_never_make_one_transaction() {
    let superblock = sample_superblock(SIZE, 64);
    let disk = Disk::formatted(&superblock);
    for mask in 1..255u8 {
        let mut first = IntentLog::new(superblock.layout(), superblock.volume);
        let mut second = first.clone();
        let (address, page) = first.transaction(&[RegionIndex(1)], &[]);
        let (_, other) = second.transaction(&[RegionIndex(2)], &[]);
        let mut mixed = disk.clone();
        mixed.write(address, &page);
        mixed.tear(address, &other, mask);
        let recovered = recover(&mixed);
        assert!(!lost(&recovered));
        assert!(regions(&recovered).is_empty(), "mask {mask:08b}");
    }
}

fn settled(capacity: u32, seed: u64, transactions: u32) -> Writer {
    let (mut dice, mut writer) = (Dice(seed), Writer::formatted(capacity));
    for _ in 0..transactions {
        writer.submit(&mut dice);
        writer.complete(0);
    }
    writer
}

#[test]
fn rot_of_any_log_sector_is_survived_or_counts_everything_dirty() {
    for (capacity, transactions) in [(64, 5), (64, 100), (2_000, 150)] {
        let (mut dice, writer) = (Dice(6), settled(capacity, 6, transactions));
        let table = regions(&recover(&writer.disk));
        let layout = Layout::new(SIZE, capacity);
        let mut survived = 0;
        for place in 0..layout.log_pages() {
            for sector in 0..8 {
                let mut rotten = writer.disk.clone();
                rotten.rot(layout.log_first() + place, sector, &mut dice);
                let recovered = recover(&rotten);
                if !lost(&recovered) {
                    survived += 1;
                    assert_eq!(regions(&recovered), table, "place {place}, sector {sector}");
                }
            }
        }
        assert!(survived > 0, "old pages of the ring do not matter");
    }
}

#[test]
fn an_unreadable_or_misdirected_log_page_is_survived_or_counts_everything_dirty() {
    let writer = settled(2_000, 7, 150);
    let table = regions(&recover(&writer.disk));
    let superblock = sample_superblock(SIZE, 2_000);
    let layout = superblock.layout();
    let ring = layout.log_first()..layout.log_first() + layout.log_pages();
    for broken in ring {
        for other in [None, Some(broken + 1), Some(broken - 1), Some(0), Some(layout.log_first())] {
            if other == Some(broken) {
                continue;
            }
            let read = &mut |address| {
                let from = if address == broken { other? } else { address };
                writer.disk.read(from)
            };
            let (log, health) = IntentLog::recover(layout, superblock.volume, read);
            let found: BTreeSet<u32> = log.regions().map(|region| region.0).collect();
            assert!(health == LogHealth::Lost || found == table, "page {broken} as {other:?}");
        }
    }
}

/// A crash after the newest transaction rotted: nothing proves that it was not durable.
#[test]
fn rot_of_the_newest_transaction_is_never_taken_for_a_torn_one() {
    let mut dice = Dice(8);
    for transactions in [1, 2, 70, 133] {
        let writer = settled(64, 8, transactions);
        let layout = Layout::new(SIZE, 64);
        let newest = layout.log_first() + writer.log.sequence() % layout.log_pages();
        for sector in 0..8 {
            let mut rotten = writer.disk.clone();
            rotten.rot(newest, sector, &mut dice);
            assert!(lost(&recover(&rotten)));
        }
    }
}

#[test]
fn a_lost_log_stays_lost_until_the_bitmap_is_safe() {
    let mut writer = settled(2_000, 9, 120);
    let layout = Layout::new(SIZE, 2_000);
    let newest = layout.log_first() + writer.log.sequence() % layout.log_pages();
    writer.disk.rot(newest, 3, &mut Dice(9));
    let mut recovered = recover(&writer.disk);
    assert!(lost(&recovered));
    // The engine goes on, is cut short at every write, and still knows.
    for n in 0..2 * layout.log_pages() {
        let add = [RegionIndex(u32::try_from(n % 100).expect("small"))];
        let (address, page) = recovered.log.transaction(&add, &[]);
        for mask in tears() {
            let mut torn = writer.disk.clone();
            torn.tear(address, &page, mask);
            assert!(lost(&recover(&torn)), "transaction {n}, mask {mask:08b}");
        }
        writer.disk.write(address, &page);
        assert!(lost(&recover(&writer.disk)));
    }
    while let Some(page) = recovered.bitmap.next_stale(0) {
        let (address, bytes) = recovered.bitmap.encode_page(page);
        writer.disk.write(address, &bytes);
    }
    recovered.log.trust();
    for _ in 0..layout.log_cycle() {
        let (address, page) = recovered.log.transaction(&[], &[]);
        writer.disk.write(address, &page);
    }
    let healed = recover(&writer.disk);
    assert!(!lost(&healed));
    assert_eq!(regions(&healed), regions(&recovered));
    assert_eq!(healed.bitmap.count(), layout.blocks());
}

// --- format ---

/// `format` over an older copy of the same volume: superblocks wiped first, written last.
#[test]
fn a_format_that_is_cut_short_reads_as_not_formatted() {
    let mut older = settled(64, 12, 40).disk;
    SUPERBLOCK_PAGES.iter().for_each(|page| older.write(*page, &[0; 4096]));
    let superblock = Superblock { sequence: 1, ..sample_superblock(SIZE, 64) };
    let mut written: Vec<(u64, Page)> = Vec::new();
    let tail = lockstep_engine::format::recover::fresh(&superblock, &mut |address, page| {
        written.push((address, *page));
    });
    let mut disk = Disk { tail: tail.map(|page| Some(*page)), ..older };
    let last = written.len() - SUPERBLOCK_PAGES.len();
    for (n, (address, page)) in written.iter().enumerate() {
        let masks = if n % 9 == 0 || n + 1 >= last { tears() } else { vec![0b1] };
        for mask in masks {
            let mut torn = disk.clone();
            torn.tear(*address, page, mask);
            match torn.recover() {
                Err(damage) => assert!(n <= last, "{damage}"),
                Ok(found) => assert!(n >= last && found.bitmap.count() == 0),
            }
        }
        disk.write(*address, page);
        assert_eq!(disk.recover().is_ok(), n >= last);
    }
    assert_eq!(recover(&disk).findings, []);
}

// --- bitmap ---

#[test]
fn a_bitmap_write_that_is_cut_short_hides_nothing() {
    let superblock = sample_superblock(SIZE, 64);
    let layout = superblock.layout();
    let mut disk = Disk::formatted(&superblock);
    let mut bitmap = Bitmap::new(layout, superblock.volume);
    let mut dice = Dice(10);
    for _ in 0..30 {
        let before = recover(&disk).bitmap;
        let start = dice.below(layout.blocks());
        let range = start..start + 1 + dice.below(3_000);
        if dice.below(3) == 0 {
            bitmap.clear(range);
        } else {
            bitmap.set(range);
        }
        let Some(page) = bitmap.next_stale(0) else { continue };
        let (address, bytes) = bitmap.encode_page(page);
        for mask in tears() {
            let mut torn = disk.clone();
            torn.tear(address, &bytes, mask);
            let found = recover(&torn).bitmap;
            // Sectors that did not change may be missing: then the page is whole, old or new.
            let blocks = found.blocks_of_page(page);
            let same = |as_in: &Bitmap| blocks.clone().all(|b| found.is_set(b) == as_in.is_set(b));
            assert!(found.all(blocks.clone()) || same(&before) || same(&bitmap));
        }
        disk.write(address, &bytes);
        let found = recover(&disk).bitmap;
        let mut blocks = found.blocks_of_page(page);
        assert!(blocks.all(|block| found.is_set(block) == bitmap.is_set(block)));
    }
}

#[test]
fn rot_of_a_bitmap_sector_counts_its_page_dirty_and_no_other() {
    let superblock = sample_superblock(SIZE, 64);
    let layout = superblock.layout();
    let disk = Disk::formatted(&superblock);
    let mut dice = Dice(11);
    for page in 0..layout.bitmap_pages() {
        for sector in 0..8 {
            let mut rotten = disk.clone();
            rotten.rot(layout.bitmap_first() + page, sector, &mut dice);
            let recovered = recover(&rotten);
            let blocks = recovered.bitmap.blocks_of_page(page);
            assert!(recovered.bitmap.all(blocks.clone()));
            assert_eq!(recovered.bitmap.count(), blocks.end - blocks.start);
            assert!(recovered.bitmap.is_stale(page), "it must be written again");
        }
    }
    assert!(layout.blocks() > BLOCKS_PER_PAGE, "more than one page");
}

#[test]
fn a_bitmap_page_of_another_place_or_volume_is_not_believed() {
    let superblock = sample_superblock(SIZE, 64);
    let layout = superblock.layout();
    let mut swapped = Disk::formatted(&superblock);
    let neighbour = swapped.read(layout.bitmap_first() + 1).expect("a page");
    swapped.write(layout.bitmap_first(), &neighbour);
    let recovered = recover(&swapped);
    assert!(recovered.bitmap.all(0..BLOCKS_PER_PAGE));
    assert!(matches!(
        recovered.findings[..],
        [Finding::BitmapPage { page: 0, damage: Damage::Address { .. } }]
    ));
    let mut foreign = Disk::formatted(&superblock);
    let other = lockstep_engine::units::VolumeId(0xbad);
    let (address, page) = Bitmap::new(layout, other).encode_page(0);
    foreign.write(address, &page);
    assert!(recover(&foreign).bitmap.all(0..BLOCKS_PER_PAGE));
}

// --- tail ---

fn tail_of(superblock: &Superblock, life: u64) -> Tail {
    let Superblock { volume, node, pair_tag, .. } = *superblock;
    Tail { volume, node, pair_tag, life }
}

#[test]
fn raising_the_life_counter_is_seen_as_done_or_one_ahead() {
    let superblock = sample_superblock(SIZE, 64);
    let mut disk = Disk::formatted(&superblock);
    let tail = tail_of(&superblock, superblock.life + 1);
    for slot in [0u8, 1] {
        let page = tail.encode(slot);
        for mask in 0..255u8 {
            let mut cut = Disk { pages: disk.tail_as_pages(), tail: [None, None] };
            cut.tear(u64::from(slot), &page, mask);
            let torn = Disk { pages: disk.pages.clone(), tail: [cut.read(0), cut.read(1)] };
            let verdict = recover(&torn).tail;
            assert!(matches!(verdict, TailVerdict::Matches | TailVerdict::OneAhead));
            assert!(slot == 0 || verdict == TailVerdict::OneAhead);
        }
        disk.tail[usize::from(slot)] = Some(*page);
        assert_eq!(recover(&disk).tail, TailVerdict::OneAhead);
    }
    let raised = Superblock { life: superblock.life + 1, ..updated(&superblock) };
    disk.write(0, &raised.encode(0));
    assert_eq!(recover(&disk).tail, TailVerdict::Matches);
}

trait TailPages {
    fn tail_as_pages(&self) -> std::collections::BTreeMap<u64, Page>;
}

impl TailPages for Disk {
    fn tail_as_pages(&self) -> std::collections::BTreeMap<u64, Page> {
        (0u64..).zip(self.tail).filter_map(|(slot, page)| Some((slot, page?))).collect()
    }
}

#[test]
fn a_data_partition_that_was_not_left_is_found_out() {
    let superblock = sample_superblock(SIZE, 64);
    let disk = Disk::formatted(&superblock);
    let with = |tail: Tail| Disk {
        tail: [Some(*tail.encode(0)), Some(*tail.encode(1))],
        pages: disk.pages.clone(),
    };
    let own = tail_of(&superblock, superblock.life);
    let mut stories = vec![
        Tail { life: own.life - 1, ..own },
        Tail { life: own.life + 2, ..own },
        Tail { pair_tag: lockstep_engine::units::PairTag(1), ..own },
        Tail { node: own.node.peer(), ..own },
        Tail { volume: lockstep_engine::units::VolumeId(1), ..own },
    ]
    .into_iter()
    .map(with)
    .collect::<Vec<_>>();
    stories.push(Disk { tail: [None, Some([0; 4096])], ..disk.clone() });
    for story in stories {
        assert!(matches!(recover(&story).tail, TailVerdict::Swapped { .. }));
    }
    let one_slot = Disk { tail: [None, disk.tail[1]], ..disk.clone() };
    assert_eq!(recover(&one_slot).tail, TailVerdict::Matches);
    let moved = lockstep_engine::format::recover::recover(
        &mut |address| disk.read(address),
        disk.tail,
        "vol-of-a-restored-snapshot",
    );
    assert!(matches!(
        moved.expect("a superblock").tail,
        TailVerdict::Swapped { reason: SwapReason::Serial { .. } }
    ));
    let no_serial = lockstep_engine::format::recover::recover(&mut |a| disk.read(a), disk.tail, "");
    assert_eq!(no_serial.expect("a superblock").tail, TailVerdict::Matches);
}
