//! Leases over restarts of the daemon: what the last one knew of the peer's answers counts (R13).

use super::world::*;
use crate::decide::group::{GroupVerb, State};
use crate::decide::node::KeptLease;
use lockstep_engine::limits::Times;
use lockstep_engine::units::Role;

/// LEASE + FENCE: whoever takes over does so later.
const OVER: u64 = 5_000;

/// A serves; then it hears nobody any more, and its engine is dead.
fn isolated() -> (World, u64) {
    let mut world = World::up(group(), Vec::new());
    world.beats = false;
    world.links.up = false;
    world.reach = [false, true];
    world.engine_dies(A);
    let cut = world.ms;
    (world, cut)
}

fn restart(world: &mut World, away: u64) {
    world.daemon_dies(A);
    world.run(away);
    world.daemon_starts(A);
}

#[test]
pub fn quick_restarts_do_not_lengthen_a_lease() {
    for period in [120, 300, 450, 900] {
        let (mut world, cut) = isolated();
        while world.ms + period + 20 < cut + OVER {
            world.run(period);
            restart(&mut world, 20);
        }
        world.run(cut + OVER - world.ms);
        assert_eq!(world.on(A), [], "restarted every {period} ms");
        world.run_until(10_000, |world| world.state(B) == State::Up);
    }
}

#[test]
pub fn a_slow_restart_fences_at_once() {
    for away in [3_950, 4_300, 4_900] {
        let (mut world, cut) = isolated();
        restart(&mut world, away);
        world.run((cut + OVER).saturating_sub(world.ms).min(100));
        assert_eq!(world.on(A), [], "away for {away} ms");
    }
}

#[test]
pub fn a_restart_inside_the_lease_fences_at_its_end() {
    let (mut world, cut) = isolated();
    world.reach = [true; 2];
    // The arbiter says that A is the owner; nobody has said that it may go on.
    restart(&mut world, 1_000);
    world.run(cut + 3_700 - world.ms);
    assert_eq!(world.on(A), ALL, "the lease is not over");
    world.run(cut + 4_100 - world.ms);
    assert_eq!(world.on(A), []);
}

#[test]
pub fn a_slow_restart_beside_an_engine_that_serves_touches_nothing() {
    for beats in [true, false] {
        let mut world = World::up(group(), Vec::new());
        world.beats = beats;
        world.run(6_000);
        restart(&mut world, 20_000);
        world.run(5_000);
        assert_eq!((world.state(A), world.on(A)), (State::Up, ALL.to_vec()));
        assert_eq!(world.acts_of(A), []);
    }
}

#[test]
pub fn a_sole_member_has_no_lease_to_keep() {
    let mut world = World::up(group(), Vec::new());
    world.host_dies(B);
    world.run(10_000);
    assert_eq!(world.host(A).kept, None);
    world.reach = [false; 2];
    restart(&mut world, 10_000);
    world.run(5_000);
    assert_eq!((world.state(A), world.on(A)), (State::Up, ALL.to_vec()));
}

#[test]
pub fn what_was_kept_is_handed_on_by_a_daemon_that_hears_nothing() {
    let (mut world, cut) = isolated();
    world.run(500);
    let kept = world.host(A).kept.expect("an owner with two members keeps its lease");
    assert!(kept <= at(cut).after(Times::DEFAULT.lease));
    assert!(kept.after(lockstep_engine::units::Span::millis(250)) >= at(cut + 4_000));
    restart(&mut world, 100);
    world.run(100);
    assert_eq!(world.host(A).kept, Some(kept));
    assert_eq!(KeptLease::default().until, None);
}

#[test]
pub fn an_owner_whose_engine_is_dead_for_good_is_taken_over_from() {
    let mut world = World::up(group(), Vec::new());
    world.engine_dies(A);
    world.run_until(30_000, |world| world.state(B) == State::Up);
    assert_eq!((world.on(A), world.owner()), (vec![], Some(B)));
    world.engine_starts(A);
    world.run(5_000);
    assert_eq!(world.hosts[0].engines.role(), Role::Secondary);
    let back = world.ask_group(B, GroupVerb::Move);
    world.run(10_000);
    assert_eq!(world.answer(back), Some(Ok(())));
    assert_eq!((world.state(A), world.state(B)), (State::Up, State::Down));
}

#[test]
pub fn a_dead_engine_is_released_over_restarts_of_the_daemon_too() {
    let mut world = World::up(group(), Vec::new());
    world.engine_dies(A);
    restart(&mut world, 500);
    world.run_until(40_000, |world| world.state(B) == State::Up);
    assert_eq!(world.on(A), []);
}
