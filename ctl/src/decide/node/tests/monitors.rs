//! Monitors in their node: the recovery chain link by link, with its counters, and what stops it.

use super::world::*;
use crate::decide::group::{Act, GroupVerb, State};
use crate::decide::monitor::{Found, Health, Link, Note as Told};
use crate::decide::node::{ClusterVerb, HostAction, MonitorVerb, Note, Verb};
use crate::decide::settings::*;
use lockstep_engine::units::{NodeId, Span};

const M: MonitorIndex = MonitorIndex(0);

fn chain(target: Option<Target>) -> Recovery {
    Recovery {
        target,
        scripts_max: 1,
        reactivations_max: 3,
        failovers_max: 1,
        final_action: FinalAction::Shutdown,
        fences: false,
    }
}

fn monitor(timing: Timing, recovery: Recovery) -> MonitorSettings {
    MonitorSettings {
        name: "app-port".to_owned(),
        interval: Span::millis(1_000),
        timeout: Span::millis(500),
        retries: 2,
        wait_before_start: Span::millis(500),
        timing,
        on_no_response: OnNoResponse::Warn,
        recovery,
    }
}

pub fn of_app() -> MonitorSettings {
    monitor(Timing::WhileActive(G, APP), chain(Some(Target::Resource(G, APP))))
}

pub fn of_node() -> MonitorSettings {
    let mut settings = monitor(Timing::Always, chain(Some(Target::Node)));
    settings.recovery.scripts_max = 0;
    settings.recovery.reactivations_max = 0;
    settings.recovery.failovers_max = 0;
    settings
}

fn up(settings: MonitorSettings) -> World {
    World::up(group(), vec![settings])
}

fn wrong(why: &str) -> Found {
    Found::Wrong(why.to_owned())
}

/// Links of the chain that a node has used, in order.
fn links(world: &World, node: NodeId) -> Vec<(Link, u32)> {
    let used = |(who, note): &(NodeId, Note)| match note {
        Note::Monitor(_, Told::Recovers { link, times, .. }) if *who == node => {
            Some((*link, *times))
        }
        _ => None,
    };
    world.notes.iter().filter_map(used).collect()
}

fn health(world: &World, node: NodeId) -> Health {
    world.node(node).view(world.now()).monitors[0].health
}

#[test]
pub fn the_chain_runs_in_order_with_counters_on_both_nodes() {
    let mut world = up(of_app());
    world.host(A).found[0] = wrong("refused");
    world.host(B).found[0] = wrong("refused");
    world.run_until(120_000, |world| world.state(B) == State::Up);
    let reactivation = |times| (Link::Reactivate, times);
    let wanted =
        [(Link::Script, 1), reactivation(1), reactivation(2), reactivation(3), (Link::FailOver, 1)];
    assert_eq!(links(&world, A), wanted);
    assert_eq!(world.scripts, [(A, M)]);
    let mut acts = [(Act::Stop, APP), (Act::Start, APP)].repeat(3);
    acts.extend([(Act::Stop, APP), (Act::Stop, FS), (Act::Stop, VIP)]);
    assert_eq!(world.acts_of(A), acts, "three restarts of the application, then the group goes");
    world.run_until(120_000, |world| world.state(A) == State::Up);
    assert_eq!(links(&world, B), wanted);
    // On A the failover is used up; a healthy node B is there, so the final action comes.
    world.run_until(120_000, |world| !world.hosts[0].up);
    assert_eq!(links(&world, A).last(), Some(&(Link::Final(FinalAction::Shutdown), 1)));
    assert_eq!(world.host(A).host, [HostAction::Shutdown]);
}

#[test]
pub fn each_link_needs_as_many_bad_probes_as_the_first() {
    let mut world = up(of_app());
    world.host(A).found[0] = wrong("refused");
    let began = world.ms;
    world.run_until(20_000, |world| links(world, A).len() == 1);
    assert!((1_900..4_500).contains(&(world.ms - began)), "{}", world.ms - began);
    let first = world.ms;
    world.run_until(20_000, |world| links(world, A).len() == 2);
    assert!((2_900..4_500).contains(&(world.ms - first)), "{}", world.ms - first);
}

#[test]
pub fn forgiven_probes_do_nothing_and_health_resets_the_counters() {
    let mut world = up(of_app());
    world.host(A).found[0] = wrong("refused");
    world.run_until(20_000, |world| health(world, A) == Health::Doubtful);
    world.host(A).found[0] = Found::Fine;
    world.run(5_000);
    assert_eq!((links(&world, A).len(), health(&world, A)), (0, Health::Fine));
    world.host(A).found[0] = wrong("refused");
    world.run_until(30_000, |world| links(world, A).len() == 3);
    world.host(A).found[0] = Found::Fine;
    world.run(10_000);
    let used = world.node(A).view(world.now()).monitors[0].used;
    assert_eq!(used, Default::default());
    world.host(A).found[0] = wrong("refused");
    world.run_until(20_000, |world| links(world, A).len() == 4);
    assert_eq!(links(&world, A)[3], (Link::Script, 1), "from the beginning");
}

#[test]
pub fn a_warning_never_acts() {
    let mut world = up(of_app());
    for found in [Found::Worth("slow".to_owned()), Found::NoAnswer("time-out".to_owned())] {
        world.host(A).found[0] = found;
        world.run(30_000);
        assert_eq!((health(&world, A), links(&world, A).len()), (Health::Warning, 0));
    }
    assert_eq!(world.acts_of(A), []);
}

#[test]
pub fn no_answer_counts_as_configured() {
    for (on_no_response, wanted) in [
        (OnNoResponse::Ignore, Health::Fine),
        (OnNoResponse::Warn, Health::Warning),
        (OnNoResponse::Recover, Health::Error),
    ] {
        let settings = monitor(Timing::Always, chain(None));
        let mut world = up(MonitorSettings { on_no_response, ..settings });
        world.run(3_000);
        world.host(A).found[0] = Found::NoAnswer("time-out".to_owned());
        world.run(6_000);
        assert_eq!(health(&world, A), wanted);
        assert_eq!(links(&world, A), [], "without a target it only reports");
    }
}

#[test]
pub fn a_monitor_of_a_resource_runs_where_that_is_on() {
    let mut world = up(of_app());
    world.run(3_000);
    assert_eq!((health(&world, A), health(&world, B)), (Health::Fine, Health::Unknown));
    world.ask_group(A, GroupVerb::Move);
    world.run(5_000);
    assert_eq!((health(&world, A), health(&world, B)), (Health::Unknown, Health::Fine));
}

#[test]
pub fn a_final_action_is_not_carried_out_without_another_healthy_node() {
    let mut world = up(of_node());
    world.host_dies(B);
    world.run(10_000);
    world.host(A).found[0] = wrong("isolated");
    world.run(30_000);
    assert_eq!((world.state(A), links(&world, A).len()), (State::Up, 0));
    let suppressed = Told::Suppressed(FinalAction::Shutdown);
    let said = world.notes.iter().filter(|(_, note)| *note == Note::Monitor(M, suppressed.clone()));
    assert_eq!(said.count(), 1);
}

#[test]
pub fn one_that_fences_does_not_ask_whether_anybody_is_left() {
    let mut settings = of_node();
    settings.recovery.fences = true;
    let mut world = up(settings);
    world.host_dies(B);
    world.run(10_000);
    world.host(A).found[0] = wrong("isolated");
    world.run_until(30_000, |world| !world.hosts[0].up);
    assert_eq!(world.host(A).host, [HostAction::Shutdown]);
}

#[test]
pub fn an_isolated_node_hands_over_then_shuts_down() {
    let mut world = up(of_node());
    world.host(A).found[0] = wrong("isolated");
    world.run_until(30_000, |world| !world.hosts[0].up);
    let stops = world.acts_of(A);
    assert_eq!(stops.len(), 3, "in order first: {stops:?}");
    world.run(5_000);
    assert_eq!(world.state(B), State::Up);
}

#[test]
pub fn both_nodes_with_the_same_error_do_not_stop_each_other() {
    let mut world = up(of_node());
    world.host(A).found[0] = wrong("the target is down");
    world.host(B).found[0] = wrong("the target is down");
    world.run(60_000);
    assert!(world.hosts[0].up && world.hosts[1].up);
    assert_eq!((world.state(A), links(&world, A).len()), (State::Up, 0));
}

#[test]
pub fn a_rehearsal_runs_the_chain_until_it_is_called_off() {
    let mut world = up(of_app());
    world.ask(A, Verb::Monitor(M, MonitorVerb::Fail(true)));
    world.run_until(30_000, |world| links(world, A).len() == 2);
    world.ask(A, Verb::Monitor(M, MonitorVerb::Fail(false)));
    world.run(5_000);
    assert_eq!((health(&world, A), world.state(A)), (Health::Fine, State::Up));
}

#[test]
pub fn suspended_monitors_and_nodes_and_observers_do_not_act() {
    for way in 0..3 {
        let mut world = World::with(group(), vec![of_app()]);
        world.observe_only = way == 0;
        world.daemon_starts(A);
        world.daemon_starts(B);
        world.run(5_000);
        match way {
            0 => {}
            1 => drop(world.ask(A, Verb::Monitor(M, MonitorVerb::Suspend))),
            _ => drop(world.ask(A, Verb::Cluster(ClusterVerb::Suspend))),
        }
        world.host(A).found[0] = wrong("refused");
        world.run(30_000);
        assert_eq!(links(&world, A), [], "way {way}");
        let would = Note::Monitor(M, Told::WouldRecover(Link::Script));
        let said = world.notes.iter().filter(|(_, note)| *note == would).count();
        assert_eq!(said, usize::from(way != 1), "way {way}");
    }
}

#[test]
pub fn stop_group_leaves_it_to_the_other_node() {
    let mut settings = of_app();
    settings.recovery =
        Recovery { scripts_max: 0, reactivations_max: 0, failovers_max: 0, ..settings.recovery };
    settings.recovery.final_action = FinalAction::StopGroup;
    let mut world = up(settings);
    world.host(A).found[0] = wrong("refused");
    world.run(30_000);
    assert_eq!((world.on(A), world.state(B)), (vec![], State::Up));
    assert!(world.hosts[0].up, "nothing is done to the host");
}

#[test]
pub fn probes_begin_at_even_distances_after_the_quiet_time() {
    let mut world = up(of_app());
    world.ask_group(A, GroupVerb::ResourceStop(APP));
    world.run(1_000);
    assert_eq!(health(&world, A), Health::Unknown);
    world.ask_group(A, GroupVerb::ResourceStart(APP));
    world.run(400);
    assert_eq!(health(&world, A), Health::Unknown, "quiet");
    world.run(200);
    assert_eq!(health(&world, A), Health::Fine);
}
