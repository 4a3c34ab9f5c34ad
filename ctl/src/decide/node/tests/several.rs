//! Several groups in one node: each event and each step belongs to one of them.

use super::world::{A, at, group};
use crate::decide::arbitration;
use crate::decide::event::{self, ReadResult, StepId};
use crate::decide::group::{Outcome, State, TABLE};
use crate::decide::node::{Event, Memory, Node, Settings, Step};
use crate::decide::record::Record;
use crate::decide::settings::{GroupIndex, ResourceKind};
use crate::decide::step;
use crate::decide::tests::toy::{CLUSTER, blank};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{
    BootId, Epoch, Generation, GroupId, Members, Nonce, Role, Version, VolumeId, VolumeRecord,
};

fn node(groups: u64) -> Node {
    let part = |index: u64| {
        let mut settings = group();
        let volume = VolumeId(u128::from(10 + index));
        settings.id = GroupId(u128::from(20 + index));
        settings.name = format!("group-{index}");
        settings.volumes = vec![volume];
        settings.resources[0].kind = ResourceKind::Mirror(volume);
        let arbitration = arbitration::Settings {
            node: A,
            cluster: CLUSTER,
            group: settings.id,
            volumes: vec![volume],
            boot: BootId(11),
            times: Times::DEFAULT,
            entropy: [u8::try_from(index).unwrap(); 32],
            heartbeats_from: at(1_000),
            auto_takeover: false,
        };
        (settings, arbitration)
    };
    let settings = Settings {
        node: A,
        boot: BootId(11),
        times: Times::DEFAULT,
        heartbeats_from: at(1_000),
        groups: (0..groups).map(part).collect(),
        monitors: Vec::new(),
        observe_only: false,
        memory: Memory::default(),
        kept: Vec::new(),
    };
    Node::new(settings, at(1_000))
}

fn record(group: u128, volume: u128) -> Record {
    let seen = VolumeRecord {
        version: Version(4),
        epoch: Epoch(2),
        members: Members::only(A),
        primary: Some(A),
        generation: Generation(0x77),
        parent: Generation::NONE,
        nonce: Nonce(0x99),
        writer: A,
        since: 5,
        forced: false,
    };
    Record::of_volume(CLUSTER, GroupId(group), VolumeId(volume), &seen)
}

#[test]
fn what_is_said_of_one_group_moves_that_group_alone() {
    let mut node = node(2);
    let mut reads: Vec<(GroupIndex, StepId)> = Vec::new();
    let mut checks: Vec<(GroupIndex, StepId)> = Vec::new();
    while let Some(step) = node.poll_step() {
        match step {
            Step::Arbitration { group, step: step::Step::Read { id } } => reads.push((group, id)),
            Step::Resource { group, id, .. } => checks.push((group, id)),
            _ => {}
        }
    }
    assert_eq!(reads.iter().map(|(group, _)| group.0).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(checks.iter().map(|(group, _)| group.0).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1]);
    let now = at(1_100);
    for (group, id) in checks {
        node.handle(Event::Resource { group, id, outcome: Outcome::Off }, 0, now);
    }
    let second = GroupIndex(1);
    let mut status = blank(A);
    status.volume = VolumeId(11);
    status.boot = BootId(11);
    status.primary_boot = BootId(11);
    status.role = Role::Primary;
    status.record = record(21, 11).for_volume(VolumeId(11));
    let event = event::Event::Engine(Box::new(status));
    node.handle(Event::Arbitration { group: second, event }, 0, now);
    let result = ReadResult::Found(record(21, 11));
    let event = event::Event::ArbiterRead { id: reads[1].1, result };
    node.handle(Event::Arbitration { group: second, event }, 0, now);
    assert_eq!(node.group(GroupIndex(0)).unwrap().state(), State::Down);
    assert_eq!(node.group(second).unwrap().state(), State::Rising);
    while let Some(step) = node.poll_step() {
        if let Step::Resource { group, .. } = step {
            assert_eq!(group, second);
        }
    }
    assert!(node.deadline().is_some());
}

#[test]
fn every_state_is_left_by_the_table_alone() {
    for (state, next) in TABLE {
        assert_eq!(TABLE.iter().filter(|(from, _)| *from == state).count(), 1);
        assert!(!next.is_empty() && !next.contains(&state), "{state:?}");
        // Whatever is online can be lost at any moment.
        assert!(!state.is_online() || state.may_become(State::Fencing), "{state:?}");
        // Nothing comes up but from rest, and nothing is passed on but from rest or a fall.
        let rises = state.may_become(State::Rising) && !state.is_online();
        assert!(!rises || matches!(state, State::Down | State::Asking), "{state:?}");
        let passes = state.may_become(State::Passing);
        assert!(!passes || matches!(state, State::Down | State::Falling), "{state:?}");
    }
}
