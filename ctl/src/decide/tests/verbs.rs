//! Every verb of an operator, to its one reply.

use super::toy::*;
use crate::decide::event::Verb;
use crate::decide::step::{Note, Refused, Waiting};
use lockstep_engine::units::{
    BootId, DiskState, Epoch, Generation, Members, Mirror, Need, Role, Version,
};

const START: Verb = Verb::Start { without_peer: false };

#[test]
pub fn create_writes_the_first_record_and_refuses_a_second() {
    let mut world = World::new();
    world.run(500);
    let refused = world.ask(A, START);
    world.run(500);
    assert_eq!(world.answer(refused), Some(Err(Refused::NoRecord)));
    let first = world.ask(A, Verb::Create { both_blank: true });
    world.run(500);
    assert_eq!(world.answer(first), Some(Ok(())));
    assert_eq!((world.stored().version, world.stored().epoch), (Version(1), Epoch(1)));
    assert_eq!(world.members(), Members::BOTH);
    assert_eq!(world.stored().volumes[0].parent, Generation(0x77));
    let second = world.ask(B, Verb::Create { both_blank: false });
    world.run(500);
    assert_eq!(world.answer(second), Some(Err(Refused::RecordExists)));
    assert!(world.node(A).engine().attempts.is_empty());
}

#[test]
pub fn a_lost_race_to_create_is_refused() {
    let mut world = World::new();
    world.run(500);
    world.slow = [true; 2];
    let one = world.ask(A, Verb::Create { both_blank: false });
    let two = world.ask(B, Verb::Create { both_blank: false });
    world.run(100);
    world.slow = [false; 2];
    world.run(3_000);
    let answers = [world.answer(one), world.answer(two)];
    assert!(answers.contains(&Some(Ok(()))));
    assert!(answers.contains(&Some(Err(Refused::RecordExists))));
}

#[test]
pub fn start_keeps_both_members_while_the_peer_is_connected() {
    let mut world = World::stopped(true);
    let request = world.ask(A, START);
    world.run(500);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!((world.stored().owner, world.stored().epoch), (Some(A), Epoch(2)));
    assert_eq!(world.members(), Members::BOTH);
    let again = world.ask(A, START);
    let other = world.ask(B, START);
    world.run(500);
    assert_eq!(world.answer(again), Some(Err(Refused::AlreadyPrimary)));
    assert_eq!(world.answer(other), Some(Err(Refused::OtherPrimary)));
}

#[test]
pub fn start_waits_until_the_intent_regions_are_equal() {
    let mut world = World::stopped(true);
    world.node(A).engine().reconcile_pending = true;
    let request = world.ask(A, START);
    world.run(20_000);
    assert_eq!(world.answer(request), None);
    assert!(world.waited_for(A, Waiting::Reconcile));
    world.node(A).engine().reconcile_pending = false;
    world.run(500);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!(world.members(), Members::BOTH);
}

#[test]
pub fn start_refuses_a_stale_or_bad_copy() {
    let mut world = World::stopped(false);
    let stale = world.ask(B, START);
    world.run(500);
    assert_eq!(world.answer(stale), Some(Err(Refused::NotMember { solo_since: 5 })));
    world.node(A).engine().disk = DiskState::Inconsistent;
    let bad = world.ask(A, START);
    world.run(500);
    assert_eq!(world.answer(bad), Some(Err(Refused::BadCopy)));
}

#[test]
pub fn start_alone_waits_for_the_boot_grace() {
    let mut world = World::serving(A);
    world.host_dies(B);
    world.host_dies(A);
    world.run(60_000);
    world.host_boots(A);
    let booted = world.ms;
    world.run(100);
    let request = world.ask(A, START);
    while world.answer(request).is_none() && world.ms < booted + 60_000 {
        world.run(50);
    }
    assert_eq!(world.answer(request), Some(Ok(())));
    assert!(world.waited_for(A, Waiting::BootGrace));
    let waited = world.ms - booted;
    assert!((7_250..7_500).contains(&waited), "{waited} ms");
    assert_eq!(world.members(), Members::only(A));
    assert_eq!(world.stored().volumes[0].parent, Generation(0x77));
}

#[test]
pub fn an_operator_may_waive_the_boot_grace() {
    let mut world = World::serving(A);
    world.host_dies(B);
    world.host_dies(A);
    world.host_boots(A);
    world.run(100);
    let request = world.ask(A, Verb::Start { without_peer: true });
    world.run(500);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!(world.role(A), Role::Primary);
}

#[test]
pub fn a_heartbeat_starts_the_boot_grace_again() {
    let mut world = World::serving(A);
    world.host_dies(A);
    world.links.up = false;
    world.host_boots(A);
    world.run(100);
    let request = world.ask(A, START);
    world.run(30_000);
    assert_eq!(world.answer(request), None, "the peer's daemon lives");
    world.beats = false;
    world.run(7_000);
    assert_eq!(world.answer(request), None);
    world.run(600);
    assert_eq!(world.answer(request), Some(Ok(())));
}

#[test]
pub fn a_holder_of_the_mark_starts_alone_without_grace() {
    let mut world = World::serving(A);
    let stop = world.ask(A, Verb::Stop);
    world.run(500);
    assert_eq!(world.answer(stop), Some(Ok(())));
    world.host_dies(A);
    world.run(1_000);
    let request = world.ask(B, START);
    world.run(1_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!((world.role(B), world.members()), (Role::Primary, Members::only(B)));
}

#[test]
pub fn start_goes_alone_beside_a_peer_whose_disk_was_replaced() {
    let mut world = World::serving(A);
    world.host_dies(A);
    world.run(500);
    world.node(A).engine().reconcile_pending = true; // What the crash left is made equal by nobody.
    world.node(B).engine().disk = DiskState::Inconsistent;
    world.node(B).engine().mark = None;
    world.host_boots(A);
    world.run(3_000);
    let request = world.ask(A, START);
    world.run(1_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!(world.role(A), Role::Primary);
    assert!(world.history.iter().any(|record| record.is_alone(A)));
}

#[test]
pub fn whoever_says_that_the_peer_serves_nothing_does_not_wait_for_a_start_that_does() {
    let mut world = World::stopped(true);
    world.node(B).engine().disk = DiskState::Failed;
    world.node(A).engine().reconcile_pending = true;
    let plain = world.ask(A, START);
    world.run(20_000);
    assert_eq!(world.answer(plain), None);
    assert!(world.waited_for(A, Waiting::Reconcile));
    let told = world.ask(A, Verb::Start { without_peer: true });
    world.run(1_000);
    assert_eq!(world.answer(plain), Some(Err(Refused::Busy)));
    assert_eq!(world.answer(told), Some(Ok(())));
    assert_eq!(world.role(A), Role::Primary);
}

#[test]
pub fn stop_leaves_nobody_primary() {
    let mut world = World::serving(A);
    let elsewhere = world.ask(B, Verb::Stop);
    let request = world.ask(A, Verb::Stop);
    world.run(1_000);
    assert_eq!(world.answer(elsewhere), Some(Err(Refused::NotPrimary)));
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!((world.role(A), world.stored().owner), (Role::Secondary, None));
    assert_eq!(world.members(), Members::BOTH);
    world.run(30_000);
    assert_eq!(world.role(A), Role::Secondary, "nothing starts by itself");
}

#[test]
pub fn move_hands_over_and_back() {
    let mut world = World::serving(A);
    for (from, to) in [(A, B), (B, A), (A, B)] {
        let epoch = world.stored().epoch;
        let request = world.ask(from, Verb::Move);
        world.run(1_500);
        assert_eq!(world.answer(request), Some(Ok(())));
        assert_eq!((world.role(from), world.role(to)), (Role::Secondary, Role::Primary));
        assert_eq!(world.stored().epoch, Epoch(epoch.0 + 1));
        assert_eq!(world.members(), Members::BOTH);
    }
}

#[test]
pub fn move_is_refused_while_the_copies_differ() {
    let mut world = World::serving(A);
    world.links.up = false;
    world.run(4_000);
    assert_eq!(world.members(), Members::only(A));
    let request = world.ask(A, Verb::Move);
    world.run(500);
    assert_eq!(world.answer(request), Some(Err(Refused::NotInSync)));
    assert_eq!(world.role(A), Role::Primary);
    assert_eq!(world.node(A).engine().mirror, Mirror::Idle);
}

#[test]
pub fn a_move_that_the_peer_cannot_accept_comes_back() {
    let mut world = World::serving(A);
    world.node(B).refuse_promote = Some("bad-disk");
    let request = world.ask(A, Verb::Move);
    world.run(5_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!((world.role(A), world.stored().owner), (Role::Primary, Some(A)));
    assert_eq!(world.stored().writer, B);
}

#[test]
pub fn a_move_without_arbiter_leaves_the_primary_serving() {
    let mut world = World::serving(A);
    world.reach = [false; 2];
    let request = world.ask(A, Verb::Move);
    world.run(30_000);
    assert_eq!(world.answer(request), Some(Err(Refused::ArbiterAway)));
    assert_eq!(world.role(A), Role::Primary);
}

#[test]
pub fn a_second_request_is_refused_while_one_is_under_way() {
    let mut world = World::serving(A);
    world.reach = [false; 2];
    world.ask(A, Verb::Stop);
    let second = world.ask(A, Verb::Move);
    world.run(100);
    assert_eq!(world.answer(second), Some(Err(Refused::Busy)));
}

#[test]
pub fn a_request_without_an_engine_is_refused() {
    let mut world = World::serving(A);
    world.engine_dies(A);
    world.run(100);
    let request = world.ask(A, Verb::Stop);
    world.run(100);
    assert_eq!(world.answer(request), Some(Err(Refused::EngineAway)));
}

#[test]
pub fn force_makes_a_stale_copy_the_truth_through_the_arbiter() {
    let mut world = World::serving(A);
    world.links.up = false;
    world.run(5_000);
    world.host_dies(A);
    world.run(10_000);
    let refused = world.ask(B, Verb::Takeover);
    world.run(500);
    assert!(matches!(world.answer(refused), Some(Err(Refused::NotMember { .. }))));
    let request = world.ask(B, Verb::ForcePromote);
    world.run(1_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert!(world.stored().forced);
    assert_eq!((world.role(B), world.members()), (Role::Primary, Members::only(B)));
    world.host_boots(A);
    world.run(20_000);
    assert_eq!(world.role(A), Role::Secondary);
}

#[test]
pub fn force_without_an_arbiter_serves_and_is_written_down_later() {
    let mut world = World::serving(A);
    world.host_dies(A);
    world.reach = [false; 2];
    world.run(10_000);
    let request = world.ask(B, Verb::ForcePromote);
    world.run(10_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!(world.role(B), Role::Primary);
    assert!(!world.stored().forced);
    world.reach = [true; 2];
    world.run(3_000);
    assert!(world.stored().forced);
    assert_eq!(world.decider(B).view().attempt, None);
}

#[test]
pub fn force_survives_a_restart_of_the_daemon_before_the_arbiter_is_back() {
    let mut world = World::serving(A);
    world.host_dies(A);
    world.reach = [false; 2];
    world.run(10_000);
    world.ask(B, Verb::ForcePromote);
    world.run(10_000);
    world.daemon_dies(B);
    world.daemon_starts(B);
    world.run(3_000);
    world.reach = [true; 2];
    world.run(15_000);
    assert!(world.stored().forced);
    assert_eq!(world.role(B), Role::Primary);
}

#[test]
pub fn a_released_group_is_taken_over_at_once() {
    let mut world = World::serving(A);
    let request = world.ask(A, Verb::Release);
    world.run(500);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!(world.role(A), Role::Secondary);
    world.run(1_000);
    let takeover = world.ask(B, Verb::Takeover);
    world.run(500);
    assert_eq!(world.answer(takeover), Some(Ok(())));
    assert_eq!(world.role(B), Role::Primary);
    world.run(5_000);
    assert_eq!(world.decider(A).view().released, None);
    assert_eq!(world.members(), Members::BOTH, "it grows again");
}

#[test]
pub fn a_release_outlives_a_restart_of_the_daemon() {
    let mut world = World::serving(A);
    world.reach = [false, true];
    world.ask(A, Verb::Release);
    world.run(500);
    world.daemon_dies(A);
    world.daemon_starts(A);
    world.run(5_000);
    assert_eq!(world.role(A), Role::Secondary);
    world.reach = [true; 2];
    world.run(5_000);
    assert_eq!(world.stored().owner, None, "what is left of it is a stop");
}

#[test]
pub fn a_release_can_be_taken_back_by_starting_here() {
    let mut world = World::serving(A);
    world.ask(A, Verb::Release);
    world.run(1_000);
    let request = world.ask(A, START);
    world.run(3_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!((world.role(A), world.stored().owner), (Role::Primary, Some(A)));
    assert_eq!(world.decider(A).view().released, None);
}

#[test]
pub fn a_failed_disk_is_handed_over() {
    let mut world = World::serving(A);
    world.auto = true;
    world.daemon_starts(B);
    world.run(1_000);
    world.node(A).engine().need = Some(Need::HandOver);
    world.node(A).engine().disk = DiskState::Failed;
    world.run(2_000);
    assert_eq!((world.role(A), world.role(B)), (Role::Secondary, Role::Primary));
}

#[test]
pub fn an_owner_that_rebooted_does_not_resume_and_lets_the_peer_take_over() {
    let mut world = World::serving(A);
    world.host_dies(A);
    world.run(500);
    world.host_boots(A);
    world.run(3_000);
    assert_eq!(world.role(A), Role::Secondary);
    assert_eq!(world.decider(A).view().released, Some(world.stored().version));
    let request = world.ask(B, Verb::Takeover);
    world.run(1_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!(world.role(B), Role::Primary);
    assert!(!world.notes.contains(&(A, Note::ArbiterRolledBack)));
}

#[test]
pub fn an_owner_that_rebooted_is_started_by_its_operator() {
    let mut world = World::serving(A);
    world.host_dies(A);
    world.run(500);
    world.host_boots(A);
    world.run(3_000);
    let request = world.ask(A, START);
    world.run(1_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!((world.role(A), world.members()), (Role::Primary, Members::BOTH));
    assert_ne!(world.node(A).engine().primary_boot, BootId::NONE);
}

#[test]
pub fn move_demotes_before_it_writes() {
    let mut world = World::serving(A);
    world.slow = [true, false];
    world.ask(A, Verb::Move);
    for _ in 0..50 {
        if world.requests.iter().any(|request| request.next.is_some()) {
            break;
        }
        while let Some(read) = world.requests.iter().position(|r| r.next.is_none()) {
            world.apply(read);
        }
        world.run(10);
    }
    assert_eq!(world.role(A), Role::Secondary);
}

#[test]
pub fn a_released_group_can_be_stopped() {
    let mut world = World::serving(A);
    world.ask(A, Verb::Release);
    world.run(1_000);
    let again = world.ask(A, Verb::Release);
    world.run(100);
    let moved = world.ask(A, Verb::Move);
    world.run(500);
    let stop = world.ask(A, Verb::Stop);
    world.run(500);
    assert_eq!(world.answer(again), Some(Ok(())));
    assert_eq!(world.answer(moved), Some(Err(Refused::NotPrimary)));
    assert_eq!(world.answer(stop), Some(Ok(())));
    assert_eq!((world.stored().owner, world.decider(A).view().released), (None, None));
}
