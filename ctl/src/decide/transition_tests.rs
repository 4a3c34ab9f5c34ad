//! The transition table of SAFETY §1.1, row by row.

use super::*;
use lockstep_engine::units::NodeId::{A, B};

const VOLUME: VolumeId = VolumeId(3);
const OLD: Generation = Generation(0x10);
const NOW: Generation = Generation(0x20);
const NEXT: Generation = Generation(0x30);
const BOOT: BootId = BootId(9);

fn record(owner: Option<NodeId>, members: Members) -> Record {
    Record {
        cluster: ClusterId(1),
        group: GroupId(2),
        version: Version(7),
        epoch: Epoch(4),
        owner,
        nonce: Nonce(70),
        writer: A,
        since: 1000,
        forced: false,
        volumes: vec![VolumeEntry { volume: VOLUME, members, generation: NOW, parent: OLD }],
    }
}

fn author(node: NodeId) -> Author {
    Author { node, boot: BOOT, nonce: Nonce(80), since: 2000 }
}

fn copy() -> Copy {
    Copy {
        volume: VOLUME,
        disk: DiskState::UpToDate,
        generation: NOW,
        fresh: NEXT,
        mark: Some(InSyncMark { generation: NOW, boot: BOOT }),
        connected: false,
        peer_disk: None,
        differs: false,
        stuck: false,
        quiet: true,
        need: None,
    }
}

fn with(copy: Copy) -> Inputs {
    Inputs { copies: vec![copy], evidence: true, lease_over: true, ..Inputs::default() }
}

/// What every transition keeps and raises.
fn check_step(from: &Record, next: &Record, node: NodeId) {
    assert_eq!(next.version, Version(from.version.0 + 1));
    assert_eq!((next.writer, next.nonce, next.since), (node, Nonce(80), 2000));
    assert_eq!(next.validate(), Ok(()));
    let (old, new) = (&from.volumes[0], &next.volumes[0]);
    let became_alone = new.members != old.members && new.members == Members::only(node);
    let histories = (new.generation, new.parent);
    assert_eq!(histories, if became_alone { (NEXT, NOW) } else { (NOW, OLD) });
}

#[test]
fn takeover_asks_for_every_precondition() {
    let from = record(Some(A), Members::BOTH);
    let next = takeover(&from, author(B), &with(copy())).unwrap();
    check_step(&from, &next, B);
    assert_eq!((next.owner, next.epoch), (Some(B), Epoch(5)));
    assert!(next.is_alone(B));

    let refuse = |inputs: Inputs| takeover(&from, author(B), &inputs).unwrap_err();
    assert_eq!(refuse(Inputs { evidence: false, ..with(copy()) }), Refused::PeerAlive);
    assert_eq!(refuse(Inputs { lease_over: false, ..with(copy()) }), Refused::Busy);
    assert_eq!(refuse(with(Copy { mark: None, ..copy() })), Refused::NoMark);
    let old_boot = Some(InSyncMark { generation: NOW, boot: BootId(8) });
    assert_eq!(refuse(with(Copy { mark: old_boot, ..copy() })), Refused::NoMark);
    let old_data = Some(InSyncMark { generation: OLD, boot: BOOT });
    assert_eq!(refuse(with(Copy { mark: old_data, ..copy() })), Refused::NoMark);
    for disk in [DiskState::Outdated, DiskState::Inconsistent, DiskState::Failed] {
        assert_eq!(refuse(with(Copy { disk, ..copy() })), Refused::BadCopy);
    }
    assert_eq!(refuse(with(Copy { generation: OLD, ..copy() })), Refused::BadCopy, "R8: A wrote");
    assert_eq!(refuse(Inputs::default()), Refused::BadCopy, "no copy of the volume");
    let alone = record(Some(A), Members::only(A));
    let stale = takeover(&alone, author(B), &with(copy())).unwrap_err();
    assert_eq!(stale, Refused::NotMember { solo_since: 1000 });
    let own = takeover(&from, author(A), &with(copy())).unwrap_err();
    assert_eq!(own, Refused::AlreadyPrimary);
}

#[test]
fn start_goes_alone_only_with_proof() {
    for owner in [None, Some(A)] {
        let from = record(owner, Members::BOTH);
        let connected = with(Copy { connected: true, ..copy() });
        let next = start(&from, author(A), &connected).unwrap();
        check_step(&from, &next, A);
        assert_eq!((next.owner, next.epoch, next.has_both()), (Some(A), Epoch(5), true));

        let differs = with(Copy { connected: true, differs: true, ..copy() });
        assert_eq!(start(&from, author(A), &differs), Err(Refused::NotInSync));
        let marked = start(&from, author(A), &with(copy())).unwrap();
        check_step(&from, &marked, A);
        assert!(marked.is_alone(A));
        let unmarked = with(Copy { mark: None, ..copy() });
        assert_eq!(start(&from, author(A), &unmarked), Err(Refused::NotInSync));
        let graced = Inputs { peer_dead: true, ..unmarked };
        assert!(start(&from, author(A), &graced).unwrap().is_alone(A));
    }
    start_beside_a_spoiled_peer();
    let alone = record(None, Members::only(A));
    let next = start(&alone, author(A), &with(Copy { mark: None, ..copy() })).unwrap();
    check_step(&alone, &next, A);
    let taken = record(Some(A), Members::BOTH);
    assert_eq!(start(&taken, author(B), &with(copy())), Err(Refused::OtherPrimary));
    let stale = start(&alone, author(B), &with(copy()));
    assert_eq!(stale, Err(Refused::NotMember { solo_since: 1000 }));
    let unadopted = with(Copy { generation: OLD, ..copy() });
    assert!(start(&alone, author(A), &unadopted).is_ok(), "R8: its own write");
}

/// A connected peer that has to be filled wins nothing; one that failed may be mended, so that only
/// the mark or an operator's word goes past it; a sound one is made equal first, whoever says what.
fn start_beside_a_spoiled_peer() {
    let from = record(Some(A), Members::BOTH);
    let beside =
        |disk| Copy { connected: true, peer_disk: Some(disk), differs: true, mark: None, ..copy() };
    let filled = with(beside(DiskState::Inconsistent));
    assert!(start(&from, author(A), &filled).unwrap().is_alone(A));
    let mended = with(beside(DiskState::Failed));
    assert_eq!(start(&from, author(A), &mended), Err(Refused::NotInSync));
    let marked = with(Copy { mark: copy().mark, ..beside(DiskState::Failed) });
    assert!(start(&from, author(A), &marked).unwrap().is_alone(A));
    let reads_as_eio = Copy { stuck: true, mark: copy().mark, ..beside(DiskState::Consistent) };
    assert!(start(&from, author(A), &with(reads_as_eio)).unwrap().is_alone(A));
    let unproven = Copy { mark: None, ..reads_as_eio };
    assert_eq!(start(&from, author(A), &with(unproven)), Err(Refused::NotInSync));
    let told = Inputs { peer_dead: true, ..mended };
    assert!(start(&from, author(A), &told).unwrap().is_alone(A));
    for sound in [DiskState::Consistent, DiskState::UpToDate] {
        let told = Inputs { peer_dead: true, ..with(beside(sound)) };
        assert_eq!(start(&from, author(A), &told), Err(Refused::NotInSync));
    }
}

#[test]
fn shrink_and_grow_need_the_engines_word() {
    let both = record(Some(A), Members::BOTH);
    let serving = Copy { quiet: false, ..copy() };
    let holding = Copy { need: Some(Need::Shrink), ..serving };
    let next = shrink(&both, author(A), &with(holding)).unwrap();
    check_step(&both, &next, A);
    assert_eq!((next.owner, next.epoch), (Some(A), Epoch(4)));
    assert!(next.is_alone(A));
    assert_eq!(shrink(&both, author(A), &with(serving)), Err(Refused::Busy));
    assert!(shrink(&both, author(A), &with(copy())).is_ok(), "it answers nobody");
    assert_eq!(shrink(&both, author(B), &with(holding)), Err(Refused::NotPrimary));

    let alone = record(Some(A), Members::only(A));
    let equal = Copy { need: Some(Need::Grow), ..serving };
    let next = grow(&alone, author(A), &with(equal)).unwrap();
    check_step(&alone, &next, A);
    assert!(next.has_both());
    assert_eq!(grow(&alone, author(A), &with(serving)), Err(Refused::NotInSync));
    let unadopted = Copy { generation: OLD, ..equal };
    assert_eq!(grow(&alone, author(A), &with(unadopted)), Err(Refused::NotInSync));
    assert_eq!(grow(&alone, author(B), &with(equal)), Err(Refused::NotPrimary));
}

#[test]
fn move_and_stop_need_a_demoted_engine() {
    let both = record(Some(A), Members::BOTH);
    let in_sync = Inputs { was_in_sync: true, ..with(copy()) };
    let next = move_(&both, author(A), &in_sync).unwrap();
    check_step(&both, &next, A);
    assert_eq!((next.owner, next.epoch, next.has_both()), (Some(B), Epoch(5), true));
    let serving = Inputs { was_in_sync: true, ..with(Copy { quiet: false, ..copy() }) };
    assert_eq!(move_(&both, author(A), &serving), Err(Refused::Busy));
    assert_eq!(move_(&both, author(A), &with(copy())), Err(Refused::NotInSync));
    assert_eq!(move_(&both, author(B), &in_sync), Err(Refused::NotPrimary));
    let alone = record(Some(A), Members::only(A));
    assert_eq!(move_(&alone, author(A), &in_sync), Err(Refused::NotInSync));

    let next = stop(&both, author(A), &with(copy())).unwrap();
    check_step(&both, &next, A);
    assert_eq!((next.owner, next.epoch), (None, Epoch(4)));
    assert_eq!(stop(&both, author(A), &serving), Err(Refused::Busy));
    assert_eq!(stop(&both, author(B), &with(copy())), Err(Refused::NotPrimary));
}

#[test]
fn force_is_marked_and_a_closing_write_changes_nothing() {
    let from = record(Some(A), Members::only(A));
    let next = force(&from, author(B), &with(Copy { mark: None, ..copy() })).unwrap();
    check_step(&from, &next, B);
    assert!(next.forced && next.is_alone(B) && next.owner == Some(B));
    let failed = with(Copy { disk: DiskState::Failed, ..copy() });
    assert_eq!(force(&from, author(B), &failed), Err(Refused::BadCopy));

    let closing = close(&next, author(A));
    assert_eq!(closing.version, Version(9));
    let same =
        Record { version: next.version, nonce: next.nonce, writer: B, since: 2000, ..closing };
    assert_eq!(same, next);
}

#[test]
fn create_begins_a_history() {
    let id = (ClusterId(1), GroupId(2));
    let alone = create(None, id, false, author(A), &with(copy())).unwrap();
    assert_eq!((alone.version, alone.epoch, alone.owner), (Version(1), Epoch(1), None));
    assert!(alone.is_alone(A));
    assert_eq!((alone.volumes[0].generation, alone.volumes[0].parent), (NEXT, NOW));
    let connected = with(Copy { connected: true, ..copy() });
    assert!(create(None, id, true, author(A), &connected).unwrap().has_both());
    assert_eq!(create(None, id, true, author(A), &with(copy())), Err(Refused::NotInSync));
    let again = create(Some(&alone), id, false, author(A), &connected);
    assert_eq!(again, Err(Refused::RecordExists));
}

#[test]
fn a_group_moves_with_all_of_its_volumes_or_not_at_all() {
    let mut from = record(Some(A), Members::BOTH);
    let second = VolumeId(4);
    from.volumes.push(VolumeEntry { volume: second, ..from.volumes[0].clone() });
    assert_eq!(takeover(&from, author(B), &with(copy())), Err(Refused::BadCopy));
    let mut inputs = with(copy());
    inputs.copies.push(Copy { volume: second, fresh: Generation(0x31), ..copy() });
    let next = takeover(&from, author(B), &inputs).unwrap();
    assert_eq!(next.volumes[1].generation, Generation(0x31));
    from.volumes[1].members = Members::only(A);
    let stale = takeover(&from, author(B), &inputs);
    assert_eq!(stale, Err(Refused::NotMember { solo_since: 1000 }));
}
