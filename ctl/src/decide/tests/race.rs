//! Shrink against takeover, over all orders in which requests take effect, replies are lost and
//! time-outs come: exactly one wins, and both nodes end up with the same record.

use super::toy::*;
use crate::decide::event::Verb;
use lockstep_engine::units::{Members, Role};
use std::collections::HashSet;

/// A primary cut off from its peer, its shrink on the way; a peer whose takeover is on the way.
fn both_on_the_way() -> World {
    let mut world = World::serving(A);
    world.run(6_000);
    world.links.up = false;
    world.beats = false;
    world.slow = [true; 2];
    world.ask(B, Verb::Takeover);
    for _ in 0..800 {
        // Reads pass; conditional writes wait.
        while let Some(read) = world.requests.iter().position(|r| r.next.is_none()) {
            world.apply(read);
            world.quiesce();
        }
        if world.requests.iter().any(|r| r.node == B && r.next.is_some()) {
            return world;
        }
        world.run(10);
    }
    panic!("no takeover: {:?}", world.notes);
}

fn settle(mut world: World) {
    world.requests.clear();
    world.slow = [false; 2];
    world.lose_replies = [false; 2];
    world.run(2_000);
    world.links.up = true;
    world.beats = true;
    world.run(30_000);
    let (a, b) = (world.role(A), world.role(B));
    let one = (a == Role::Primary) != (b == Role::Primary);
    assert!(one, "{a:?} {b:?} {:?} {:?}", world.stored(), world.notes);
    assert_eq!(world.members(), Members::BOTH, "{:?}", world.notes);
    let version = Some(world.stored().version);
    for node in [A, B] {
        let engine = world.node(node).engine();
        assert_eq!(engine.record.map(|record| record.version), version);
        assert!(engine.attempts.is_empty());
    }
    let branches: HashSet<_> = world.history.iter().map(|record| record.version).collect();
    assert_eq!(branches.len(), world.history.len(), "a version was written once");
}

/// All orders of: apply one of the first requests with or without its reply, lose it, or wait.
fn explore(world: &World, depth: u32, ends: &mut u32) {
    if depth == 0 {
        *ends += 1;
        return settle(world.clone());
    }
    for index in 0..world.requests.len().min(3) {
        for lose in [false, true] {
            let mut next = world.clone();
            next.lose_replies = [lose; 2];
            next.apply(index);
            next.lose_replies = [false; 2];
            next.quiesce();
            explore(&next, depth - 1, ends);
        }
    }
    let mut later = world.clone();
    later.run(1_100);
    explore(&later, depth - 1, ends);
}

#[test]
pub fn exactly_one_of_shrink_and_takeover_wins() {
    let world = both_on_the_way();
    let writes: Vec<_> = world.requests.iter().filter(|r| r.next.is_some()).collect();
    assert!(writes.iter().any(|r| r.node == A) && writes.iter().any(|r| r.node == B));
    let mut ends = 0;
    explore(&world, 4, &mut ends);
    assert!(ends > 100, "{ends} ends");
}

#[test]
pub fn a_takeover_that_lands_after_its_daemon_restarted_does_not_make_two() {
    for restart_a in [false, true] {
        let mut world = both_on_the_way();
        let takeover = world.requests.iter().position(|r| r.node == B && r.next.is_some());
        let takeover = world.requests.remove(takeover.unwrap());
        world.requests.retain(|r| r.next.is_none());
        world.daemon_dies(B);
        world.daemon_starts(B);
        if restart_a {
            world.daemon_dies(A);
            world.daemon_starts(A);
        }
        world.run(200);
        world.requests.insert(0, takeover);
        settle_with(world);
    }
}

/// Like `settle`, but what is on the way takes effect first.
fn settle_with(mut world: World) {
    world.slow = [false; 2];
    world.run(12_000);
    assert_eq!(world.role(A), Role::Secondary);
    assert_eq!(world.role(B), Role::Primary, "{:?} {:?}", world.stored(), world.notes);
}
