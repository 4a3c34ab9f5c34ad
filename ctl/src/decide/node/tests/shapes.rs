//! The same stories of a group with two volumes, whose engines live and die together here, and,
//! where they are not about engines, of one without any.

use super::{lease, monitors, stories};
use crate::decide::tests::engines::failing;

macro_rules! stories {
    ($($room:ident::$story:ident,)*) => {
        &[$((stringify!($story), $room::$story as fn())),*]
    };
}

const ALL: &[(&str, fn())] = stories![
    lease::quick_restarts_do_not_lengthen_a_lease,
    lease::a_slow_restart_fences_at_once,
    lease::a_restart_inside_the_lease_fences_at_its_end,
    lease::a_slow_restart_beside_an_engine_that_serves_touches_nothing,
    lease::a_sole_member_has_no_lease_to_keep,
    lease::what_was_kept_is_handed_on_by_a_daemon_that_hears_nothing,
    lease::an_owner_whose_engine_is_dead_for_good_is_taken_over_from,
    lease::a_dead_engine_is_released_over_restarts_of_the_daemon_too,
    monitors::the_chain_runs_in_order_with_counters_on_both_nodes,
    monitors::each_link_needs_as_many_bad_probes_as_the_first,
    monitors::forgiven_probes_do_nothing_and_health_resets_the_counters,
    monitors::a_warning_never_acts,
    monitors::no_answer_counts_as_configured,
    monitors::a_monitor_of_a_resource_runs_where_that_is_on,
    monitors::a_final_action_is_not_carried_out_without_another_healthy_node,
    monitors::one_that_fences_does_not_ask_whether_anybody_is_left,
    monitors::an_isolated_node_hands_over_then_shuts_down,
    monitors::both_nodes_with_the_same_error_do_not_stop_each_other,
    monitors::a_rehearsal_runs_the_chain_until_it_is_called_off,
    monitors::suspended_monitors_and_nodes_and_observers_do_not_act,
    monitors::stop_group_leaves_it_to_the_other_node,
    monitors::probes_begin_at_even_distances_after_the_quiet_time,
    stories::the_preferred_node_starts_the_group_in_order,
    stories::a_group_that_starts_by_hand_waits_for_a_hand,
    stories::the_other_node_starts_it_when_the_preferred_one_stays_away,
    stories::a_move_stops_in_reverse_then_passes_on_then_starts_there,
    stories::a_takeover_where_the_group_runs_changes_nothing,
    stories::a_dead_owner_is_taken_over,
    stories::a_dead_owner_is_left_alone_when_failover_is_manual,
    stories::an_isolated_owner_kills_everything_before_the_other_starts,
    stories::a_kill_that_is_not_confirmed_in_time_reboots_the_host,
    stories::a_daemon_that_restarts_touches_nothing_that_is_on,
    stories::a_daemon_that_restarts_goes_on_from_what_is_there,
    stories::a_daemon_that_starts_beside_the_owner_takes_down_what_it_finds,
    stories::a_daemon_that_can_find_nothing_out_kills_within_the_fence,
    stories::a_daemon_that_never_saw_its_engine_guards_the_lease,
    stories::a_restarted_engine_has_no_time_left_when_the_lease_ends,
    stories::an_engine_that_restarts_interrupts_no_resource,
    stories::an_owner_whose_engine_stays_away_gives_up_what_it_has_on,
    stories::a_failed_disk_moves_the_group,
    stories::a_failed_disk_is_not_released_while_programs_may_live,
    stories::a_start_that_fails_is_retried_then_fails_over,
    stories::a_start_that_fails_everywhere_ends_in_the_final_action,
    stories::with_no_final_action_the_rest_stays_on,
    stories::a_start_that_hangs_counts_as_failed,
    stories::what_can_not_be_stopped_is_never_passed_on,
    stories::what_is_stuck_stays_until_an_operator_stops_it_again,
    stories::a_standby_that_had_no_mark_when_it_asked_is_fit_once_it_has_one,
    stories::a_stopped_group_stays_down_over_a_restart_of_both_daemons,
    stories::a_stopped_group_stays_down_when_the_node_that_stopped_it_dies,
    stories::a_cluster_stop_without_arbiter_releases,
    stories::resources_go_and_come_with_what_depends_on_them,
    stories::a_move_is_refused_before_anything_is_stopped,
    stories::failback_waits_until_the_preferred_node_is_in_sync_again,
    stories::a_cluster_stop_hands_over_and_takes_no_part,
    stories::a_cluster_stop_on_both_nodes_keeps_the_group_down_until_the_start,
    stories::a_suspended_node_takes_nothing_over_but_still_fences_itself,
    stories::a_stale_node_does_not_start_and_the_good_one_does,
    stories::both_hosts_lose_power_and_the_group_comes_up_once,
    stories::an_owner_that_reboots_inside_the_timeouts_lets_the_other_have_it,
    stories::the_arbiter_may_go_and_come_without_anybody_noticing,
    stories::verbs_of_the_mirror_go_through_the_group,
    stories::nothing_that_comes_for_a_forgotten_step_matters,
    stories::what_an_operator_wants_is_stored_before_the_answer,
];

/// A keeper dies with its daemon alone; without a disk, a mark or a link there is nothing that
/// could fail but the hosts and what they hear of each other.
const OF_ENGINES: &[&str] = &[
    "a_restart_inside_the_lease_fences_at_its_end",
    "a_slow_restart_beside_an_engine_that_serves_touches_nothing",
    "an_owner_whose_engine_is_dead_for_good_is_taken_over_from",
    "a_dead_engine_is_released_over_restarts_of_the_daemon_too",
    "a_daemon_that_can_find_nothing_out_kills_within_the_fence",
    "a_daemon_that_never_saw_its_engine_guards_the_lease",
    "an_owner_whose_engine_stays_away_gives_up_what_it_has_on",
    "a_failed_disk_moves_the_group",
    "a_failed_disk_is_not_released_while_programs_may_live",
    "a_standby_that_had_no_mark_when_it_asked_is_fit_once_it_has_one",
];

#[test]
fn every_story_holds_for_two_volumes() {
    assert_eq!(failing(2, ALL), [""; 0]);
}

#[test]
fn every_story_that_is_not_about_engines_holds_without_volumes() {
    let told = |name: &&str| ALL.iter().any(|(story, _)| story == name);
    assert!(OF_ENGINES.iter().all(told));
    let left: Vec<_> = ALL.iter().filter(|(name, _)| !OF_ENGINES.contains(name)).copied().collect();
    assert_eq!(failing(0, &left), [""; 0]);
}
