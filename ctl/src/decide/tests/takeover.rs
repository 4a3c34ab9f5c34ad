//! Takeover: evidence, mark, lease, release.

use super::toy::*;
use crate::decide::arbitration::EvidenceView;
use crate::decide::event::Verb;
use crate::decide::step::{Note, Refused, Waiting};
use lockstep_engine::units::{Members, Role};

#[test]
pub fn a_dead_primary_is_taken_over_from_after_the_evidence() {
    let mut world = World::serving(A);
    world.host_dies(A);
    let died = world.ms;
    let request = world.ask(B, Verb::Takeover);
    while world.answer(request).is_none() && world.ms < died + 20_000 {
        world.run(50);
    }
    assert_eq!(world.answer(request), Some(Ok(())));
    let took = world.ms - died;
    assert!((5_000..6_000).contains(&took), "{took} ms");
    assert!(world.waited_for(B, Waiting::Evidence));
    assert_eq!((world.role(B), world.members()), (Role::Primary, Members::only(B)));
    assert!(world.notes.contains(&(B, Note::Evidence)));
    world.run(2_000);
    assert!(!world.node(B).engine().silent);
    world.host_boots(A);
    world.run(5_000);
    assert_eq!((world.role(A), world.members()), (Role::Secondary, Members::BOTH));
}

#[test]
pub fn a_live_primary_is_not_taken_over_from() {
    let mut world = World::serving(A);
    let connected = world.ask(B, Verb::Takeover);
    world.run(10_500);
    assert_eq!(world.answer(connected), Some(Err(Refused::PeerAlive)));
    world.reach = [false, true]; // so that A can't shrink
    world.links.up = false;
    let heard = world.ask(B, Verb::Takeover);
    world.run(10_500);
    assert_eq!(world.answer(heard), Some(Err(Refused::PeerAlive)));
    assert_eq!(world.role(A), Role::Primary, "heartbeats carry its lease");
    assert!(world.notes.contains(&(B, Note::HalfSilent)));
    assert!(!world.notes.contains(&(B, Note::Evidence)));
}

#[test]
pub fn a_heartbeat_after_the_request_answers_it_at_once() {
    let mut world = World::serving(A);
    let asked = world.ask(B, Verb::Takeover);
    world.run(1_000);
    assert_eq!(world.answer(asked), Some(Err(Refused::PeerAlive)));
    assert_eq!((world.role(A), world.members()), (Role::Primary, Members::BOTH));
}

#[test]
pub fn without_the_mark_nothing_is_taken_over() {
    let mut world = World::serving(A);
    world.links.up = false;
    world.host_dies(B);
    world.reach = [false, true];
    world.host_boots(B);
    world.host_dies(A);
    world.run(10_000);
    let request = world.ask(B, Verb::Takeover);
    world.run(20_000);
    assert_eq!(world.answer(request), Some(Err(Refused::NoMark)));
    assert_eq!(world.role(B), Role::Secondary);
}

#[test]
pub fn a_restarted_engine_gets_its_mark_back() {
    let mut world = World::serving(A);
    world.run(1_000);
    world.host_dies(A);
    world.engine_dies(B);
    world.run(500);
    world.engine_starts(B);
    let request = {
        world.run(200);
        world.ask(B, Verb::Takeover)
    };
    world.run(20_000);
    assert_eq!(world.answer(request), Some(Ok(())));
}

#[test]
pub fn a_peer_that_comes_back_before_the_write_ends_the_takeover() {
    let mut world = World::serving(A);
    world.reach = [false, true];
    world.links.up = false;
    world.beats = false;
    world.run(4_900);
    let request = world.ask(B, Verb::Takeover);
    while !world.waited_for(B, Waiting::Lease) && world.answer(request).is_none() {
        world.run(1);
    }
    world.beats = true;
    world.run(300);
    assert_eq!(world.answer(request), Some(Err(Refused::PeerAlive)));
    world.run(500);
    assert!(!world.node(B).engine().silent);
    assert!(world.node(B).answering);
    assert!(world.node(B).engine().attempts.is_empty());
}

#[test]
pub fn an_isolated_primary_stops_before_the_other_starts() {
    let mut world = World::serving(A);
    world.auto = true;
    world.daemon_starts(B);
    world.run(10_000);
    world.links.up = false;
    world.beats = false;
    world.reach = [false, true];
    let cut = world.ms;
    let (mut stopped, mut started) = (0, 0);
    while started == 0 && world.ms < cut + 20_000 {
        world.run(10);
        if stopped == 0 && world.role(A) == Role::Secondary {
            stopped = world.ms;
        }
        if world.role(B) == Role::Primary {
            started = world.ms;
        }
    }
    assert!(stopped > 0 && started >= stopped + 1_000, "{stopped} {started}");
    // LEASE + FENCE + margin after the last answer, which was given when the link was cut.
    assert!(started >= cut + 5_250, "{cut} {started}");
    assert!(world.notes.contains(&(A, Note::FastFence)));
    world.links.up = true;
    world.beats = true;
    world.reach = [true; 2];
    world.run(10_000);
    assert_eq!((world.role(A), world.role(B)), (Role::Secondary, Role::Primary));
    assert_eq!(world.members(), Members::BOTH);
}

#[test]
pub fn a_primary_that_reaches_the_arbiter_wins_and_the_other_learns_it_late() {
    let mut world = World::serving(A);
    world.auto = true;
    world.daemon_starts(B);
    world.run(10_000);
    world.links.up = false;
    world.beats = false;
    world.run(30_000);
    assert_eq!((world.role(A), world.role(B)), (Role::Primary, Role::Secondary));
    assert_eq!(world.members(), Members::only(A));
    world.links.up = true;
    world.beats = true;
    world.run(5_000);
    assert_eq!(world.members(), Members::BOTH);
    assert_eq!(world.decider(B).view().evidence, EvidenceView::None);
}

#[test]
pub fn heartbeats_are_not_answered_by_an_owner_nor_during_a_takeover() {
    let mut world = World::serving(A);
    assert!(!world.node(A).answering);
    assert!(world.node(B).answering);
    world.host_dies(A);
    world.ask(B, Verb::Takeover);
    world.run(5_100);
    assert!(!world.node(B).answering);
    world.run(2_000);
    assert_eq!(world.role(B), Role::Primary);
    assert!(!world.node(B).answering);
}

/// An arbiter that was set back for a while is read again before anything is refused for it.
#[test]
pub fn an_arbiter_that_is_right_again_puts_no_takeover_off() {
    let mut world = World::serving(A);
    world.auto = true;
    world.daemon_dies(B);
    world.daemon_starts(B);
    world.run(6_000);
    let newest = world.arbiter.clone();
    world.arbiter = Some(world.history[0].clone());
    let request = world.ask(B, Verb::Takeover);
    world.run(1_000);
    assert_eq!(world.answer(request), Some(Err(Refused::ArbiterRolledBack)));
    world.arbiter = newest;
    world.host_dies(A);
    let died = world.ms;
    while world.role(B) != Role::Primary && world.ms < died + 20_000 {
        world.run(50);
    }
    let took = world.ms - died;
    assert!((5_000..6_000).contains(&took), "{took} ms: A may start alone after 7250");
}

/// What an operator asked for and did not get is no reason to wait with what has become right
/// since: the owner may start alone once its boot grace is over (§1.2, seed 806676).
#[test]
pub fn a_refused_request_puts_no_takeover_off() {
    let mut world = World::serving(A);
    world.auto = true;
    world.daemon_dies(B);
    world.daemon_starts(B);
    world.run(6_000);
    world.beats = false; // The link alone shows that the owner lives.
    let request = world.ask(B, Verb::Takeover);
    world.run(6_000);
    world.host_dies(A);
    let died = world.ms;
    while world.role(B) != Role::Primary && world.ms < died + 20_000 {
        world.run(50);
    }
    let took = world.ms - died;
    assert_eq!(world.answer(request), Some(Err(Refused::PeerAlive)));
    assert!((5_000..6_000).contains(&took), "{took} ms: A may start alone after 7250");
}
