//! Releases: what is promised to the peer outlives the daemon that has promised it.

use super::toy::*;
use crate::decide::event::{Event, PeerBeat, Verb};
use crate::decide::step::Refused;
use lockstep_engine::units::{DiskState, Members, Need, Role};

/// A has released because its metadata failed, so that no stop could be stored; the heartbeat that
/// says so is still on its way. Daemon and engine were killed since, and the device works again.
fn released_and_killed() -> (World, PeerBeat) {
    let mut world = World::serving(A);
    world.beats = false;
    let node = world.node(A);
    node.refuse_attempt = Some("metadata-failed");
    node.engine().need = Some(Need::HandOver);
    node.engine().disk = DiskState::Failed;
    world.run(500);
    let beat = world.decider(A).beat();
    assert_eq!(beat.released, Some(world.stored().version));
    assert_eq!(world.role(A), Role::Secondary);
    assert!(world.node(A).engine().attempts.is_empty(), "nothing can be stored");
    world.daemon_dies(A);
    world.engine_dies(A);
    let node = world.node(A);
    node.refuse_attempt = None;
    node.engine().disk = DiskState::Consistent;
    world.engine_starts(A);
    (world, beat)
}

#[test]
pub fn a_release_that_is_heard_late_finds_another_version() {
    let (mut world, beat) = released_and_killed();
    let version = world.stored().version;
    world.daemon_starts(A);
    world.run(3_000);
    assert_eq!((world.role(A), world.members()), (Role::Primary, Members::BOTH));
    world.node(B).inbox.push_back(Event::Heartbeat(beat));
    let takeover = world.ask(B, Verb::Takeover);
    world.run(10_500);
    assert_eq!(world.answer(takeover), Some(Err(Refused::PeerAlive)));
    assert_eq!(world.role(A), Role::Primary);
    assert!(world.stored().version > version, "nobody has released this one");
}

#[test]
pub fn a_takeover_from_a_release_races_the_restarted_owner_for_one_version() {
    for first in [A, B] {
        let (mut world, beat) = released_and_killed();
        world.slow = [true; 2];
        world.node(B).inbox.push_back(Event::Heartbeat(beat));
        world.ask(B, Verb::Takeover);
        world.run_to_write(B);
        world.daemon_starts(A);
        world.run_to_write(A);
        assert_eq!(world.role(A), Role::Secondary, "not before its write is won");
        let write = world.requests.iter().position(|r| r.node == first && r.next.is_some());
        world.apply(write.expect("both writes are on the way"));
        world.slow = [false; 2];
        world.beats = true;
        world.run(8_000);
        let want = if first == A { Role::Primary } else { Role::Secondary };
        assert_eq!(world.role(A), want);
        assert_ne!(world.role(B), world.role(A));
        assert_eq!(world.members(), Members::BOTH);
    }
}

#[test]
pub fn an_owner_whose_copy_spoiled_at_rest_stores_a_stop_before_it_releases() {
    let mut world = World::serving(A);
    world.reach = [true, false];
    world.engine_dies(A);
    world.node(A).engine().disk = DiskState::Inconsistent;
    world.run(300);
    world.engine_starts(A);
    world.run(1_000);
    let version = world.stored().version;
    assert_eq!(world.decider(A).view().released, Some(version));
    let stored = world.node(A).engine().attempts.clone();
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].expected, stored[0].wanted.primary), (version, None));
    // Another daemon knows of it: it makes sure of the version, and releases the next one.
    world.daemon_dies(A);
    world.daemon_starts(A);
    world.run(3_000);
    assert_eq!(world.role(A), Role::Secondary);
    assert!(world.stored().version > version);
    assert_eq!(world.decider(A).view().released, Some(world.stored().version));
    world.reach = [true; 2];
    let takeover = world.ask(B, Verb::Takeover);
    world.run(2_000);
    assert_eq!(world.answer(takeover), Some(Ok(())));
    assert_eq!(world.role(B), Role::Primary);
}

#[test]
pub fn a_release_that_is_withdrawn_is_served_under_another_version() {
    let mut world = World::serving(A);
    let node = world.node(A);
    node.refuse_attempt = Some("metadata-failed");
    node.engine().need = Some(Need::HandOver);
    node.engine().disk = DiskState::Failed;
    world.run(500);
    let version = world.stored().version;
    assert_eq!(world.decider(A).view().released, Some(version));
    assert!(world.node(A).engine().attempts.is_empty(), "nothing can be stored");
    // The device works again, and the regions of its intent are not compared yet.
    let node = world.node(A);
    node.refuse_attempt = None;
    node.engine().need = None;
    node.engine().disk = DiskState::Consistent;
    node.engine().reconcile_pending = true;
    world.run(500);
    world.ask(A, Verb::Start { without_peer: false });
    world.run(3_000);
    assert_eq!(world.role(A), Role::Primary);
    assert!(world.stored().version > version, "B may act on what it was told of this one");
}

/// The engine of A is killed and does not come back; its daemon has nothing to store a stop in.
fn engine_dead_and_released() -> World {
    let mut world = World::serving(A);
    world.engine_dies(A);
    world.run(100);
    let release = world.ask(A, Verb::Release);
    world.run(100);
    assert_eq!(world.answer(release), Some(Ok(())));
    assert_eq!(world.decider(A).beat().released, Some(world.stored().version));
    world
}

#[test]
pub fn an_owner_with_a_dead_engine_releases_and_follows_when_it_is_back() {
    let mut world = engine_dead_and_released();
    let takeover = world.ask(B, Verb::Takeover);
    world.run(6_000);
    assert_eq!(world.answer(takeover), Some(Ok(())));
    assert_eq!((world.role(B), world.members()), (Role::Primary, Members::only(B)));
    assert_eq!(world.decider(A).beat().released, None, "that version is past");
    world.engine_starts(A);
    world.run(5_000);
    assert_eq!((world.role(A), world.members()), (Role::Secondary, Members::BOTH));
}

#[test]
pub fn a_takeover_waits_until_an_engine_that_nobody_fenced_has_no_lease() {
    // B does not know whether the engine is dead or only not heard by its daemon.
    let mut world = engine_dead_and_released();
    let version = world.stored().version;
    let answered = world.ms;
    world.ask(B, Verb::Takeover);
    world.run(3_500);
    assert_eq!(world.stored().version, version, "{} ms", world.ms - answered);
    world.run(1_500);
    assert_eq!(world.role(B), Role::Primary);
    // An engine that serves on the link is waited for: silence ends its lease.
    let mut world = World::serving(A);
    world.beats = false;
    let version = world.stored().version;
    let beat = PeerBeat { released: Some(version), ..world.decider(A).beat() };
    world.node(B).inbox.push_back(Event::Heartbeat(beat));
    world.ask(B, Verb::Takeover);
    world.run(3_500);
    assert_eq!((world.stored().version, world.role(A)), (version, Role::Primary));
    world.run(3_000);
    assert_eq!((world.role(A), world.role(B)), (Role::Secondary, Role::Primary));
}

#[test]
pub fn a_returning_engine_is_not_served_under_a_version_released_without_it() {
    for restart in [false, true] {
        let mut world = engine_dead_and_released();
        let version = world.stored().version;
        world.beats = false;
        if restart {
            world.daemon_dies(A);
            world.daemon_starts(A);
        }
        world.engine_starts(A);
        world.run(300);
        if !restart {
            assert_eq!((world.role(A), world.stored().version), (Role::Secondary, version));
            world.ask(A, Verb::Start { without_peer: false });
        }
        world.run(3_000);
        assert_eq!(world.role(A), Role::Primary);
        assert!(world.stored().version > version, "restart {restart}");
        let record = world.node(A).engine().record.expect("a primary has a record");
        assert!(record.version > version);
    }
}

#[test]
pub fn an_engine_that_serves_what_was_released_is_fenced() {
    let mut world = engine_dead_and_released();
    world.reach = [true, false];
    // It was not dead: the daemon could not hear it.
    world.engine_starts(A);
    world.node(A).engine().role = Role::Primary;
    world.run(100);
    assert_eq!(world.role(A), Role::Secondary);
    assert_eq!(world.decider(A).beat().released, Some(world.stored().version));
}

#[test]
pub fn a_release_with_a_dead_engine_waits_for_what_is_open() {
    let mut world = World::serving(A);
    world.links.up = false;
    world.slow = [true; 2];
    world.run_to_write(A);
    world.engine_dies(A);
    world.run(100);
    let release = world.ask(A, Verb::Release);
    world.run(500);
    assert_eq!(world.answer(release), None, "the shrink may land");
    world.slow = [false; 2];
    world.run(1_000);
    assert_eq!(world.members(), Members::only(A));
    assert_eq!(world.answer(release), Some(Err(Refused::NotInSync)), "nobody else has it");
}

#[test]
pub fn without_a_group_the_decider_gives_up_an_engine_that_stays_away() {
    let mut world = World::serving(A);
    world.auto = true;
    for node in [A, B] {
        world.daemon_dies(node);
        world.daemon_starts(node);
    }
    world.run(1_000);
    world.engine_dies(A);
    world.run(9_000);
    assert_eq!(world.decider(A).beat().released, None);
    world.run(3_000);
    assert_eq!(world.role(B), Role::Primary);
    world.engine_starts(A);
    world.run(5_000);
    assert_eq!(world.members(), Members::BOTH);
}
