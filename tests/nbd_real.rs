//! A real mirror, both nodes in sync, under the clients of other people.

use harness::nbd_clients::{Outcome, Target, check_all};
use harness::pair::{A, Pair, Setup, engine, in_sync};

#[test]
fn the_clients_of_others_are_content_with_a_real_mirror() {
    let pair = Pair::in_sync(&Setup::quick());
    let target = Target::new(&pair.nodes[A].clients(), pair.size, pair.root());
    let ended = check_all(&target);
    println!("{ended:?}");
    let missing: Vec<_> = ended.iter().filter(|(_, outcome)| *outcome != Outcome::Passed).collect();
    let excused = std::env::var_os("CI").is_none() && std::env::var_os("LOCKSTEP_CI").is_none();
    assert!(missing.is_empty() || excused, "install what scripts/test names: {missing:?}");
    assert!(!ended.is_empty(), "nothing was checked");
    // All that they did has reached the other node.
    pair.wait(A, "nothing to be dirty", |report| {
        in_sync(report) && engine(report).is_some_and(|status| status.dirty_blocks == 0)
    });
    assert_eq!(pair.differing(), 0, "bytes differ\n{}", pair.logs());
}
