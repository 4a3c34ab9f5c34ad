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
    node.engine.need = Some(Need::HandOver);
    node.engine.disk = DiskState::Failed;
    world.run(500);
    let beat = world.decider(A).beat();
    assert_eq!(beat.released, Some(world.stored().version));
    assert_eq!(world.role(A), Role::Secondary);
    assert!(world.node(A).engine.attempts.is_empty(), "nothing can be stored");
    world.daemon_dies(A);
    world.engine_dies(A);
    let node = world.node(A);
    node.refuse_attempt = None;
    node.engine.disk = DiskState::Consistent;
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
    world.node(A).engine.disk = DiskState::Inconsistent;
    world.run(300);
    world.engine_starts(A);
    world.run(1_000);
    let version = world.stored().version;
    assert_eq!(world.decider(A).view().released, Some(version));
    let stored = world.node(A).engine.attempts.clone();
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
    node.engine.need = Some(Need::HandOver);
    node.engine.disk = DiskState::Failed;
    world.run(500);
    let version = world.stored().version;
    assert_eq!(world.decider(A).view().released, Some(version));
    assert!(world.node(A).engine.attempts.is_empty(), "nothing can be stored");
    // The device works again, and the regions of its intent are not compared yet.
    let node = world.node(A);
    node.refuse_attempt = None;
    node.engine.need = None;
    node.engine.disk = DiskState::Consistent;
    node.engine.reconcile_pending = true;
    world.run(500);
    world.ask(A, Verb::Start { without_peer: false });
    world.run(3_000);
    assert_eq!(world.role(A), Role::Primary);
    assert!(world.stored().version > version, "B may act on what it was told of this one");
}
