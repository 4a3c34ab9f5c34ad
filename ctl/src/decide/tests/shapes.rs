//! The same stories of a group with two volumes, whose engines live and die together here, and of
//! one without any. Left out is what is told of one engine's word, which the other one does not
//! share, and, without volumes, what is about copies of data or about engines.

use super::engines::failing;
use super::{attempts, lease, race, release, takeover, verbs};

macro_rules! stories {
    ($($room:ident::$story:ident,)*) => {
        &[$((stringify!($story), $room::$story as fn())),*]
    };
}

const ALL: &[(&str, fn())] = stories![
    attempts::a_write_whose_reply_is_lost_is_recognised,
    attempts::a_write_that_lands_after_its_sender_restarted_is_closed,
    attempts::a_read_of_the_old_version_closes_nothing,
    attempts::a_restarted_engine_serves_again_after_a_read,
    attempts::a_restarted_engine_with_two_members_waits_for_the_arbiter,
    attempts::a_restarted_engine_that_is_alone_needs_no_arbiter,
    attempts::an_engine_that_restarts_without_its_peer_goes_on_alone_first,
    attempts::an_engine_that_dies_between_the_write_and_its_news_learns_it,
    attempts::a_move_whose_outcome_is_unknown_keeps_the_engine_demoted,
    attempts::a_stop_that_was_under_way_is_finished_after_a_restart,
    attempts::a_rolled_back_arbiter_gets_no_writes,
    attempts::a_deleted_record_is_a_rollback,
    lease::the_lease_ends_in_one_fast_fence,
    lease::a_fenced_owner_serves_again_when_peer_and_arbiter_are_back,
    lease::a_fenced_owner_goes_on_alone_when_only_the_arbiter_is_back,
    lease::heartbeats_alone_carry_the_lease,
    lease::a_sole_member_needs_no_lease,
    lease::an_engine_that_died_while_serving_is_fenced_by_its_daemon_too,
    lease::a_quiet_group_costs_a_probe_now_and_then,
    race::exactly_one_of_shrink_and_takeover_wins,
    race::a_takeover_that_lands_after_its_daemon_restarted_does_not_make_two,
    release::a_release_that_is_heard_late_finds_another_version,
    release::a_takeover_from_a_release_races_the_restarted_owner_for_one_version,
    release::an_owner_whose_copy_spoiled_at_rest_stores_a_stop_before_it_releases,
    release::a_release_that_is_withdrawn_is_served_under_another_version,
    release::an_owner_with_a_dead_engine_releases_and_follows_when_it_is_back,
    release::a_takeover_waits_until_an_engine_that_nobody_fenced_has_no_lease,
    release::a_returning_engine_is_not_served_under_a_version_released_without_it,
    release::an_engine_that_serves_what_was_released_is_fenced,
    release::a_release_with_a_dead_engine_waits_for_what_is_open,
    release::without_a_group_the_decider_gives_up_an_engine_that_stays_away,
    takeover::a_dead_primary_is_taken_over_from_after_the_evidence,
    takeover::a_live_primary_is_not_taken_over_from,
    takeover::without_the_mark_nothing_is_taken_over,
    takeover::a_restarted_engine_gets_its_mark_back,
    takeover::a_peer_that_comes_back_before_the_write_ends_the_takeover,
    takeover::an_isolated_primary_stops_before_the_other_starts,
    takeover::a_primary_that_reaches_the_arbiter_wins_and_the_other_learns_it_late,
    takeover::heartbeats_are_not_answered_by_an_owner_nor_during_a_takeover,
    verbs::create_writes_the_first_record_and_refuses_a_second,
    verbs::a_lost_race_to_create_is_refused,
    verbs::start_keeps_both_members_while_the_peer_is_connected,
    verbs::start_waits_until_the_intent_regions_are_equal,
    verbs::start_refuses_a_stale_or_bad_copy,
    verbs::start_alone_waits_for_the_boot_grace,
    verbs::an_operator_may_waive_the_boot_grace,
    verbs::a_heartbeat_starts_the_boot_grace_again,
    verbs::a_holder_of_the_mark_starts_alone_without_grace,
    verbs::start_goes_alone_beside_a_peer_whose_disk_was_replaced,
    verbs::whoever_says_that_the_peer_serves_nothing_does_not_wait_for_a_start_that_does,
    verbs::stop_leaves_nobody_primary,
    verbs::move_hands_over_and_back,
    verbs::move_is_refused_while_the_copies_differ,
    verbs::a_move_that_the_peer_cannot_accept_comes_back,
    verbs::a_move_without_arbiter_leaves_the_primary_serving,
    verbs::a_second_request_is_refused_while_one_is_under_way,
    verbs::a_request_without_an_engine_is_refused,
    verbs::force_makes_a_stale_copy_the_truth_through_the_arbiter,
    verbs::force_without_an_arbiter_serves_and_is_written_down_later,
    verbs::force_survives_a_restart_of_the_daemon_before_the_arbiter_is_back,
    verbs::a_released_group_is_taken_over_at_once,
    verbs::a_release_outlives_a_restart_of_the_daemon,
    verbs::a_release_can_be_taken_back_by_starting_here,
    verbs::a_failed_disk_is_handed_over,
    verbs::an_owner_that_rebooted_does_not_resume_and_lets_the_peer_take_over,
    verbs::an_owner_that_rebooted_is_started_by_its_operator,
    verbs::move_demotes_before_it_writes,
    verbs::a_released_group_can_be_stopped,
];

/// Each volume asks for itself, so that there may be two writes where one volume has one; and what
/// happens to one disk says nothing of the other.
const OF_ONE: &[&str] = &[
    "a_write_whose_reply_is_lost_is_recognised",
    "a_rolled_back_arbiter_gets_no_writes",
    "a_release_with_a_dead_engine_waits_for_what_is_open",
    "start_goes_alone_beside_a_peer_whose_disk_was_replaced",
];

/// A seat has no link, no engine that fails apart from its daemon, no copy, and no mark to lack; it
/// is created and started without them. It grows when the peer has answered for a while, not at
/// once.
const OF_COPIES: &[&str] = &[
    "a_write_whose_reply_is_lost_is_recognised",
    "a_write_that_lands_after_its_sender_restarted_is_closed",
    "a_read_of_the_old_version_closes_nothing",
    "a_restarted_engine_with_two_members_waits_for_the_arbiter",
    "a_restarted_engine_that_is_alone_needs_no_arbiter",
    "a_rolled_back_arbiter_gets_no_writes",
    "a_release_that_is_heard_late_finds_another_version",
    "a_takeover_from_a_release_races_the_restarted_owner_for_one_version",
    "an_owner_whose_copy_spoiled_at_rest_stores_a_stop_before_it_releases",
    "a_release_that_is_withdrawn_is_served_under_another_version",
    "an_owner_with_a_dead_engine_releases_and_follows_when_it_is_back",
    "a_takeover_waits_until_an_engine_that_nobody_fenced_has_no_lease",
    "a_returning_engine_is_not_served_under_a_version_released_without_it",
    "a_release_with_a_dead_engine_waits_for_what_is_open",
    "without_a_group_the_decider_gives_up_an_engine_that_stays_away",
    "a_dead_primary_is_taken_over_from_after_the_evidence",
    "a_live_primary_is_not_taken_over_from",
    "without_the_mark_nothing_is_taken_over",
    "a_primary_that_reaches_the_arbiter_wins_and_the_other_learns_it_late",
    "create_writes_the_first_record_and_refuses_a_second",
    "a_lost_race_to_create_is_refused",
    "start_refuses_a_stale_or_bad_copy",
    "start_alone_waits_for_the_boot_grace",
    "a_heartbeat_starts_the_boot_grace_again",
    "start_goes_alone_beside_a_peer_whose_disk_was_replaced",
    "whoever_says_that_the_peer_serves_nothing_does_not_wait_for_a_start_that_does",
    "move_is_refused_while_the_copies_differ",
    "a_request_without_an_engine_is_refused",
    "force_makes_a_stale_copy_the_truth_through_the_arbiter",
    "a_failed_disk_is_handed_over",
];

fn without(left_out: &[&str]) -> Vec<(&'static str, fn())> {
    assert!(left_out.iter().all(|name| ALL.iter().any(|(story, _)| story == name)));
    ALL.iter().filter(|(story, _)| !left_out.contains(story)).copied().collect()
}

#[test]
fn every_story_holds_for_two_volumes() {
    assert_eq!(failing(2, &without(OF_ONE)), [""; 0]);
}

#[test]
fn every_story_that_is_not_about_copies_holds_without_volumes() {
    assert_eq!(failing(0, &without(OF_COPIES)), [""; 0]);
}
