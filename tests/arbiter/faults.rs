//! What a store that is a process behind a network must do when either fails.

use crate::lab::{AMPLE, Faults, proved, proved_within};
use crate::words::record;
use lockstep_ctl::act::arbiter::{Arbiter, Trouble};
use lockstep_ctl::decide::event::{ReadResult, SwapResult};
use lockstep_engine::units::{NodeId, Version};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Deadline of calls that are to fail: the default of an attempt.
const ATTEMPT: Duration = Duration::from_secs(1);
/// What a loaded machine may add to it.
const SLACK: Duration = Duration::from_millis(500);

pub async fn a_lost_answer_is_recognised_as_the_own_win(lab: impl Faults) {
    let (a, b) = proved(&lab).await;
    lab.lose_next_answer(false);
    let next = record(1, NodeId::A, 10);
    // The connection breaks after the write: the store looks back and finds its own nonce.
    assert_eq!(a.swap(None, next.clone()).await, SwapResult::Won, "{:?}", a.health());
    assert_eq!(b.read().await, ReadResult::Found(next));
}

pub async fn a_lost_answer_is_unknown_until_one_looks_again(lab: impl Faults) {
    let (a, b) = proved_within(&lab, ATTEMPT).await;
    lab.lose_next_answer(true);
    let next = record(1, NodeId::A, 10);
    let begun = Instant::now();
    assert_eq!(a.swap(None, next.clone()).await, SwapResult::Unknown);
    assert!(begun.elapsed() < ATTEMPT + SLACK, "within the deadline");
    let slow = Some(Trouble::Slow { ms: 1000 });
    assert_eq!(a.health().trouble, slow);
    assert_eq!(a.swap(None, next.clone()).await, SwapResult::Won, "it had taken effect");
    assert_eq!(b.read().await, ReadResult::Found(next));
}

pub async fn a_lost_answer_to_a_write_that_lost_shows_the_winner(lab: impl Faults) {
    let (a, b) = proved(&lab).await;
    lab.hold_next_write();
    let late = tokio::spawn(a.swap(None, record(1, NodeId::A, 10)));
    held(&lab).await;
    let winner = record(1, NodeId::B, 11);
    assert_eq!(b.swap(None, winner.clone()).await, SwapResult::Won);
    lab.release();
    assert_eq!(late.await.unwrap(), SwapResult::Lost(winner));
}

pub async fn a_request_that_lands_late_is_unknown_before_and_seen_after(lab: impl Faults) {
    let (a, b) = proved_within(&lab, ATTEMPT).await;
    lab.hold_next_write();
    let next = record(1, NodeId::A, 10);
    assert_eq!(a.swap(None, next.clone()).await, SwapResult::Unknown);
    assert_eq!(a.read().await, ReadResult::Absent, "not landed yet, which closes nothing");
    lab.release();
    assert_eq!(b.read().await, ReadResult::Found(next.clone()), "it landed later");
    assert_eq!(a.swap(None, next).await, SwapResult::Won, "and is recognised");
}

pub async fn a_request_that_lands_after_it_was_closed_changes_nothing(lab: impl Faults) {
    let (a, b) = proved_within(&lab, ATTEMPT).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    lab.hold_next_write();
    let late = record(2, NodeId::A, 20);
    assert_eq!(a.swap(Some(Version(1)), late.clone()).await, SwapResult::Unknown);
    let closing = record(2, NodeId::B, 21);
    assert_eq!(b.swap(Some(Version(1)), closing.clone()).await, SwapResult::Won);
    lab.release();
    assert_eq!(a.read().await, ReadResult::Found(closing.clone()));
    assert_eq!(a.swap(Some(Version(1)), late).await, SwapResult::Lost(closing));
}

pub async fn a_store_that_restarts_in_the_middle_has_one_winner(mut lab: impl Faults) {
    let (a, b) = proved_within(&lab, ATTEMPT).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    for round in 1..4 {
        let expected = Some(Version(round));
        let mut racers = tokio::task::JoinSet::new();
        for (node, store) in [(NodeId::A, a.clone()), (NodeId::B, b.clone())] {
            let nonce = u128::from(round) * 10 + u128::from(node == NodeId::B);
            let next = record(round + 1, node, nonce + 100);
            // The rule of R4: the same write until its outcome is known.
            racers.spawn(async move { (next.nonce, settle(&store, expected, next).await) });
        }
        // Both are on their way when the store dies.
        tokio::task::yield_now().await;
        lab.restart();
        let mut winners = Vec::new();
        while let Some(ended) = racers.join_next().await {
            if let (nonce, SwapResult::Won) = ended.unwrap() {
                winners.push(nonce);
            }
        }
        let ReadResult::Found(stored) = a.read().await else { panic!("{:?}", a.health()) };
        assert_eq!((stored.version, &winners[..]), (Version(round + 1), &[stored.nonce][..]));
    }
}

/// Writes until the outcome is known.
pub async fn settle(
    store: &Arc<dyn Arbiter>,
    expected: Option<Version>,
    next: lockstep_ctl::decide::record::Record,
) -> SwapResult {
    let begun = Instant::now();
    loop {
        match store.swap(expected, next.clone()).await {
            SwapResult::Unknown => {
                assert!(begun.elapsed() < 3 * AMPLE, "{:?}", store.health());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            known => return known,
        }
    }
}

pub async fn a_store_that_stands_still_is_unknown_within_the_deadline(lab: impl Faults) {
    let (a, b) = proved_within(&lab, ATTEMPT).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    lab.freeze(true);
    let begun = Instant::now();
    let next = record(2, NodeId::A, 2);
    let (swapped, read) = tokio::join!(a.swap(Some(Version(1)), next.clone()), b.read());
    assert!(begun.elapsed() < ATTEMPT + SLACK, "{:?}", begun.elapsed());
    assert_eq!((swapped, read), (SwapResult::Unknown, ReadResult::Failed));
    assert_eq!(b.health().trouble, Some(Trouble::Slow { ms: 1000 }));
    lab.freeze(false);
    assert_eq!(settle(&a, Some(Version(1)), next.clone()).await, SwapResult::Won);
    assert_eq!(b.read().await, ReadResult::Found(next), "as if nothing had been");
    assert_eq!(b.health().trouble, None);
}

/// Waits until a write is held.
async fn held(lab: &impl Faults) {
    let begun = Instant::now();
    while !lab.is_held() {
        assert!(begun.elapsed() < AMPLE, "no write came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
