//! Two volumes whose engines and links fail independently.

use super::engines::with_volumes;
use super::toy::*;
use crate::decide::event::Verb;
use crate::decide::record::Record;
use lockstep_engine::units::{DiskState, Members, Need, Role};

fn two(story: fn()) {
    with_volumes(2, story);
}

fn members(record: &Record) -> [Members; 2] {
    [record.volumes[0].members, record.volumes[1].members]
}

fn roles(world: &World, node: lockstep_engine::units::NodeId) -> [Role; 2] {
    [0, 1].map(|index| world.nodes[slot(node)].engines.all[index].status.role)
}

#[test]
fn one_dead_link_shrinks_one_volume_and_no_lease_is_needed_then() {
    two(|| {
        let mut world = World::serving(A);
        world.links.cut[1] = true;
        world.run(4_000);
        assert_eq!(members(world.stored()), [Members::BOTH, Members::only(A)]);
        // The peer is out of one volume: it can't win, whatever it still holds of the other.
        world.links.up = false;
        world.beats = false;
        world.reach = [false; 2];
        world.run(20_000);
        assert_eq!(world.role(A), Role::Primary, "{:?}", world.notes);
        world.reach = [false, true];
        let takeover = world.ask(B, Verb::Takeover);
        world.run(20_000);
        assert!(matches!(world.answer(takeover), Some(Err(_))));
        world.links.heal();
        world.beats = true;
        world.reach = [true; 2];
        world.run(10_000);
        assert_eq!(members(world.stored()), [Members::BOTH; 2]);
    });
}

#[test]
fn nothing_is_promoted_before_every_engine_may() {
    two(|| {
        let mut world = World::stopped(true);
        world.node(A).engines.all[1].status.disk = DiskState::Inconsistent;
        let start = world.ask(A, Verb::Start { without_peer: false });
        world.run(3_000);
        assert!(matches!(world.answer(start), Some(Err(_))));
        assert_eq!(roles(&world, A), [Role::Secondary; 2]);
    });
}

#[test]
fn one_engine_that_restarts_serves_again_beside_the_other() {
    two(|| {
        let mut world = World::serving(A);
        let version = world.stored().version;
        world.one_dies(A, 1);
        world.run(300);
        assert_eq!(roles(&world, A), [Role::Primary, Role::Secondary]);
        world.engine_starts(A);
        world.run(1_000);
        assert_eq!((world.role(A), world.stored().version), (Role::Primary, version));
    });
}

#[test]
fn one_that_refuses_brings_the_others_to_rest() {
    two(|| {
        let mut world = World::stopped(true);
        world.node(A).refuse_promote = Some("bad-disk");
        let start = world.ask(A, Verb::Start { without_peer: false });
        world.run(5_000);
        assert!(matches!(world.answer(start), Some(Err(_))), "{:?}", world.notes);
        assert_eq!(roles(&world, A), [Role::Secondary; 2]);
    });
}

#[test]
fn a_disk_that_failed_hands_the_whole_group_over() {
    two(|| {
        let mut world = World::serving(A);
        world.auto = true;
        world.daemon_dies(B);
        world.daemon_starts(B);
        world.run(2_000);
        let status = &mut world.node(A).engines.all[1].status;
        status.need = Some(Need::HandOver);
        status.disk = DiskState::Failed;
        world.run(10_000);
        assert_eq!((world.role(A), world.role(B)), (Role::Secondary, Role::Primary));
    });
}

#[test]
fn an_attempt_that_one_engine_alone_has_is_closed_after_a_restart() {
    two(|| {
        let mut world = World::serving(A);
        world.slow = [true, false];
        world.links.cut[1] = true;
        world.run(1_900);
        world.requests.clear();
        world.daemon_dies(A);
        assert_eq!(world.node(A).engines.all[0].status.attempts.len(), 1);
        // As if the daemon had died before the second engine had it.
        world.node(A).engines.all[1].status.attempts.clear();
        let version = world.stored().version;
        world.daemon_starts(A);
        world.links.heal();
        world.slow = [false; 2];
        world.run(5_000);
        assert_eq!(members(world.stored()), [Members::BOTH; 2]);
        assert!(world.stored().version > version);
        assert!(world.nodes[0].engines.all.iter().all(|toy| toy.status.attempts.is_empty()));
        assert_eq!(world.role(A), Role::Primary);
    });
}

#[test]
fn parts_of_two_versions_are_no_record_until_a_read() {
    two(|| {
        let mut world = World::serving(A);
        world.links.up = false;
        world.run(4_000);
        assert_eq!(members(world.stored()), [Members::only(A); 2]);
        // The daemon died between telling one engine and the other.
        let behind = world.history[world.history.len() - 2].clone();
        let status = &mut world.node(A).engines.all[1].status;
        status.record = behind.for_volume(status.volume);
        world.engine_dies(A);
        world.daemon_dies(A);
        world.reach = [false; 2];
        world.daemon_starts(A);
        world.engine_starts(A);
        world.run(5_000);
        assert_eq!(roles(&world, A), [Role::Secondary; 2], "nobody knows all of the record");
        world.reach = [true; 2];
        world.run(5_000);
        assert_eq!(world.role(A), Role::Primary);
    });
}

#[test]
fn a_move_passes_both_volumes_on_together() {
    two(|| {
        let mut world = World::serving(A);
        let moved = world.ask(A, Verb::Move);
        world.run(5_000);
        assert_eq!(world.answer(moved), Some(Ok(())));
        assert_eq!(
            (roles(&world, A), roles(&world, B)),
            ([Role::Secondary; 2], [Role::Primary; 2])
        );
        assert_eq!(members(world.stored()), [Members::BOTH; 2]);
    });
}
