//! Every rule broken on purpose is found by a test that passes otherwise.

use super::{attempts, lease, race, release, takeover, verbs};
use crate::decide::mutant::{Mutant, set};
use std::panic::catch_unwind;

fn killer(mutant: Mutant) -> Option<fn()> {
    let test: fn() = match mutant {
        Mutant::CloseAttemptByReading => attempts::a_read_of_the_old_version_closes_nothing,
        Mutant::SwapBeforeAttemptStored => {
            verbs::start_keeps_both_members_while_the_peer_is_connected
        }
        Mutant::UnknownCountsAsLost => {
            attempts::a_move_whose_outcome_is_unknown_keeps_the_engine_demoted
        }
        Mutant::LoosenBeforeShrink => race::exactly_one_of_shrink_and_takeover_wins,
        Mutant::GrowWithoutNeed => verbs::move_is_refused_while_the_copies_differ,
        Mutant::TakeoverWithoutEvidence => takeover::a_live_primary_is_not_taken_over_from,
        Mutant::TakeoverWithoutMark => takeover::without_the_mark_nothing_is_taken_over,
        Mutant::TakeoverBeforeLease => takeover::an_isolated_primary_stops_before_the_other_starts,
        Mutant::AnswerWhileTakingOver => {
            takeover::heartbeats_are_not_answered_by_an_owner_nor_during_a_takeover
        }
        Mutant::NoFastFence => lease::the_lease_ends_in_one_fast_fence,
        Mutant::PromoteNotMember => verbs::start_refuses_a_stale_or_bad_copy,
        Mutant::PromoteWithoutRead => {
            attempts::a_restarted_engine_with_two_members_waits_for_the_arbiter
        }
        Mutant::ResumeAfterReboot => {
            verbs::an_owner_that_rebooted_does_not_resume_and_lets_the_peer_take_over
        }
        Mutant::ResumeWhatWasReleased => {
            release::a_release_that_is_heard_late_finds_another_version
        }
        Mutant::StartWithoutGrace => verbs::start_alone_waits_for_the_boot_grace,
        Mutant::BelieveRollback => attempts::a_rolled_back_arbiter_gets_no_writes,
        Mutant::MoveBeforeDemote => verbs::move_demotes_before_it_writes,
        // Masked in this room by R10; the simulator shows it with both rules broken.
        Mutant::ServeWithoutLease => return None,
        // Of groups, which this room's toys do not have: the simulator finds them.
        Mutant::StartBeforePromotion
        | Mutant::PassWhileOn
        | Mutant::StopOutOfOrder
        | Mutant::ReleaseBeforeFence
        | Mutant::PassUnconfirmedFence
        | Mutant::OutliveLease
        | Mutant::LengthenLease
        | Mutant::FailBackUnsynced
        | Mutant::StartWhatWasStopped
        | Mutant::ClaimOnce
        | Mutant::AdoptWhatStops
        | Mutant::WaitAfterRelease => return None,
    };
    Some(test)
}

/// All but `GrowWithoutNeed`, which takes an engine that is not ready, the masked one and those of
/// groups: the simulator finds them.
#[test]
fn every_broken_rule_is_found() {
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL.iter().copied().filter(|mutant| *mutant != Mutant::GrowWithoutNeed) {
        let Some(test) = killer(mutant) else { continue };
        set(&[mutant]);
        let found = catch_unwind(test).is_err();
        set(&[]);
        if !found {
            survivors.push(mutant);
        }
        test();
    }
    assert!(survivors.is_empty(), "not found: {survivors:?}");
}
