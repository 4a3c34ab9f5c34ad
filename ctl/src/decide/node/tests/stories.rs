//! What a group does when nodes, engines, links, resources and operators do what they do.

use super::world::*;
use crate::decide::event::{self, RequestId};
use crate::decide::group::{self, Act, GroupVerb, Note as GroupNote, Part, State};
use crate::decide::node::{ClusterVerb, Event, HostAction, Node, Note, Refused, Step, Verb};
use crate::decide::settings::{FinalAction, ResourceIndex};
use lockstep_engine::units::{DiskState, Need, NodeId};

const START: GroupVerb = GroupVerb::Start { without_peer: false };
const STOP_CLUSTER: Verb = Verb::Cluster(ClusterVerb::Stop { hand_over: true });

fn up() -> World {
    World::up(group(), Vec::new())
}

fn noted(world: &World, node: NodeId, wanted: impl Fn(&GroupNote) -> bool) -> bool {
    world.notes.iter().any(|(who, note)| match note {
        Note::Group(_, note) => *who == node && wanted(note),
        _ => false,
    })
}

#[test]
pub fn the_preferred_node_starts_the_group_in_order() {
    let mut world = World::with(group(), Vec::new());
    world.daemon_starts(B);
    world.daemon_starts(A);
    world.run(5_000);
    assert_eq!((world.owner(), world.state(A)), (Some(A), State::Up));
    let wanted = [(Act::Start, FS), (Act::Start, VIP), (Act::Start, APP)];
    assert_eq!(world.acts_of(A), wanted);
    assert_eq!(world.on(B), []);
}

#[test]
pub fn a_group_that_starts_by_hand_waits_for_a_hand() {
    let mut settings = group();
    settings.startup_auto = false;
    let mut world = World::with(settings, Vec::new());
    world.daemon_starts(A);
    world.daemon_starts(B);
    world.run(60_000);
    assert_eq!(world.owner(), None);
    let request = world.ask_group(B, START);
    world.run(3_000);
    assert_eq!((world.answer(request), world.state(B)), (Some(Ok(())), State::Up));
}

#[test]
pub fn the_other_node_starts_it_when_the_preferred_one_stays_away() {
    let mut world = World::with(group(), Vec::new());
    world.host_dies(A);
    world.daemon_starts(B);
    world.run(6_000);
    assert_eq!(world.owner(), None, "the boot grace");
    world.run(4_000);
    assert_eq!((world.owner(), world.state(B)), (Some(B), State::Up));
}

#[test]
pub fn a_move_stops_in_reverse_then_passes_on_then_starts_there() {
    let mut world = up();
    let request = world.ask_group(A, GroupVerb::Move);
    world.run(3_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    assert_eq!((world.state(A), world.state(B)), (State::Down, State::Up));
    let last = world.acts_of(A);
    assert_eq!(last, [(Act::Stop, APP), (Act::Stop, VIP), (Act::Stop, FS)].map(order_free(&last)));
    assert_eq!(world.on(B), ALL);
    let back = world.ask_group(B, GroupVerb::Move);
    world.run(3_000);
    assert_eq!((world.answer(back), world.state(A)), (Some(Ok(())), State::Up));
}

#[test]
fn a_stop_that_was_announced_in_a_lost_heartbeat_is_not_undone() {
    let mut world = up();
    world.ask_group(A, GroupVerb::Move);
    world.run(3_000);
    assert_eq!(world.state(B), State::Up);
    world.beats = false;
    let request = world.ask_group(B, GroupVerb::Stop);
    world.run(3_000);
    assert_eq!((world.answer(request), world.owner()), (Some(Ok(())), None));
    let knows = |world: &World| {
        let known = world.node(A).decider(G).expect("a group").view().record;
        known.is_some_and(|record| record.owner.is_none())
    };
    world.run_until(30_000, knows);
    world.run(9_000);
    world.beats = true;
    world.run(60_000);
    assert_eq!((world.owner(), world.state(A), world.state(B)), (None, State::Down, State::Down));
}

#[test]
fn a_stopped_group_of_which_nobody_can_tell_is_started_after_a_while() {
    let mut world = up();
    world.ask_group(A, GroupVerb::Move);
    world.run(3_000);
    world.beats = false;
    world.ask_group(B, GroupVerb::Stop);
    world.run(1_000);
    world.daemon_dies(B); // Its engine lives, and with it the link.
    world.run(60_000);
    let told = &world.notes;
    assert_eq!((world.owner(), world.state(A)), (Some(A), State::Up), "{told:#?}");
}

#[test]
pub fn a_takeover_where_the_group_runs_changes_nothing() {
    let mut world = up();
    let verb = Verb::Mirror(G, event::Verb::Takeover);
    let request = world.ask(A, verb);
    world.run(3_000);
    let already = Err(Refused::Group(group::Refused::AlreadyUp));
    assert_eq!(world.answer(request), Some(already));
    assert_eq!((world.owner(), world.state(A)), (Some(A), State::Up));
}

/// Independent resources may go in either order: takes what was done at that place if it is one.
fn order_free(
    done: &[(Act, ResourceIndex)],
) -> impl FnMut((Act, ResourceIndex)) -> (Act, ResourceIndex) + '_ {
    let mut place = 0;
    move |wanted| {
        place += 1;
        let found = done.get(place - 1).copied();
        found.filter(|f| wanted.1 != APP && f.1 != APP && f.0 == wanted.0).unwrap_or(wanted)
    }
}

#[test]
pub fn a_dead_owner_is_taken_over() {
    let mut world = up();
    world.host_dies(A);
    let died = world.ms;
    world.run_until(20_000, |world| world.state(B) == State::Up);
    assert!(world.ms - died < 7_000, "{} ms", world.ms - died);
    assert_eq!(world.owner(), Some(B));
    world.host_boots(A);
    world.run(20_000);
    assert_eq!((world.state(A), world.state(B)), (State::Down, State::Up));
}

#[test]
pub fn a_dead_owner_is_left_alone_when_failover_is_manual() {
    let mut settings = group();
    settings.failover_auto = false;
    let mut world = World::up(settings, Vec::new());
    world.host_dies(A);
    world.run(30_000);
    assert_eq!((world.owner(), world.state(B)), (Some(A), State::Down));
    let request = world.ask_group(B, GroupVerb::Failover);
    world.run(7_000);
    assert_eq!((world.answer(request), world.state(B)), (Some(Ok(())), State::Up));
}

#[test]
pub fn an_isolated_owner_kills_everything_before_the_other_starts() {
    let mut world = up();
    world.links.up = false;
    world.beats = false;
    world.reach = [false, true];
    world.run_until(20_000, |world| world.state(B) == State::Up);
    assert_eq!(world.on(A), []);
    let kills = world.acts_of(A);
    assert_eq!(kills, [(Act::Kill, VIP), (Act::Kill, APP), (Act::Stop, FS)]);
    assert!(noted(&world, A, |note| *note == GroupNote::FenceConfirmed));
    world.links.up = true;
    world.beats = true;
    world.reach = [true; 2];
    world.run(20_000);
    assert_eq!((world.state(A), world.state(B)), (State::Down, State::Up));
}

#[test]
pub fn a_kill_that_is_not_confirmed_in_time_reboots_the_host() {
    let mut world = up();
    world.host(A).fault[APP.0] = Fault::Kill;
    world.links.up = false;
    world.beats = false;
    world.reach = [false, true];
    world.run_until(20_000, |world| !world.hosts[0].up);
    assert_eq!(world.host(A).host, [HostAction::Reset]);
    assert_ne!(world.state(B), State::Up, "before anybody else starts");
    world.run(5_000);
    assert_eq!(world.state(B), State::Up);
}

#[test]
pub fn a_daemon_that_restarts_touches_nothing_that_is_on() {
    let mut world = up();
    world.daemon_dies(A);
    world.run(2_000);
    world.daemon_starts(A);
    world.run(5_000);
    assert_eq!((world.state(A), world.on(A)), (State::Up, ALL.to_vec()));
    assert_eq!(world.acts_of(A), [], "only status checks");
}

#[test]
pub fn a_daemon_that_restarts_goes_on_from_what_is_there() {
    let mut world = up();
    world.daemon_dies(A);
    world.host(A).on[APP.0] = false;
    world.daemon_starts(A);
    world.run(5_000);
    assert_eq!((world.state(A), world.acts_of(A)), (State::Up, vec![(Act::Start, APP)]));
}

#[test]
pub fn a_daemon_that_starts_beside_the_owner_takes_down_what_it_finds() {
    let mut world = up();
    world.daemon_dies(B);
    world.host(B).on[FS.0] = true;
    world.daemon_starts(B);
    world.run(2_000);
    assert_eq!((world.state(B), world.on(B)), (State::Down, vec![]));
    assert_eq!(world.acts_of(B).last(), Some(&(Act::Stop, FS)));
    assert_eq!(world.state(A), State::Up);
}

#[test]
pub fn a_daemon_that_can_find_nothing_out_kills_within_the_fence() {
    let mut world = up();
    world.daemon_dies(A);
    world.engine_dies(A);
    world.reach = [false; 2];
    world.daemon_starts(A);
    world.run(400);
    assert_eq!(world.on(A), ALL, "an engine or the arbiter may still answer");
    world.run(200);
    assert_eq!(world.on(A), []);
}

#[test]
pub fn a_daemon_that_never_saw_its_engine_guards_the_lease() {
    let mut world = up();
    world.engine_dies(A);
    world.daemon_dies(A);
    world.daemon_starts(A);
    world.ask(B, Verb::Cluster(ClusterVerb::Suspend));
    world.run(20_000);
    assert_eq!(world.on(A), ALL, "the peer answers heartbeats and wants nothing");
    world.beats = false;
    world.run(4_100);
    assert_eq!(world.on(A), []);
}

#[test]
pub fn an_engine_that_stops_in_order_is_waited_for_like_one_that_dies() {
    let mut world = up();
    let engine = world.host(A).engine();
    (engine.role, engine.stopping) = (lockstep_engine::units::Role::Demoting, true);
    world.run(100);
    assert_eq!(world.on(A), ALL, "its device waits in the kernel");
    world.engine_dies(A);
    world.run(300);
    world.engine_starts(A);
    world.run(5_000);
    assert_eq!((world.on(A), world.state(A)), (ALL.to_vec(), State::Up));
}

#[test]
pub fn a_restarted_engine_has_no_time_left_when_the_lease_ends() {
    let mut world = up();
    world.engine_dies(A);
    world.run(100);
    world.engine_starts(A);
    world.links.up = false;
    world.beats = false;
    world.reach = [false, true];
    world.host(A).engine().link = lockstep_engine::units::LinkState::Down;
    world.run_until(20_000, |world| world.state(B) == State::Up);
    assert_eq!(world.on(A), []);
}

#[test]
pub fn an_engine_that_restarts_interrupts_no_resource() {
    let mut world = up();
    world.engine_dies(A);
    world.run(500);
    world.engine_starts(A);
    world.run(5_000);
    assert_eq!((world.state(A), world.on(A)), (State::Up, ALL.to_vec()));
    assert_eq!(world.acts_of(A), []);
}

#[test]
pub fn an_owner_whose_engine_stays_away_gives_up_what_it_has_on() {
    let mut world = up();
    world.engine_dies(A);
    world.run(12_000);
    assert_eq!(world.on(A), []);
    world.engine_starts(A);
    world.run(15_000);
    let up = [A, B].into_iter().filter(|node| world.state(*node) == State::Up).count();
    assert_eq!(up, 1);
}

#[test]
pub fn a_failed_disk_moves_the_group() {
    let mut world = up();
    world.host(A).engine().need = Some(Need::HandOver);
    world.host(A).engine().disk = DiskState::Failed;
    world.run(5_000);
    assert_eq!((world.state(A), world.state(B)), (State::Down, State::Up));
    assert_eq!(world.on(A), []);
}

#[test]
pub fn a_failed_disk_is_not_released_while_programs_may_live() {
    let mut world = up();
    world.host(A).fault[APP.0] = Fault::Kill;
    world.host(A).engine().need = Some(Need::HandOver);
    world.host(A).engine().disk = DiskState::Failed;
    // The world looks at each heartbeat.
    world.run_until(10_000, |world| !world.hosts[0].up);
    assert_eq!((world.host(A).host.clone(), world.owner()), (vec![HostAction::Reset], Some(A)));
    world.run(15_000);
    assert_eq!(world.state(B), State::Up);
}

#[test]
pub fn a_start_that_fails_is_retried_then_fails_over() {
    let mut world = World::with(group(), Vec::new());
    world.host(A).fault[APP.0] = Fault::Start;
    world.daemon_starts(A);
    world.daemon_starts(B);
    world.run(8_000);
    let tries = world.acts_of(A).iter().filter(|act| **act == (Act::Start, APP)).count();
    assert_eq!(tries, 2, "one retry");
    assert_eq!((world.state(A), world.state(B)), (State::Down, State::Up));
    let failed = |note: &GroupNote| matches!(note, GroupNote::StartFailed { resource: APP, .. });
    assert!(noted(&world, A, failed));
}

#[test]
pub fn a_start_that_fails_everywhere_ends_in_the_final_action() {
    let mut world = World::with(group(), Vec::new());
    world.host(A).fault[APP.0] = Fault::Start;
    world.host(B).fault[APP.0] = Fault::Start;
    world.daemon_starts(A);
    world.daemon_starts(B);
    world.run(60_000);
    assert_eq!((world.owner(), world.on(A), world.on(B)), (None, vec![], vec![]));
    let overs = world
        .notes
        .iter()
        .filter(|(_, note)| matches!(note, Note::Group(_, GroupNote::FailsOver { .. })));
    assert_eq!(overs.count(), 2, "one from each node");
    assert!(world.node(A).view(world.now()).groups[0].group.barred);
    world.host(A).fault[APP.0] = Fault::None;
    let request = world.ask_group(A, START);
    world.run(3_000);
    assert_eq!((world.answer(request), world.state(A)), (Some(Ok(())), State::Up));
}

#[test]
pub fn with_no_final_action_the_rest_stays_on() {
    let mut settings = group();
    settings.resources[3].start_failed = FinalAction::None;
    settings.resources[3].failovers_max = 0;
    let mut world = World::with(settings, Vec::new());
    world.host(A).fault[APP.0] = Fault::Start;
    world.daemon_starts(A);
    world.daemon_starts(B);
    world.run(10_000);
    assert_eq!((world.state(A), world.on(A)), (State::Degraded, vec![FS, VIP]));
    world.host(A).fault[APP.0] = Fault::None;
    let request = world.ask_group(A, GroupVerb::ResourceStart(APP));
    world.run(1_000);
    assert_eq!((world.answer(request), world.state(A)), (Some(Ok(())), State::Up));
}

#[test]
pub fn a_start_that_hangs_counts_as_failed() {
    let mut world = World::with(group(), Vec::new());
    world.host(A).fault[APP.0] = Fault::Hang;
    world.daemon_starts(A);
    world.daemon_starts(B);
    world.run(5_000);
    world.host(A).fault[APP.0] = Fault::None;
    world.run(10_000);
    let up = [A, B].into_iter().filter(|node| world.state(*node) == State::Up).count();
    assert_eq!(up, 1);
}

#[test]
pub fn what_can_not_be_stopped_is_never_passed_on() {
    let mut world = up();
    world.host(A).fault[APP.0] = Fault::Stop;
    let before = world.history.len();
    let request = world.ask_group(A, GroupVerb::Move);
    world.run_until(20_000, |world| !world.hosts[0].up);
    let refused = world.answer(request);
    let why = |refused: &Refused| {
        matches!(refused, Refused::Group(group::Refused::StopFailed { resource: APP, .. }))
    };
    assert!(refused.is_some_and(|result| result.is_err_and(|refused| why(&refused))));
    assert_eq!(world.host(A).host, [HostAction::Shutdown]);
    assert_eq!(world.history.len(), before, "the record is untouched");
    world.run(10_000);
    assert_eq!((world.owner(), world.state(B)), (Some(B), State::Up), "after evidence");
}

#[test]
pub fn what_is_stuck_stays_until_an_operator_stops_it_again() {
    let mut settings = group();
    settings.resources[3].stop_failed = FinalAction::None;
    let mut world = World::up(settings, Vec::new());
    world.host(A).fault[APP.0] = Fault::Stop;
    world.ask_group(A, GroupVerb::Stop);
    world.run(30_000);
    assert_eq!((world.state(A), world.owner()), (State::Stuck, Some(A)));
    world.host(A).fault[APP.0] = Fault::None;
    let request = world.ask_group(A, GroupVerb::Stop);
    world.run(2_000);
    assert_eq!((world.answer(request), world.owner()), (Some(Ok(())), None));
}

#[test]
pub fn a_standby_that_had_no_mark_when_it_asked_is_fit_once_it_has_one() {
    let mut world = up();
    world.host_dies(B);
    world.host_dies(A);
    world.host_boots(B);
    world.run(20_000);
    assert_eq!(world.on(B), vec![], "it may lack acknowledged writes");
    world.host_boots(A);
    world.run(60_000);
    let owner = world.owner().expect("one of them runs it");
    let request = world.ask_group(owner, GroupVerb::Move);
    world.run(5_000);
    assert_eq!((world.answer(request), world.owner()), (Some(Ok(())), Some(owner.peer())));
}

#[test]
pub fn a_stopped_group_stays_down_over_a_restart_of_both_daemons() {
    let mut world = up();
    let request = world.ask_group(A, GroupVerb::Stop);
    world.run(2_000);
    assert_eq!(world.answer(request), Some(Ok(())));
    for node in [A, B] {
        world.daemon_dies(node);
        world.daemon_starts(node);
    }
    world.run(60_000);
    assert_eq!((world.owner(), world.on(A), world.on(B)), (None, vec![], vec![]));
    let request = world.ask_group(B, START);
    world.run(2_000);
    assert_eq!((world.answer(request), world.state(B)), (Some(Ok(())), State::Up));
    world.run(5_000);
    assert!(!world.node(A).view(world.now()).groups[0].group.stopped);
}

#[test]
pub fn a_stopped_group_stays_down_when_the_node_that_stopped_it_dies() {
    let mut world = up();
    world.ask_group(A, GroupVerb::Stop);
    world.run(2_000);
    world.host_dies(A);
    world.run(60_000);
    assert_eq!((world.owner(), world.on(B)), (None, vec![]));
    world.host_boots(A);
    world.run(30_000);
    assert_eq!(world.owner(), None, "A hears of it from B");
    let request = world.ask_group(A, START);
    world.run(2_000);
    assert_eq!((world.answer(request), world.state(A)), (Some(Ok(())), State::Up));
    world.run(2_000);
    assert!(!world.node(B).view(world.now()).groups[0].group.stopped);
}

#[test]
pub fn a_cluster_stop_without_arbiter_releases() {
    let mut world = up();
    world.reach = [false, true];
    let request = world.ask(A, STOP_CLUSTER);
    world.run(40_000);
    assert_eq!((world.answer(request), world.state(B)), (Some(Ok(())), State::Up));
    assert_eq!(world.on(A), []);
}

#[test]
pub fn resources_go_and_come_with_what_depends_on_them() {
    let mut world = up();
    let stop = world.ask_group(A, GroupVerb::ResourceStop(FS));
    world.run(1_000);
    assert_eq!((world.answer(stop), world.on(A)), (Some(Ok(())), vec![VIP]));
    assert_eq!(world.acts_of(A), [(Act::Stop, APP), (Act::Stop, FS)]);
    let early = world.ask_group(A, GroupVerb::ResourceStart(APP));
    world.run(1_000);
    let needs = Refused::Group(group::Refused::NeedsOther(FS));
    assert_eq!(world.answer(early), Some(Err(needs)));
    world.ask_group(A, GroupVerb::ResourceStart(FS));
    world.run(1_000);
    world.ask_group(A, GroupVerb::ResourceStart(APP));
    world.run(1_000);
    assert_eq!(world.on(A), ALL);
    let mirror = world.ask_group(A, GroupVerb::ResourceStop(MIRROR));
    world.run(100);
    assert_eq!(world.answer(mirror), Some(Err(Refused::Group(group::Refused::IsMirror))));
}

#[test]
pub fn a_move_is_refused_before_anything_is_stopped() {
    let mut world = up();
    world.ask(B, Verb::Cluster(ClusterVerb::Suspend));
    world.run(1_000);
    let request = world.ask_group(A, GroupVerb::Move);
    world.run(1_000);
    let why = Refused::Group(group::Refused::PeerNotReady);
    assert_eq!(world.answer(request), Some(Err(why)));
    assert_eq!(world.acts_of(A), []);
    let elsewhere = world.ask_group(B, GroupVerb::Move);
    world.run(100);
    let why = Refused::Group(group::Refused::NotHere { owner: Some(A) });
    assert_eq!(world.answer(elsewhere), Some(Err(why)));
}

#[test]
pub fn failback_waits_until_the_preferred_node_is_in_sync_again() {
    let mut settings = group();
    settings.failback_auto = true;
    let mut world = World::up(settings, Vec::new());
    world.host_dies(A);
    world.run(10_000);
    assert_eq!(world.state(B), State::Up);
    world.host_boots(A);
    world.run_until(20_000, |world| world.state(A) == State::Up);
    assert!(noted(&world, B, |note| *note == GroupNote::FailsBack));
    world.ask_group(A, GroupVerb::Move);
    world.run(20_000);
    assert_eq!(world.state(B), State::Up, "an operator's move is not taken back");
}

#[test]
pub fn a_cluster_stop_hands_over_and_takes_no_part() {
    let mut world = up();
    let request = world.ask(A, STOP_CLUSTER);
    world.run(3_000);
    assert_eq!((world.answer(request), world.state(B)), (Some(Ok(())), State::Up));
    world.host_dies(B);
    world.run(30_000);
    assert_eq!(world.on(A), [], "A takes no part");
    world.ask(A, Verb::Cluster(ClusterVerb::Start));
    world.run(15_000);
    assert_eq!(world.state(A), State::Up);
}

#[test]
pub fn a_cluster_stop_on_both_nodes_keeps_the_group_down_until_the_start() {
    let mut world = up();
    let stop = Verb::Cluster(ClusterVerb::Stop { hand_over: false });
    let first = world.ask(A, stop);
    world.run(3_000);
    assert_eq!((world.answer(first), world.owner()), (Some(Ok(())), None));
    world.run(30_000);
    assert_eq!(world.owner(), None, "B does not start what A has stopped for all");
    world.ask(B, stop);
    world.run(1_000);
    for node in [A, B] {
        world.daemon_dies(node);
        world.daemon_starts(node);
    }
    world.run(10_000);
    assert_eq!(world.owner(), None, "remembered");
    world.ask(A, Verb::Cluster(ClusterVerb::Start));
    world.ask(B, Verb::Cluster(ClusterVerb::Start));
    world.run(5_000);
    assert_eq!(world.state(A), State::Up);
}

#[test]
pub fn a_suspended_node_takes_nothing_over_but_still_fences_itself() {
    let mut world = up();
    world.ask(B, Verb::Cluster(ClusterVerb::Suspend));
    world.run(1_000);
    world.host_dies(A);
    world.run(30_000);
    assert_eq!((world.owner(), world.on(B)), (Some(A), vec![]));
    world.ask(B, Verb::Cluster(ClusterVerb::Resume));
    world.run(10_000);
    assert_eq!(world.state(B), State::Up);
    world.host_boots(A);
    world.run(10_000);
    world.ask(B, Verb::Cluster(ClusterVerb::Suspend));
    world.links.up = false;
    world.beats = false;
    world.reach = [false; 2];
    world.run(15_000);
    assert_eq!((world.node(B).view(world.now()).part, world.on(B)), (Part::Suspended, vec![]));
}

#[test]
pub fn a_stale_node_does_not_start_and_the_good_one_does() {
    let mut world = up();
    world.host_dies(A);
    world.run(10_000);
    assert_eq!(world.state(B), State::Up);
    world.host_dies(B);
    world.host_boots(A);
    world.run(30_000);
    assert_eq!(world.on(A), []);
    world.host_boots(B);
    world.run(20_000);
    let on = [A, B].into_iter().filter(|node| world.state(*node) == State::Up).count();
    assert_eq!((on, world.owner()), (1, Some(B)));
}

#[test]
pub fn both_hosts_lose_power_and_the_group_comes_up_once() {
    let mut world = up();
    world.host_dies(A);
    world.host_dies(B);
    world.run(5_000);
    world.host_boots(A);
    world.host_boots(B);
    world.run(40_000);
    let on = [A, B].into_iter().filter(|node| world.state(*node) == State::Up).count();
    assert_eq!(on, 1, "{:#?}", world.notes);
}

#[test]
pub fn an_owner_that_reboots_inside_the_timeouts_lets_the_other_have_it() {
    let mut world = up();
    world.host_dies(A);
    world.run(500);
    world.host_boots(A);
    world.run(15_000);
    assert_eq!((world.state(A), world.state(B)), (State::Down, State::Up));
}

#[test]
pub fn the_arbiter_may_go_and_come_without_anybody_noticing() {
    let mut world = up();
    world.reach = [false; 2];
    world.run(60_000);
    assert_eq!((world.state(A), world.acts_of(A)), (State::Up, vec![]));
    let request = world.ask_group(A, GroupVerb::Move);
    world.run(30_000);
    assert!(world.answer(request).is_some_and(|result| result.is_err()));
    assert_eq!(world.state(A), State::Up, "it comes back up here");
}

#[test]
pub fn verbs_of_the_mirror_go_through_the_group() {
    use crate::decide::event::Verb as Arbitration;
    let mut world = up();
    let release = world.ask(A, Verb::Mirror(G, Arbitration::Release));
    let moved = world.ask(A, Verb::Mirror(G, Arbitration::Move));
    world.run(3_000);
    assert_eq!(world.answer(release), Some(Err(Refused::GroupRuns)));
    assert_eq!((world.answer(moved), world.state(B)), (Some(Ok(())), State::Up));
    assert_eq!(world.on(A), []);
}

#[test]
pub fn nothing_that_comes_for_a_forgotten_step_matters() {
    let mut world = up();
    let outcome = group::Outcome::Failed("late".to_owned());
    let id = crate::decide::event::StepId(1);
    world.host(A).inbox.push_back(Event::Resource { group: G, id, outcome });
    world.run(1_000);
    assert_eq!(world.state(A), State::Up);
}

#[test]
pub fn what_an_operator_wants_is_stored_before_the_answer() {
    let mut world = up();
    let now = world.now();
    let request = RequestId(9_000);
    let verb = Verb::Cluster(ClusterVerb::Suspend);
    let node = world.host(A).node.as_mut().expect("daemon is up");
    node.handle(Event::Operator { request, verb }, 0, now);
    let mut steps = Vec::new();
    while let Some(step) = node.poll_step() {
        steps.push(step);
    }
    let place = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).expect("a step");
    let stored = place(|step| matches!(step, Step::Remember(_)));
    assert!(stored < place(|step| matches!(step, Step::Reply { .. })));
}

#[test]
fn what_can_t_be_stored_is_no_answer_before_it_is() {
    let mut world = up();
    let now = world.now();
    let node = world.host(A).node.as_mut().expect("daemon is up");
    let ask = |node: &mut Node, request, verb, works: bool| {
        node.handle(Event::Operator { request: RequestId(request), verb }, 0, now);
        let (mut stored, mut answers) = (0, Vec::new());
        while let Some(step) = node.poll_step() {
            match step {
                Step::Remember(_) => {
                    stored += 1;
                    let failed = (!works).then(|| "memory: no space left".to_owned());
                    node.handle(Event::Remembered { failed }, 0, now);
                }
                Step::Reply { result, .. } => answers.push(result),
                _ => {}
            }
        }
        (stored, answers)
    };
    let refused = Err(Refused::NotStored { cause: "memory: no space left".to_owned() });
    let suspend = Verb::Cluster(ClusterVerb::Suspend);
    assert_eq!(ask(node, 9_000, suspend, false), (1, vec![refused.clone()]));
    // It is so already, and would be forgotten: each request tries again.
    assert_eq!(ask(node, 9_001, Verb::Cluster(ClusterVerb::Resume), false), (1, vec![refused]));
    assert_eq!(ask(node, 9_002, suspend, true), (1, vec![Ok(())]));
    assert_eq!(ask(node, 9_003, Verb::Cluster(ClusterVerb::Resume), true), (1, vec![Ok(())]));
}

#[test]
fn an_owner_that_boots_raises_no_alarm_about_what_it_never_ran() {
    let mut settings = group();
    settings.failover_auto = false;
    let mut world = World::up(settings, Vec::new());
    world.host_dies(A);
    world.run(20_000);
    world.host_boots(A);
    world.run(30_000);
    assert_eq!((world.owner(), world.state(A)), (Some(A), State::Up));
    assert!(!noted(&world, A, |note| matches!(note, GroupNote::Lost(_))), "{:#?}", world.notes);
    // Its programs take their time to say that they are off, as after a boot.
    world.host_dies(A);
    world.run(20_000);
    world.host(A).fault[APP.0] = Fault::Mute;
    world.host_boots(A);
    world.run(30_000);
    assert_eq!((world.owner(), world.state(A)), (Some(A), State::Up));
    assert!(!noted(&world, A, |note| matches!(note, GroupNote::Lost(_))), "{:#?}", world.notes);
}
