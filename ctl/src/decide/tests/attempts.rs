//! Attempts (R4): stored before they are sent, closed by writing, whatever replies are lost.

use super::toy::*;
use crate::decide::arbitration::ArbiterView;
use crate::decide::event::Verb;
use crate::decide::step::{Note, Refused};
use lockstep_engine::units::{Epoch, Members, Role, Version};

#[test]
pub fn a_write_whose_reply_is_lost_is_recognised() {
    let mut world = World::serving(A);
    world.lose_replies = [true, false];
    world.links.up = false;
    world.run(2_000);
    assert_eq!(world.members(), Members::only(A));
    assert_eq!(world.node(A).engine().record.unwrap().members, Members::BOTH);
    world.lose_replies = [false; 2];
    world.run(2_000);
    assert_eq!(world.node(A).engine().record.unwrap().members, Members::only(A));
    assert!(world.notes.iter().any(|(node, note)| {
        *node == A && matches!(note, Note::Won { transition: "shrink", .. })
    }));
    assert!(world.node(A).engine().attempts.is_empty());
}

#[test]
pub fn a_write_that_lands_after_its_sender_restarted_is_closed() {
    let mut world = World::serving(A);
    world.slow = [true, false];
    world.links.up = false;
    world.run(1_900);
    let late = world.requests.iter().position(|request| request.next.is_some()).unwrap();
    let late = world.requests.remove(late);
    world.requests.clear();
    world.daemon_dies(A);
    assert_eq!(world.node(A).engine().attempts.len(), 1);
    world.daemon_starts(A);
    world.links.up = true;
    world.slow = [false; 2];
    world.run(3_000);
    assert!(world.node(A).engine().attempts.is_empty());
    assert_eq!(world.members(), Members::BOTH);
    let before = world.stored().clone();
    world.requests.push(late);
    world.quiesce();
    assert_eq!(*world.stored(), before, "the old request can't land any more");
    assert_eq!(world.role(A), Role::Primary);
}

#[test]
pub fn a_read_of_the_old_version_closes_nothing() {
    let mut world = World::serving(A);
    world.slow = [true, false];
    world.links.up = false;
    world.run(1_900);
    let version = world.stored().version;
    let late = world.requests.iter().position(|request| request.next.is_some()).unwrap();
    let late = world.requests.remove(late);
    world.requests.clear();
    world.daemon_dies(A);
    world.daemon_starts(A);
    world.quiesce();
    world.run(10);
    let read = world.requests.iter().position(|request| request.next.is_none()).unwrap();
    world.apply(read);
    world.quiesce();
    assert!(world.decider(A).view().attempt.is_some());
    assert_eq!(world.node(A).engine().attempts.len(), 1);
    // The late one lands first, then the closing write loses and everybody agrees.
    world.requests.insert(0, late);
    world.slow = [false; 2];
    world.run(1_500);
    assert_eq!(world.members(), Members::only(A));
    assert!(world.stored().version > version);
    assert!(world.node(A).engine().attempts.is_empty());
}

#[test]
pub fn a_restarted_engine_serves_again_after_a_read() {
    let mut world = World::serving(A);
    let version = world.stored().version;
    world.engine_dies(A);
    world.run(300);
    world.engine_starts(A);
    world.run(500);
    assert_eq!((world.role(A), world.stored().version), (Role::Primary, version));
}

#[test]
pub fn a_restarted_engine_with_two_members_waits_for_the_arbiter() {
    let mut world = World::serving(A);
    world.reach = [false; 2];
    world.engine_dies(A);
    world.run(300);
    world.engine_starts(A);
    world.run(5_000);
    assert_eq!(world.role(A), Role::Secondary);
    world.reach = [true; 2];
    world.run(2_000);
    assert_eq!(world.role(A), Role::Primary);
}

#[test]
pub fn a_restarted_engine_that_is_alone_needs_no_arbiter() {
    let mut world = World::serving(A);
    world.links.up = false;
    world.run(4_000);
    assert_eq!(world.members(), Members::only(A));
    world.reach = [false; 2];
    world.engine_dies(A);
    world.daemon_dies(A);
    world.daemon_starts(A);
    world.engine_starts(A);
    world.run(3_000);
    assert_eq!(world.role(A), Role::Primary);
}

#[test]
pub fn an_engine_that_restarts_without_its_peer_goes_on_alone_first() {
    let mut world = World::serving(A);
    world.host_dies(B);
    world.engine_dies(A);
    world.run(200);
    world.engine_starts(A);
    world.run(8_000);
    assert_eq!((world.role(A), world.members()), (Role::Primary, Members::only(A)));
    assert_eq!(world.stored().epoch, Epoch(2), "the epoch is the same");
}

#[test]
pub fn an_engine_that_dies_between_the_write_and_its_news_learns_it() {
    let mut world = World::serving(A);
    world.lose_replies = [true, false];
    world.links.up = false;
    world.run(1_900);
    world.engine_dies(A);
    world.lose_replies = [false; 2];
    world.run(100);
    world.engine_starts(A);
    world.run(3_000);
    assert_eq!(world.node(A).engine().record.unwrap().version, world.stored().version);
    assert_eq!(world.role(A), Role::Primary);
    assert!(world.node(A).engine().attempts.is_empty());
}

#[test]
pub fn a_move_whose_outcome_is_unknown_keeps_the_engine_demoted() {
    let mut world = World::serving(A);
    world.slow = [true, false];
    let request = world.ask(A, Verb::Move);
    world.quiesce();
    for _ in 0..5 {
        while let Some(read) = world.requests.iter().position(|r| r.next.is_none()) {
            world.apply(read);
            world.quiesce();
        }
        world.run(700);
    }
    assert_eq!((world.role(A), world.answer(request)), (Role::Secondary, None));
    assert!(world.notes.iter().any(|(_, note)| matches!(note, Note::Unknown { .. })));
    world.slow = [false; 2];
    world.run(3_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!(world.role(B), Role::Primary);
}

#[test]
pub fn a_stop_that_was_under_way_is_finished_after_a_restart() {
    let mut world = World::serving(A);
    world.reach = [true, true];
    world.ask(A, Verb::Stop);
    world.slow = [true, false];
    world.quiesce();
    for _ in 0..3 {
        while let Some(read) = world.requests.iter().position(|r| r.next.is_none()) {
            world.apply(read);
            world.quiesce();
        }
        world.run(10);
    }
    assert_eq!(world.node(A).engine().attempts.len(), 1);
    world.requests.clear();
    world.daemon_dies(A);
    world.daemon_starts(A);
    world.slow = [false; 2];
    world.run(3_000);
    assert_eq!((world.role(A), world.stored().owner), (Role::Secondary, None));
}

#[test]
pub fn a_rolled_back_arbiter_gets_no_writes() {
    let mut world = World::serving(A);
    let version = world.stored().version;
    world.links.up = false;
    world.run(4_000);
    world.links.up = true;
    world.run(4_000);
    assert_eq!(world.stored().version, Version(version.0 + 2));
    let newest = world.arbiter.clone();
    world.arbiter = Some(world.history[0].clone());
    world.run(15_000);
    assert_eq!(world.decider(A).view().arbiter, ArbiterView::RolledBack);
    assert!(world.notes.contains(&(A, Note::ArbiterRolledBack)));
    let request = world.ask(A, Verb::Stop);
    world.run(1_000);
    assert_eq!(world.answer(request), Some(Err(Refused::ArbiterRolledBack)));
    assert_eq!(world.role(A), Role::Primary, "I/O goes on");
    assert_eq!(world.stored().version, Version(1));
    world.arbiter = newest;
    world.run(15_000);
    assert_eq!(world.decider(A).view().arbiter, ArbiterView::Answers);
}

#[test]
pub fn a_deleted_record_is_a_rollback() {
    let mut world = World::serving(A);
    world.arbiter = None;
    world.run(15_000);
    assert_eq!(world.decider(B).view().arbiter, ArbiterView::RolledBack);
    let create = world.ask(B, Verb::Create { both_blank: false });
    world.run(1_000);
    assert_eq!(world.answer(create), Some(Err(Refused::ArbiterRolledBack)));
}
