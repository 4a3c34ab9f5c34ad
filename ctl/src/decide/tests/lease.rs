//! Leases and the fast fence (R13).

use super::toy::*;
use crate::decide::step::Note;
use lockstep_engine::units::{Members, Role};

#[test]
pub fn the_lease_ends_in_one_fast_fence() {
    let mut world = World::serving(A);
    world.reach = [false; 2];
    world.links.up = false;
    world.beats = false;
    let cut = world.ms;
    while world.role(A) == Role::Primary && world.ms < cut + 20_000 {
        world.run(10);
    }
    let took = world.ms - cut;
    assert!((3_700..=4_100).contains(&took), "{took} ms");
    world.run(20_000);
    let fences = world.notes.iter().filter(|note| **note == (A, Note::FastFence)).count();
    assert_eq!(fences, 1);
    assert!(world.decider(A).view().fenced);
}

#[test]
pub fn a_fenced_owner_serves_again_when_peer_and_arbiter_are_back() {
    let mut world = World::serving(A);
    world.reach = [false; 2];
    world.links.up = false;
    world.beats = false;
    world.run(10_000);
    assert_eq!(world.role(A), Role::Secondary);
    world.links.up = true;
    world.beats = true;
    world.run(1_000);
    assert_eq!(world.role(A), Role::Secondary, "a handshake makes no primary");
    world.reach = [true; 2];
    world.run(5_000);
    assert_eq!((world.role(A), world.members()), (Role::Primary, Members::BOTH));
    assert!(!world.decider(A).view().fenced);
}

#[test]
pub fn a_fenced_owner_goes_on_alone_when_only_the_arbiter_is_back() {
    let mut world = World::serving(A);
    world.reach = [false; 2];
    world.host_dies(B);
    world.run(10_000);
    assert_eq!(world.role(A), Role::Secondary);
    world.reach = [true; 2];
    world.run(5_000);
    assert_eq!((world.role(A), world.members()), (Role::Primary, Members::only(A)));
}

#[test]
pub fn heartbeats_alone_carry_the_lease() {
    let mut world = World::serving(A);
    world.reach = [false; 2];
    world.links.up = false;
    world.run(30_000);
    assert_eq!(world.role(A), Role::Primary);
}

#[test]
pub fn a_sole_member_needs_no_lease() {
    let mut world = World::serving(A);
    world.links.up = false;
    world.beats = false;
    world.run(4_000);
    assert_eq!(world.members(), Members::only(A));
    world.reach = [false; 2];
    world.run(60_000);
    assert_eq!(world.role(A), Role::Primary);
}

#[test]
pub fn an_engine_that_died_while_serving_is_fenced_by_its_daemon_too() {
    let mut world = World::serving(A);
    world.beats = false;
    world.reach = [false; 2];
    world.engine_dies(A);
    world.run(10_000);
    assert!(world.notes.contains(&(A, Note::FastFence)));
}

#[test]
pub fn a_quiet_group_costs_a_probe_now_and_then() {
    let mut world = World::serving(A);
    world.run(10_000);
    for reach in [true, false] {
        world.reach = [reach; 2];
        let before = world.steps;
        world.run(600_000);
        let steps = world.steps - before;
        assert!((100..200).contains(&steps), "{steps} steps in ten minutes");
    }
    assert_eq!(world.role(A), Role::Primary);
}
