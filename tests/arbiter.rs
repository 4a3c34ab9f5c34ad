//! Every store of the record through the same races and refusals, each on an empty store of its
//! own; what needs a process and a network, on the stores that have them; several servers.
//! A new kind of store joins with a `Lab` and a line of `conforms!`.
#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "arbiter/kinds.rs"]
mod kinds;

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

conforms!(a_directory, DirectoryLab::new());
conforms!(an_etcd, EtcdLab::new());
agrees!(no_store, NoneLab::new());
withstands!(an_etcd_with_faults, EtcdLab::new());
