//! Every store of the record through the same races and refusals, each on an empty store of its
//! own; what needs a process and a network, on the stores that have them; several servers.
//! A new kind of store joins with a `Lab` and a line of `conforms!`.
#![allow(clippy::unwrap_used)]

#[path = "arbiter/causes.rs"]
mod causes;
#[path = "arbiter/conform.rs"]
mod conform;
#[path = "arbiter/directory.rs"]
mod directory;
#[path = "arbiter/etcd.rs"]
mod etcd;
#[path = "arbiter/faults.rs"]
mod faults;
#[path = "arbiter/lab.rs"]
mod lab;
#[path = "arbiter/members.rs"]
mod members;
#[path = "arbiter/none.rs"]
mod none;
#[path = "arbiter/server.rs"]
mod server;
#[path = "arbiter/valve.rs"]
mod valve;
#[path = "arbiter/words.rs"]
mod words;

use directory::DirectoryLab;
use etcd::EtcdLab;
use none::NoneLab;

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

/// What a pair that is its own store must do as well. What it does alone, and what becomes of a
/// lost answer, is tested beside it: it has no outside to be damaged or taken away.
macro_rules! agrees {
    ($kind:ident, $new:expr) => {
        mod $kind {
            use super::*;
            agree! { $new }
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

conforms!(a_directory, DirectoryLab::new());
conforms!(an_etcd, EtcdLab::new());
agrees!(no_store, NoneLab::new());
withstands!(an_etcd_with_faults, EtcdLab::new());
