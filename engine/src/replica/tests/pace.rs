//! The pace of a resync beside client work, in a pair whose disks and link have a speed (R28).

use super::pair::{Load, Pair, Speeds, settings};
use crate::replica::settings::Settings;
use crate::units::{BLOCK_BYTES, Span, Tick};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Blocks of a GiB.
const BLOCKS: u64 = GIB / BLOCK_BYTES;

/// Node b has missed the first `dirty` blocks of 32 GiB.
fn pair(dirty: u64, speeds: Speeds, set: &Settings) -> Pair {
    let mut pair = Pair::apart(32 * GIB, 0..dirty, false, set);
    pair.speeds = speeds;
    pair.connect();
    pair
}

/// Writes of 16 KiB to blocks that are equal, 500 a second.
fn elsewhere() -> Load {
    let every = Span::millis(2);
    Load { every, len: 16 << 10, depth: 64, first: 24 * BLOCKS, blocks: 4 * BLOCKS, step: 1024 }
}

fn slow() -> Speeds {
    Speeds { disk: 125 * MIB, ..Speeds::default() }
}

#[test]
fn without_client_work_it_goes_as_fast_as_the_disks() {
    let mut pair = pair(16 * BLOCKS, Speeds::default(), &settings());
    pair.run(Span::millis(4_000));
    let rate = pair.rate_since(Tick(1_000_000_000));
    println!("idle: {} MiB/s of 400", rate / MIB);
    assert!(rate > 380 * MIB, "{rate}");
}

#[test]
fn a_cap_holds_with_and_without_client_work() {
    let set = Settings { sync_rate_max: Some(50 * MIB), ..settings() };
    let mut pair = pair(16 * BLOCKS, Speeds::default(), &set);
    pair.run(Span::millis(4_000));
    let idle = pair.rate_since(Tick(1_000_000_000));
    pair.begin(elsewhere());
    let from = pair.now;
    pair.run(Span::millis(4_000));
    let loaded = pair.rate_since(from);
    println!("capped at 50: idle {} MiB/s, loaded {} MiB/s", idle / MIB, loaded / MIB);
    assert!(idle > 48 * MIB && idle < 51 * MIB && loaded < 51 * MIB);
}

#[test]
fn beside_client_work_clients_wait_about_as_long_as_they_may() {
    for (speeds, disk) in [(slow(), 125), (Speeds::default(), 400)] {
        let set = Settings { sync_delay_target: Span::millis(5), ..settings() };
        let mut pair = pair(20 * BLOCKS, speeds, &set);
        pair.run(Span::millis(1_000));
        pair.begin(elsewhere());
        pair.run(Span::millis(6_000));
        let from = pair.now;
        pair.run(Span::millis(10_000));
        let (waited, rate) = (pair.mean_since(from), pair.rate_since(from));
        println!("disk {disk} MiB/s: clients wait {} us, {} MiB/s", waited.0 / 1_000, rate / MIB);
        assert!(waited < Span::millis(7), "{waited:?}");
        assert!(rate > disk / 3 * MIB, "what clients leave is made use of: {rate}");
    }
}

#[test]
fn the_first_requests_after_a_calm_wait_no_longer_than_one_window() {
    let mut pair = pair(20 * BLOCKS, slow(), &settings());
    pair.run(Span::millis(2_000));
    pair.begin(elsewhere());
    pair.run(Span::millis(1_000));
    let late = pair.took.iter().filter(|(_, took)| *took > Span::millis(20)).count();
    println!("{late} of {} writes waited more than 20 ms", pair.took.len());
    assert!(late < 100, "{late}");
}

#[test]
fn the_floor_holds_however_long_clients_wait() {
    let speeds = Speeds { disk_delay: Span::millis(30), ..Speeds::default() };
    let mut pair = pair(16 * BLOCKS, speeds, &settings());
    pair.begin(elsewhere());
    pair.run(Span::millis(5_000));
    let from = pair.now;
    pair.run(Span::millis(10_000));
    let rate = pair.rate_since(from);
    println!("clients wait {} ms; {} KiB/s", pair.mean_since(from).as_millis(), rate >> 10);
    assert!(rate > 19 * MIB / 2 && rate < 12 * MIB, "{rate}");
    let higher = Settings { sync_rate_floor: 40 * MIB, ..settings() };
    let mut pair = self::pair(16 * BLOCKS, speeds, &higher);
    pair.begin(elsewhere());
    pair.run(Span::millis(10_000));
    assert!(pair.rate_since(Tick(5_000_000_000)) > 38 * MIB);
}

#[test]
fn a_resync_that_loses_ground_is_set_free() {
    // A small hot set that is written all over faster than the floor could ever send it: each
    // write undoes a piece of 256 KiB that was sent and not yet flushed.
    let speeds = Speeds { disk_delay: Span::millis(15), ..Speeds::default() };
    let mut pair = pair(BLOCKS / 8, speeds, &settings());
    let every = Span::millis(1);
    pair.begin(Load { every, len: 4096, depth: 64, first: 0, blocks: BLOCKS / 8, step: 64 });
    let (mut low, mut lows) = (u64::MAX, Vec::new());
    for turn in 1..=80 {
        pair.run(Span::millis(125));
        low = low.min(pair.sides[0].replica.blocks_left());
        if turn % 20 == 0 {
            lows.push(low);
        }
    }
    let rate = pair.rate_since(Tick(0)) / MIB;
    println!("losing ground: {rate} MiB/s on average, lows of blocks left {lows:?}");
    assert!(lows.windows(2).all(|two| two[1] < two[0]), "{lows:?}");
    assert!(rate > 20, "{rate} MiB/s");
}
