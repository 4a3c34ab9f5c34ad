//! What every store of the record must do, each as a race or a refusal on an empty store.

use crate::lab::{AMPLE, Lab, proved, proved_as};
use crate::words::{CLUSTER, PROOF_A, PROOF_B, alone, heard, record};
use lockstep_ctl::act::arbiter::{PairView, Trouble};
use lockstep_ctl::decide::event::{ReadResult, SwapResult};
use lockstep_ctl::decide::record::Record;
use lockstep_engine::units::{ClusterId, NodeId, Nonce, Version};

pub async fn of_two_first_writers_one_wins(lab: impl Lab) {
    let (a, b) = proved(&lab).await;
    let (mine, theirs) = (record(1, NodeId::A, 10), record(1, NodeId::B, 11));
    let (left, right) = tokio::join!(a.swap(None, mine.clone()), b.swap(None, theirs.clone()));
    match (left, right) {
        (SwapResult::Won, SwapResult::Lost(seen)) => assert_eq!(seen, mine),
        (SwapResult::Lost(seen), SwapResult::Won) => assert_eq!(seen, theirs),
        other => panic!("exactly one must win, not {other:?}"),
    }
    assert_eq!(a.read().await, b.read().await, "both see the winner");
}

pub async fn of_twelve_writers_one_wins(lab: impl Lab) {
    let (a, b) = proved(&lab).await;
    for round in 0..8 {
        let mut racers = tokio::task::JoinSet::new();
        for racer in 0..12_u128 {
            let (node, store) =
                if racer % 2 == 0 { (NodeId::A, a.clone()) } else { (NodeId::B, b.clone()) };
            let next = record(round + 1, node, (u128::from(round) + 1) * 100 + racer);
            let expected = (round > 0).then_some(Version(round));
            racers.spawn(async move { (next.nonce, store.swap(expected, next).await) });
        }
        let (mut winners, mut losers) = (Vec::new(), Vec::new());
        while let Some(ended) = racers.join_next().await {
            match ended.expect("no panic") {
                (nonce, SwapResult::Won) => winners.push(nonce),
                (_, SwapResult::Lost(seen)) => losers.push(seen.nonce),
                (_, SwapResult::Unknown) => panic!("{:?}", a.health()),
            }
        }
        let ReadResult::Found(stored) = b.read().await else { panic!("a record") };
        assert_eq!(winners, [stored.nonce], "round {round}: one winner, and it is stored");
        assert!(losers.iter().all(|seen| *seen == stored.nonce), "losers are told the winner");
    }
}

pub async fn a_repeated_request_is_recognised(lab: impl Lab) {
    let (a, b) = proved(&lab).await;
    let first = record(1, NodeId::A, 10);
    let next = record(2, NodeId::A, 20);
    assert_eq!(a.swap(None, first.clone()).await, SwapResult::Won);
    assert_eq!(a.swap(None, first).await, SwapResult::Won);
    assert_eq!(a.swap(Some(Version(1)), next.clone()).await, SwapResult::Won);
    // The answer was lost on the way: the same request is sent again.
    assert_eq!(a.swap(Some(Version(1)), next.clone()).await, SwapResult::Won);
    assert_eq!(b.read().await, ReadResult::Found(next));
}

pub async fn a_request_of_the_past_loses_and_a_read_is_never_stale(lab: impl Lab) {
    let (a, b) = proved(&lab).await;
    for version in 1..=3 {
        let expected = (version > 1).then(|| Version(version - 1));
        let newest = record(version, NodeId::B, u128::from(version));
        assert_eq!(b.swap(expected, newest.clone()).await, SwapResult::Won);
        assert_eq!(a.read().await, ReadResult::Found(newest), "seen by the other at once");
    }
    let newest = record(3, NodeId::B, 3);
    for expected in [None, Some(Version(1)), Some(Version(2))] {
        let version = expected.map_or(1, |version| version.0 + 1);
        let late = a.swap(expected, record(version, NodeId::A, 31)).await;
        assert_eq!(late, SwapResult::Lost(newest.clone()), "a request of the past");
    }
    assert_eq!(a.read().await, ReadResult::Found(newest));
}

pub async fn a_record_of_another_cluster_is_refused_in_both_directions(lab: impl Lab) {
    let (a, _b) = proved(&lab).await;
    let foreign = Record { cluster: ClusterId(0xbad), ..record(1, NodeId::A, 1) };
    assert_eq!(a.swap(None, foreign.clone()).await, SwapResult::Unknown);
    assert_eq!(a.health().trouble, Some(Trouble::ForeignRecord));
    assert_eq!(a.read().await, ReadResult::Absent, "nothing was written");
    lab.plant(&serde_json::to_vec(&foreign).unwrap());
    assert_eq!(a.read().await, ReadResult::Failed);
    assert_eq!(a.health().trouble, Some(Trouble::ForeignRecord));
    assert_eq!(a.swap(None, record(1, NodeId::A, 2)).await, SwapResult::Unknown);
}

pub async fn what_is_no_record_is_refused(lab: impl Lab) {
    let (a, _b) = proved(&lab).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    let sound = serde_json::to_vec(&record(2, NodeId::A, 2)).unwrap();
    for bytes in [&b"{}"[..], b"", b"\xff\x00", &sound[..sound.len() / 2], &[b' '; 9000]] {
        lab.plant(bytes);
        assert_eq!(a.read().await, ReadResult::Failed);
        let trouble = a.health().trouble;
        let told = matches!(trouble, Some(Trouble::Damaged { .. } | Trouble::Unreadable { .. }));
        assert!(told, "{trouble:?}");
        let swapped = a.swap(Some(Version(1)), record(2, NodeId::A, 3)).await;
        assert_eq!(swapped, SwapResult::Unknown, "not written over");
    }
}

pub async fn alone_a_deleted_record_is_refused(lab: impl Lab) {
    let (a, _b) = proved(&lab).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    a.tell(alone(4));
    assert_eq!(a.read().await, ReadResult::Failed);
    let trouble = Trouble::RolledBack { found: Some(Version(1)), persisted: Version(4) };
    assert_eq!(a.health().trouble, Some(trouble));
    lab.delete();
    a.tell(alone(1));
    let trouble = Some(Trouble::RolledBack { found: None, persisted: Version(1) });
    assert_eq!(a.read().await, ReadResult::Failed);
    assert_eq!(a.health().trouble, trouble);
    assert_eq!(a.swap(None, record(1, NodeId::A, 2)).await, SwapResult::Unknown);
    assert_eq!(a.health().trouble, trouble);
    let no_floor = PairView { floor: None, ..alone(0) };
    a.tell(no_floor);
    assert_eq!(a.read().await, ReadResult::Failed);
    assert_eq!(a.health().trouble, Some(Trouble::FloorUnknown));
}

pub async fn with_both_nodes_there_a_deleted_record_is_seen_as_absent(lab: impl Lab) {
    let (a, b) = proved(&lab).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    assert_eq!(a.swap(Some(Version(1)), record(2, NodeId::A, 2)).await, SwapResult::Won);
    lab.delete();
    // The decider compares with what the engines have persisted and refuses (R4, matrix 3.1).
    assert_eq!(b.read().await, ReadResult::Absent);
    assert_eq!(b.swap(Some(Version(2)), record(3, NodeId::B, 3)).await, SwapResult::Unknown);
    assert!(matches!(b.health().trouble, Some(Trouble::RolledBack { found: None, .. })));
}

pub async fn alone_a_store_is_believed_only_if_the_pair_has_used_it(one: impl Lab, two: impl Lab) {
    let fresh = one.handle(NodeId::A, 100, AMPLE);
    fresh.tell(alone(0));
    assert_eq!(fresh.read().await, ReadResult::Failed);
    assert_eq!(fresh.health().trouble, Some(Trouble::NeverProved));

    let (a, b) = proved(&one).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    drop((a, b));
    let again = one.handle(NodeId::A, 103, AMPLE);
    again.tell(alone(1));
    assert_eq!(again.read().await, ReadResult::Found(record(1, NodeId::A, 1)));
    assert_eq!(again.swap(Some(Version(1)), record(2, NodeId::A, 2)).await, SwapResult::Won);

    // The other store has a pair of its own, and a record.
    let (other, _) = proved_as(&two, [201, 202], AMPLE).await;
    assert_eq!(other.swap(None, record(1, NodeId::A, 7)).await, SwapResult::Won);
    // This node's own files come from the first.
    let elsewhere = two.handle_with(one.state(), NodeId::A, 104, AMPLE);
    elsewhere.tell(alone(1));
    assert_eq!(elsewhere.read().await, ReadResult::Failed);
    let trouble = elsewhere.health().trouble;
    let told = matches!(trouble, Some(Trouble::OtherPair | Trouble::OtherStore { .. }));
    assert!(told, "{trouble:?}");
}

pub async fn two_stores_are_refused_and_told_apart(one: impl Lab, two: impl Lab) {
    let (a, b) = (one.handle(NodeId::A, PROOF_A, AMPLE), two.handle(NodeId::B, PROOF_B, AMPLE));
    a.tell(heard(PROOF_B));
    b.tell(heard(PROOF_A));
    for store in [&a, &b] {
        assert_eq!(store.read().await, ReadResult::Failed);
        let swapped = store.swap(None, record(1, NodeId::A, 1)).await;
        assert_eq!(swapped, SwapResult::Unknown);
        assert_eq!(store.health().trouble, Some(Trouble::Different { found: None }));
    }
}

pub async fn a_peer_that_restarted_must_prove_itself_again(lab: impl Lab) {
    let (a, _b) = proved(&lab).await;
    a.tell(heard(555));
    assert_eq!(a.read().await, ReadResult::Failed);
    let found = Some(Nonce(PROOF_B));
    assert_eq!(a.health().trouble, Some(Trouble::Different { found }));
    a.tell(PairView { peer_nonce: None, ..heard(0) });
    assert_eq!(a.read().await, ReadResult::Failed);
    assert_eq!(a.health().trouble, Some(Trouble::PeerUnproved));
    let restarted = lab.handle(NodeId::B, 555, AMPLE);
    restarted.tell(heard(PROOF_A));
    assert_eq!(restarted.read().await, ReadResult::Absent);
    a.tell(heard(555));
    assert_eq!(a.read().await, ReadResult::Absent);
}

pub async fn a_call_past_its_deadline_is_unknown_and_is_closed_by_a_write(lab: impl Lab) {
    let (a, _b) = proved(&lab).await;
    let hasty = lab.handle(NodeId::B, PROOF_B, std::time::Duration::ZERO);
    hasty.tell(heard(PROOF_A));
    assert_eq!(hasty.swap(None, record(1, NodeId::B, 9)).await, SwapResult::Unknown);
    assert!(matches!(hasty.health().trouble, Some(Trouble::Slow { .. })));
    // The attempt is closed by the same write (R4): exactly one of the two lands.
    let closed = a.swap(None, record(1, NodeId::A, 10)).await;
    let ReadResult::Found(stored) = a.read().await else { panic!("a record") };
    match closed {
        SwapResult::Won => assert_eq!(stored.nonce, Nonce(10)),
        SwapResult::Lost(other) => assert_eq!(stored, other),
        SwapResult::Unknown => panic!("{:?}", a.health()),
    }
    assert_eq!(stored.cluster, CLUSTER);
}
