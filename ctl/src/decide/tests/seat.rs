//! A group without volumes: its seat, its lease by heartbeats, its first record.

use super::engines::{record_of, with_volumes};
use super::toy::*;
use crate::decide::event::Verb;
use crate::decide::step::Refused;
use lockstep_engine::units::{Members, Role};

fn seat(story: fn()) {
    with_volumes(0, story);
}

#[test]
fn the_first_record_is_made_when_both_have_met_and_know_of_none() {
    seat(|| {
        let mut world = World::new();
        world.beats = false;
        world.run(10_000);
        assert!(world.arbiter.is_none(), "nobody makes one alone");
        world.beats = true;
        world.run(2_000);
        assert_eq!((world.members(), world.stored().owner), (Members::BOTH, None));
        assert_eq!(world.history.len(), 1);
    });
}

#[test]
fn a_store_that_was_emptied_gets_no_first_record() {
    seat(|| {
        let mut world = World::serving(A);
        world.arbiter = None;
        for node in [A, B] {
            world.daemon_dies(node);
            world.daemon_starts(node);
        }
        world.run(30_000);
        assert!(world.arbiter.is_none());
        assert!(world.role(A) == Role::Secondary || world.role(B) == Role::Secondary);
    });
}

#[test]
fn an_owner_whose_peer_dies_goes_on_alone_and_grows_when_it_is_back() {
    seat(|| {
        let mut world = World::serving(A);
        world.host_dies(B);
        for _ in 0..100 {
            world.run(100);
            assert_eq!(world.role(A), Role::Primary, "{:?}", world.notes);
        }
        assert_eq!(world.members(), Members::only(A));
        world.reach = [false; 2];
        world.run(60_000);
        assert_eq!(world.role(A), Role::Primary, "alone it needs neither peer nor arbiter");
        world.reach = [true; 2];
        world.host_boots(B);
        world.run(4_000);
        assert_eq!(world.members(), Members::only(A), "not before it has answered for a while");
        world.run(6_000);
        assert_eq!(world.members(), Members::BOTH);
    });
}

#[test]
fn a_dead_owner_is_replaced_and_one_that_is_cut_off_stops_first() {
    seat(|| {
        for power in [true, false] {
            let mut world = World::serving(A);
            world.auto = true;
            world.daemon_dies(B);
            world.daemon_starts(B);
            world.run(7_000);
            let cut = world.ms;
            if power {
                world.host_dies(A);
            } else {
                world.beats = false;
                world.reach = [false, true];
            }
            let mut stopped = None;
            while world.role(B) != Role::Primary {
                world.run(50);
                stopped = stopped.or((world.role(A) == Role::Secondary).then_some(world.ms));
                assert!(world.ms < cut + 7_000, "{:?}", world.notes);
            }
            assert!(stopped.is_some_and(|at| at + 1_000 <= world.ms), "{stopped:?} {}", world.ms);
            assert_eq!(world.members(), Members::only(B));
        }
    });
}

#[test]
fn an_owner_that_rebooted_does_not_resume_and_lets_the_peer_have_it() {
    seat(|| {
        let mut world = World::serving(A);
        world.host_dies(A);
        world.host_boots(A);
        world.run(1_500);
        assert_eq!(world.role(A), Role::Secondary);
        assert!(world.decider(A).beat().released.is_some());
    });
}

#[test]
fn a_restarted_daemon_finds_it_serving_while_the_lease_lasts() {
    seat(|| {
        let mut world = World::serving(A);
        world.daemon_dies(A);
        world.run(1_000);
        world.daemon_starts(A);
        world.run(5_000);
        assert_eq!(world.role(A), Role::Primary, "{:?}", world.notes);
        // Longer than anybody has promised anything for.
        world.beats = false;
        world.reach = [false; 2];
        world.daemon_dies(A);
        world.run(4_500);
        world.daemon_starts(A);
        world.run(10);
        assert_eq!(world.role(A), Role::Secondary, "{:?}", world.notes);
    });
}

#[test]
fn an_operators_word_is_enough_when_nothing_was_heard() {
    seat(|| {
        let mut world = World::serving(A);
        world.host_dies(B);
        world.run(5_000);
        world.host_dies(A);
        world.host_boots(B);
        world.run(10_000);
        let takeover = world.ask(B, Verb::Takeover);
        world.run(1_000);
        assert!(matches!(world.answer(takeover), Some(Err(Refused::NotMember { .. }))));
        let start = world.ask(B, Verb::Start { without_peer: true });
        world.run(2_000);
        assert_eq!(world.answer(start), Some(Ok(())));
        assert_eq!((world.role(B), world.members()), (Role::Primary, Members::only(B)));
        world.host_boots(A);
        world.run(20_000);
        assert_eq!((world.role(A), world.members()), (Role::Secondary, Members::BOTH));
    });
}

#[test]
fn the_seat_is_an_entry_like_any_other() {
    seat(|| {
        let world = World::serving(B);
        let record = world.stored();
        assert_eq!(record.volumes.len(), 1);
        let part = record.for_volume(record.volumes[0].volume).unwrap();
        assert_eq!(record_of(&part), *record);
    });
}
