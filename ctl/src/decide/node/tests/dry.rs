//! Dry runs: what a verb would do is what it then does; what a lost node would mean is what comes.

use super::world::*;
use crate::decide::group::{self, Act, GroupVerb};
use crate::decide::node::{ClusterVerb, Plan, PlanStep, Refused, Sentence, Verb};
use crate::decide::settings::{MonitorIndex, ResourceIndex};
use crate::decide::step;
use lockstep_engine::units::NodeId;

fn up() -> World {
    World::up(group(), Vec::new())
}

fn would(world: &World, node: NodeId, verb: Verb) -> Plan {
    world.node(node).would(verb, world.now())
}

fn effects(plan: &Plan, wanted: NodeId) -> Vec<(Act, ResourceIndex)> {
    let effect = |step: &PlanStep| match step {
        PlanStep::Resource { node, resource, act, .. } if *node == wanted => {
            Some((*act, *resource))
        }
        _ => None,
    };
    plan.steps.iter().filter_map(effect).collect()
}

fn what_if(world: &World, at: NodeId, down: NodeId) -> (bool, Vec<Sentence>) {
    let found = world.node(at).what_if_node_down(down, world.now()).remove(0);
    for sentence in &found.because {
        assert!(!sentence.told(down).is_empty());
    }
    (found.survives, found.because)
}

#[test]
fn a_plan_of_a_move_is_what_the_move_does() {
    let mut world = up();
    let plan = would(&world, A, Verb::Group(G, GroupVerb::Move));
    assert_eq!(plan.refused, None);
    let (off, on) = (effects(&plan, A), effects(&plan, B));
    assert_eq!(off, [(Act::Stop, APP), (Act::Stop, VIP), (Act::Stop, FS)]);
    assert!(plan.steps.contains(&PlanStep::Record { group: G, transition: "move" }));
    assert_eq!((world.acts_of(A), world.state(A)), (vec![], group::State::Up), "nothing was done");
    world.ask_group(A, GroupVerb::Move);
    world.run(3_000);
    let mut done = world.acts_of(A);
    done.sort();
    let mut off = off;
    off.sort();
    assert_eq!(done, off);
    assert_eq!(world.acts_of(B), on);
}

#[test]
fn a_plan_says_why_it_would_be_refused() {
    let world = up();
    let plan = would(&world, B, Verb::Group(G, GroupVerb::Move));
    let why = Refused::Group(group::Refused::NotHere { owner: Some(A) });
    assert_eq!((plan.refused, plan.steps.len()), (Some(why), 0));
    let resume = would(&world, A, Verb::Cluster(ClusterVerb::Resume));
    assert_eq!(resume.refused, Some(Refused::Already));
    let none = would(&world, A, Verb::Monitor(MonitorIndex(7), super::super::MonitorVerb::Resume));
    assert_eq!(none.refused, Some(Refused::NoMonitor));
}

#[test]
fn a_plan_of_a_cluster_stop_hands_over() {
    let world = up();
    let plan = would(&world, A, Verb::Cluster(ClusterVerb::Stop { hand_over: true }));
    assert_eq!(plan.steps[0], PlanStep::TakesPart(false));
    assert_eq!((effects(&plan, A).len(), effects(&plan, B).len()), (3, 3));
    let plan = would(&world, A, Verb::Cluster(ClusterVerb::Stop { hand_over: false }));
    assert_eq!((effects(&plan, A).len(), effects(&plan, B).len()), (3, 0));
}

#[test]
fn both_nodes_agree_that_it_is_safe_to_lose_either() {
    let mut world = up();
    for at in [A, B] {
        let (survives, because) = what_if(&world, at, A);
        assert!(survives, "{because:?}");
        assert!(matches!(because[..], [Sentence::TakesOverAfter(_)]), "{because:?}");
        let (survives, because) = what_if(&world, at, B);
        assert!(survives && because[0] == Sentence::RunsOnSurvivor(A), "{because:?}");
    }
    world.host_dies(A);
    world.run(10_000);
    assert_eq!(world.state(B), group::State::Up, "and so it was");
}

#[test]
fn reasons_against_a_failover_are_all_named() {
    let mut settings = group();
    settings.failover_auto = false;
    let mut world = World::up(settings, Vec::new());
    world.ask(B, Verb::Cluster(ClusterVerb::Suspend));
    world.run(1_000);
    for at in [A, B] {
        let (survives, because) = what_if(&world, at, A);
        let wanted = [Sentence::FailoverIsManual, Sentence::SurvivorTakesNoPart];
        assert_eq!((survives, &because[..]), (false, &wanted[..]), "{at}");
    }
    world.host_dies(B);
    world.run(10_000);
    let (survives, because) = what_if(&world, A, A);
    assert!(!survives && because.contains(&Sentence::SurvivorUnknown));
    let (survives, because) = what_if(&world, A, B);
    assert_eq!((survives, because.last()), (true, Some(&Sentence::AloneAlready)));
}

#[test]
fn what_is_safe_follows_from_what_if_and_names_what_stands_against_it() {
    let against = |world: &World, at: NodeId| {
        let safety = world.node(at).safety(G, world.now());
        for down in [A, B] {
            let found = world.node(at).what_if_node_down(down, world.now()).remove(0);
            let named = safety.against.iter().filter(|(lost, _)| *lost == down).count();
            assert_eq!(found.against.len(), named, "{at} {down}");
            assert!(found.survives == found.against.is_empty() || safety.manual, "{found:?}");
            for (lost, why) in &safety.against {
                assert!(why.next(*lost).is_some(), "{why:?} has no next move");
            }
        }
        safety.against
    };
    let mut world = up();
    for at in [A, B] {
        assert_eq!(against(&world, at), [], "{at}");
    }
    world.daemon_dies(B);
    world.run(6_000);
    assert_eq!(against(&world, A), [(A, Sentence::SurvivorUnknown)]);
    world.daemon_starts(B);
    world.run(3_000);
    assert_eq!(against(&world, A), []);
    // The owner would hold its writes for ever: nobody asks for the record to be shrunk.
    world.daemon_dies(A);
    world.run(6_000);
    assert!(against(&world, B).contains(&(B, Sentence::SurvivorUnknown)));
    let mut world = up();
    world.ask(B, Verb::Cluster(ClusterVerb::Suspend));
    world.run(1_000);
    for at in [A, B] {
        assert_eq!(against(&world, at), [(A, Sentence::SurvivorTakesNoPart)], "{at}");
    }
    world.links.up = false;
    world.host(B).engine().mark = None;
    world.run(500);
    let mark = (A, Sentence::Copy(step::Refused::NoMark));
    assert!(against(&world, B).contains(&mark), "{:?}", against(&world, B));
    let mut settings = group();
    settings.failover_auto = false;
    let world = World::up(settings, Vec::new());
    assert_eq!((against(&world, A), against(&world, B)), (vec![], vec![]), "on request it goes on");
    assert!(world.node(A).safety(G, world.now()).manual);
}

#[test]
fn without_the_arbiter_nothing_can_be_decided() {
    let mut world = up();
    world.reach = [false; 2];
    world.run(30_000);
    for down in [A, B] {
        let (survives, because) = what_if(&world, B, down);
        assert!(!survives && because.contains(&Sentence::ArbiterAway));
    }
}

#[test]
fn a_view_is_json() {
    let world = up();
    let view = serde_json::to_value(world.node(A).view(world.now())).unwrap();
    assert_eq!(view["groups"][0]["group"]["state"], "up");
    assert_eq!(view["peer"]["healthy"], true);
}
