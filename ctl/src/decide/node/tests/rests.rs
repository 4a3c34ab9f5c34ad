//! A change of the configuration takes down what it changes, and nothing else.

use super::world::*;
use crate::decide::group::{Act, State};
use crate::decide::node::Event;
use crate::decide::settings::{FinalAction, ResourceIndex};
use lockstep_engine::units::NodeId;

fn rest(world: &mut World, node: NodeId, resources: &[ResourceIndex]) {
    let resources = resources.iter().map(|index| (G, *index)).collect();
    world.host(node).inbox.push_back(Event::Rest { resources });
    world.run(3_000);
}

fn up() -> World {
    let mut world = World::up(group(), Vec::new());
    assert!(world.node(A).may_be_replaced());
    world.acts.clear();
    world
}

#[test]
fn what_rests_is_down_with_what_needs_it_until_the_next_daemon() {
    let mut world = up();
    rest(&mut world, A, &[FS]);
    assert_eq!((world.owner(), world.state(A)), (Some(A), State::Up));
    assert!(world.node(A).may_be_replaced());
    assert!(!world.on(A).contains(&FS) && !world.on(A).contains(&APP));
    assert!(world.acts_of(A).iter().all(|(act, _)| *act == Act::Stop), "{:?}", world.acts);
    // The next daemon remembers nothing of it: it brings up what is wanted.
    world.acts.clear();
    world.daemon_dies(A);
    world.daemon_starts(A);
    world.run(3_000);
    assert_eq!((world.on(A), world.state(A)), (ALL.to_vec(), State::Up));
    assert!(world.acts_of(A).iter().all(|(act, _)| *act == Act::Start), "{:?}", world.acts);
    assert_eq!(world.on(B), []);
}

#[test]
fn what_nothing_needs_rests_alone_and_comes_up_when_it_is_let_go() {
    let mut world = up();
    rest(&mut world, A, &[APP]);
    assert_eq!(world.acts_of(A), [(Act::Stop, APP)]);
    world.host(A).inbox.push_back(Event::LetGo);
    world.run(3_000);
    assert_eq!(world.acts_of(A), [(Act::Stop, APP), (Act::Start, APP)]);
    assert_eq!(world.state(A), State::Up);
}

#[test]
fn mirrors_do_not_rest_and_a_node_that_does_not_run_the_group_has_nothing_to_take_down() {
    let mut world = up();
    rest(&mut world, A, &[MIRROR, FS, VIP, APP]);
    assert_eq!((world.owner(), world.on(A)), (Some(A), vec![]));
    assert!(world.node(A).may_be_replaced());
    rest(&mut world, B, &[FS]);
    assert!(world.node(B).may_be_replaced());
    assert_eq!(world.acts_of(B), []);
}

#[test]
fn what_does_not_go_down_keeps_the_daemon_that_can_take_it_down() {
    let mut settings = group();
    settings.resources[APP.0].stop_failed = FinalAction::None;
    let mut world = World::up(settings, Vec::new());
    world.host(A).fault[APP.0] = Fault::Stop;
    rest(&mut world, A, &[APP]);
    // As with every resource that can't be stopped.
    assert_eq!((world.owner(), world.state(A)), (Some(A), State::Stuck));
    assert!(world.on(A).contains(&APP));
    assert!(!world.node(A).may_be_replaced());
}
