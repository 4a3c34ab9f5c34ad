//! What each kind of store must do: the lists of races, for every file of tests that has stores.

/// Runs each named race of a module with stores of this kind.
macro_rules! races {
    ($module:ident, $new:expr; $($name:ident($($store:tt)+);)*) => {$(
        #[tokio::test]
        async fn $name() {
            crate::$module::$name($(races!(@ $store $new)),+).await;
        }
    )*};
    (@ $store:tt $new:expr) => { $new };
}

/// What every register must do, whatever keeps it.
macro_rules! agree {
    ($new:expr) => {
        races! { conform, $new;
            of_two_first_writers_one_wins(.);
            of_twelve_writers_one_wins(.);
            a_repeated_request_is_recognised(.);
            a_request_of_the_past_loses_and_a_read_is_never_stale(.);
            a_call_past_its_deadline_is_unknown_and_is_closed_by_a_write(.);
        }
    };
}

/// What every store must do.
macro_rules! conforms {
    ($kind:ident, $new:expr) => {
        mod $kind {
            use super::*;
            agree! { $new }
            races! { conform, $new;
                a_record_of_another_cluster_is_refused_in_both_directions(.);
                what_is_no_record_is_refused(.);
                alone_a_deleted_record_is_refused(.);
                with_both_nodes_there_a_deleted_record_is_seen_as_absent(.);
                alone_a_store_is_believed_only_if_the_pair_has_used_it(. .);
                two_stores_are_refused_and_told_apart(. .);
                a_peer_that_restarted_must_prove_itself_again(.);
            }
        }
    };
}

/// What a store must do that is a process behind a network.
macro_rules! withstands {
    ($kind:ident, $new:expr) => {
        mod $kind {
            use super::*;
            races! { faults, $new;
                a_lost_answer_is_recognised_as_the_own_win(.);
                a_lost_answer_is_unknown_until_one_looks_again(.);
                a_lost_answer_to_a_write_that_lost_shows_the_winner(.);
                a_request_that_lands_late_is_unknown_before_and_seen_after(.);
                a_request_that_lands_after_it_was_closed_changes_nothing(.);
                a_store_that_restarts_in_the_middle_has_one_winner(.);
                a_store_that_stands_still_is_unknown_within_the_deadline(.);
            }
        }
    };
}
