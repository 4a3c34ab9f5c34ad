//! What a local disk can't read: rewritten from the peer, while clients wait for nothing else.

use super::pair::{Pair, settings};
use crate::replica::event::{BufId, CmdId, Command, Event, Request};
use crate::replica::settings::Settings;
use crate::units::{BLOCK_BYTES, BlockIndex, DiskState, Extent, Mirror, Need, Role, Span};

fn blocks(first: u64, count: u32) -> Extent {
    Extent::of_blocks(BlockIndex(first), count)
}

fn write(at: Extent) -> Request {
    Request::Write { at, buf: BufId(1), fua: false }
}

#[test]
fn a_repair_holds_the_block_that_it_mends_and_no_other() {
    let mut pair = Pair::mirrored(1 << 30, &settings());
    pair.speeds.disk_delay = Span::millis(40);
    pair.request(1, write(blocks(50, 1))); // Its region is hot from here on.
    pair.run(Span::millis(500));
    pair.unreadable.push((0, BlockIndex(3)));
    pair.request(2, Request::Read { at: blocks(0, 64), buf: BufId(1) });
    while pair.took.len() < 2 {
        pair.run(Span::millis(1));
    }
    assert_eq!(pair.status(0).counters.reads_repaired, 1);
    pair.request(3, write(blocks(50, 1)));
    pair.run(Span::millis(500));
    let (_, took) = pair.took[2];
    assert!(took < Span::millis(60), "it waited for the repair of another block: {took:?}");
    pair.run(Span::millis(5_000));
    assert_eq!(pair.unreadable, [], "it is rewritten");
}

#[test]
fn a_block_to_be_reconciled_that_can_t_be_read_comes_from_a_peer_that_misses_nothing() {
    let mut pair = Pair::restarted(1 << 30, 0..64, &settings());
    pair.unreadable.push((0, BlockIndex(3)));
    pair.connect();
    pair.run(Span::millis(500));
    assert_eq!((pair.status(0).mirror, pair.status(0).dirty_blocks), (Mirror::InSync, 0));
    assert_eq!(pair.status(0).disk, DiskState::UpToDate);
    assert_eq!(pair.unreadable, []);
}

/// The target flushes every 128 MiB: at this pace that takes three times the limit for reports.
#[test]
fn a_slow_disk_that_compares_what_is_equal_makes_progress() {
    let blocks = (1 << 30) / BLOCK_BYTES;
    let mut pair = Pair::restarted(1 << 30, 0..blocks, &settings());
    pair.speeds.disk = 4 << 20;
    pair.speeds.link_delay = Span::millis(100); // Something is owed at any time.
    pair.connect();
    pair.run(Span::millis(60_000));
    assert_eq!((pair.status(0).mirror, pair.status(0).counters.sessions), (Mirror::Reconciling, 1));
    assert!(pair.status(0).dirty_blocks < blocks);
}

#[test]
fn a_block_that_nobody_can_read_costs_the_peer_its_membership_and_no_copy() {
    let mut pair = Pair::restarted(1 << 30, 0..64, &settings());
    pair.unreadable.push((0, BlockIndex(3)));
    pair.unreadable.push((1, BlockIndex(3)));
    pair.connect();
    pair.run(Span::millis(2_000));
    let status = pair.status(0);
    assert_eq!((status.role, status.disk), (Role::Primary, DiskState::UpToDate));
    assert_eq!(status.need, Some(Need::Shrink), "{status:?}");
    let alone = pair.alone();
    pair.tell(0, alone);
    pair.run(Span::millis(500));
    let status = pair.status(0);
    assert_eq!((status.mirror, status.dirty_blocks > 0), (Mirror::SyncSource, true));
    pair.request(1, write(blocks(3, 1)));
    pair.run(Span::millis(3_000));
    assert_eq!((pair.status(0).need, pair.status(0).dirty_blocks), (Some(Need::Grow), 0));
}

/// Nothing could be read for a while: what can be read again does not go on block by block.
#[test]
fn a_disk_that_reads_again_is_reconciled_at_its_own_pace() {
    let blocks = 16 * 1024;
    let set = Settings { sync_window: 1, ..settings() };
    let mut pair = Pair::restarted(1 << 30, 0..blocks, &set);
    pair.speeds.disk_delay = Span::millis(5);
    let all = 0..blocks;
    pair.unreadable.extend(all.flat_map(|block| [0, 1].map(|side| (side, BlockIndex(block)))));
    pair.connect();
    pair.run(Span::millis(6_000));
    assert_eq!(pair.status(0).mirror, Mirror::Reconciling);
    pair.unreadable.clear();
    pair.run(Span::millis(20_000));
    assert_eq!((pair.status(0).dirty_blocks, pair.status(0).mirror), (0, Mirror::InSync));
}

/// Seed 806713.
#[test]
fn what_the_peer_can_t_read_is_rewritten_by_a_verify_and_called_no_difference() {
    let mut pair = Pair::mirrored(1 << 30, &settings());
    pair.unreadable.push((1, BlockIndex(3)));
    let what = Command::Verify { start: true };
    pair.tell(0, Event::Command { cmd: CmdId(9), what });
    pair.run(Span::millis(10_000));
    let status = pair.status(0);
    assert_eq!((status.verify_mismatches, status.verify_done_blocks), (0, None));
    assert_eq!((status.mirror, pair.unreadable.as_slice()), (Mirror::InSync, [].as_slice()));
}
