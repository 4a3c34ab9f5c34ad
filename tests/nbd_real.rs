//! A real engine, served by a real daemon, under the clients of other people.

use harness::nbd_clients::{Outcome, Target, check_all};
use harness::pair::{A, Pair, Setup, serves};

#[test]
fn the_clients_of_others_are_content_with_a_real_engine() {
    let mut pair = Pair::make(&Setup::quick());
    pair.nodes[A].start();
    pair.wait(A, "the arbiter", |report| {
        report.arbiter.tried && report.arbiter.trouble.is_none() && report.engine.is_some()
    });
    pair.nodes[A].must(&["create"]);
    pair.nodes[A].must(&["start", "--without-peer"]);
    pair.wait(A, "node a to serve", serves);
    let target = Target::new(&pair.nodes[A].clients(), pair.size, pair.root());
    let ended = check_all(&target);
    println!("{ended:?}");
    let missing: Vec<_> = ended.iter().filter(|(_, outcome)| *outcome != Outcome::Passed).collect();
    let excused = std::env::var_os("CI").is_none() && std::env::var_os("LOCKSTEP_CI").is_none();
    assert!(missing.is_empty() || excused, "install what scripts/test names: {missing:?}");
    assert!(!ended.is_empty(), "nothing was checked");
}
