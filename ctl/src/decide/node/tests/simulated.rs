//! Histories that the simulator found: each went wrong once.

use super::world::*;
use crate::decide::event;
use crate::decide::group::{GroupVerb, State};
use crate::decide::node::Verb;
use lockstep_engine::units::DiskState;

#[test]
fn a_daemon_that_restarts_in_the_middle_of_a_stop_goes_on_stopping() {
    let mut world = World::up(group(), Vec::new());
    world.host(A).fault[APP.0] = Fault::Hang;
    world.ask_group(A, GroupVerb::Stop);
    world.run(500);
    assert_eq!((world.state(A), world.on(A)), (State::Falling, ALL.to_vec()));
    world.daemon_dies(A);
    world.host(A).fault[APP.0] = Fault::None;
    world.daemon_starts(A);
    world.run(20_000);
    assert_eq!((world.owner(), world.on(A), world.on(B)), (None, Vec::new(), Vec::new()));
}

/// Fenced, released for want of its engine, and then the peer turns out to be unfit.
#[test]
fn an_owner_that_released_in_vain_starts_again() {
    let mut world = World::up(group(), Vec::new());
    world.engine_dies(A);
    world.links.up = false;
    world.beats = false;
    world.host(B).engine().disk = DiskState::Inconsistent;
    world.host(B).engine().mark = None;
    world.run(4_500);
    assert_eq!(world.on(A), [], "the lease is over");
    world.beats = true;
    world.run(12_000);
    assert!(world.node(A).beat(G).is_some_and(|beat| beat.released.is_some()));
    world.links.up = true;
    world.engine_starts(A);
    world.run(60_000);
    assert_eq!((world.owner(), world.state(A)), (Some(A), State::Up));
}

/// The other node's claim was under way when the stop was answered.
#[test]
fn a_stop_also_ends_a_claim_that_is_under_way() {
    let mut settings = group();
    settings.nodes = [B, A];
    let mut world = World::with(settings, Vec::new());
    world.daemon_starts(B);
    world.run(3_000);
    world.reach[1] = false;
    let claims = (0..200).any(|_| {
        world.run(100);
        world.state(B) == State::Claiming
    });
    assert!(claims, "the boot grace is over, the arbiter away");
    world.daemon_starts(A);
    world.run(200);
    let request = world.ask_group(A, GroupVerb::Stop);
    world.run(500);
    assert_eq!(world.answer(request), Some(Ok(())));
    world.reach[1] = true;
    world.run(30_000);
    assert_eq!((world.owner(), world.on(A), world.on(B)), (None, Vec::new(), Vec::new()));
}

/// The host of the one that took over stood still until nobody waited for the report any more.
#[test]
fn a_promotion_whose_report_is_lost_ends_the_claim_all_the_same() {
    let mut world = World::up(group(), Vec::new());
    world.host(B).mute_promotions = true;
    world.host_dies(A);
    world.run(30_000);
    assert_eq!((world.owner(), world.state(B)), (Some(B), State::Up));
}

#[test]
fn force_is_not_undone_by_a_stop_that_the_other_node_remembers() {
    let mut world = World::up(group(), Vec::new());
    world.ask_group(A, GroupVerb::Stop);
    world.run(3_000);
    assert_eq!(world.owner(), None);
    world.ask(B, Verb::Mirror(G, event::Verb::ForcePromote));
    world.run(10_000);
    assert_eq!((world.owner(), world.state(B)), (Some(B), State::Up));
}

/// Fenced long ago, given the group back since, and then without its engine's proof (seed 841883).
#[test]
fn what_was_fenced_and_can_t_resume_is_started_anew() {
    let mut world = World::up(group(), Vec::new());
    world.reach[0] = false;
    (world.links.up, world.beats) = (false, false);
    world.run_until(20_000, |world| world.state(B) == State::Up);
    (world.links.up, world.beats) = (true, true);
    world.run(3_000);
    world.ask_group(B, GroupVerb::Move);
    world.run_until(5_000, |world| world.owner() == Some(A));
    world.engine_dies(A);
    world.run(100);
    world.engine_starts(A);
    world.host(A).engine().mark = None;
    world.reach[0] = true;
    world.run(30_000);
    assert_eq!((world.owner(), world.state(A)), (Some(A), State::Up));
}

/// Seed 838501.
#[test]
fn what_an_operator_has_stopped_alone_comes_on_when_the_group_comes_back() {
    let mut world = World::up(group(), Vec::new());
    world.ask_group(A, GroupVerb::ResourceStop(APP));
    world.run(2_000);
    assert!(!world.on(A).contains(&APP));
    world.ask_group(A, GroupVerb::Move);
    world.run(5_000);
    assert_eq!(world.on(B), ALL.to_vec());
    world.ask_group(B, GroupVerb::Move);
    world.run(5_000);
    assert_eq!(world.on(A), ALL.to_vec());
}
