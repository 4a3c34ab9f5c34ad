//! Several groups in one node: each event and each step belongs to one of them.

use super::world::{A, at, group};
use crate::decide::arbitration;
use crate::decide::event::{self, PeerBeat, ReadResult, StepId};
use crate::decide::group::{Engines, Outcome, State, TABLE};
use crate::decide::keeper::seat_of;
use crate::decide::node::{Event, Memory, Node, PeerState, Settings, Step};
use crate::decide::record::Record;
use crate::decide::settings::{GroupIndex, ResourceKind};
use crate::decide::step;
use crate::decide::tests::toy::{CLUSTER, blank};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{
    BootId, Epoch, Generation, GroupId, Members, Nonce, Role, Status, Version, VolumeId,
    VolumeRecord,
};

fn node(groups: u64) -> Node {
    node_of(groups, |index| vec![VolumeId(u128::from(10 + index))])
}

fn node_of(groups: u64, volumes: impl Fn(u64) -> Vec<VolumeId>) -> Node {
    let part = |index: u64| {
        let mut settings = group();
        let volume = VolumeId(u128::from(10 + index));
        let volumes = volumes(index);
        settings.id = GroupId(u128::from(20 + index));
        settings.name = format!("group-{index}");
        settings.volumes = volumes.clone();
        settings.resources[0].kind = ResourceKind::Mirror(volume);
        let arbitration = arbitration::Settings {
            node: A,
            cluster: CLUSTER,
            group: settings.id,
            volumes,
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
fn a_group_of_two_volumes_and_one_of_none_stand_beside_each_other() {
    let both = vec![VolumeId(10), VolumeId(12)];
    let mut node = node_of(2, |index| if index == 0 { both.clone() } else { Vec::new() });
    let (first, second) = (GroupIndex(0), GroupIndex(1));
    let now = at(1_100);
    let seat = seat_of(GroupId(21));
    for (group, volume) in [(first, both[0]), (first, both[1]), (second, seat)] {
        let status = Status { volume, boot: BootId(11), ..blank(A) };
        let event = event::Event::Engine(Box::new(status));
        node.handle(Event::Arbitration { group, event }, 0, now);
    }
    let beat = PeerBeat { boot: BootId(12), released: None, version: None };
    let state = PeerState { groups: Vec::new(), ..PeerState::default() };
    node.handle(Event::Peer { state, beats: vec![beat.clone(), beat] }, 0, now);
    let mut commands = Vec::new();
    for _ in 0..100 {
        let Some(step) = node.poll_step() else { break };
        let Step::Arbitration { group, step } = step else { continue };
        match step {
            step::Step::Read { id } => {
                let event = event::Event::ArbiterRead { id, result: ReadResult::Absent };
                node.handle(Event::Arbitration { group, event }, 0, now);
            }
            step::Step::Engine { volume, .. } => commands.push((group, volume)),
            _ => {}
        }
    }
    // Its first record makes itself; the other's is an operator's.
    assert!(
        !commands.is_empty() && commands.iter().all(|of| *of == (second, seat)),
        "{commands:?}"
    );
    let gone = event::Event::EngineGone { volume: both[1] };
    node.handle(Event::Arbitration { group: first, event: gone }, 0, now);
    let engines = |group| node.around_of(group, now).unwrap().engines;
    assert_eq!((engines(first), engines(second)), (Engines::Quiet, Engines::Quiet));
    assert!(node.around_of(first, now).unwrap().silent);
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
