//! What every store of the record must do in a race, and what the directory must refuse.
//! `conform` takes any pair of handles on one store; the directory is the first to pass it.

use lockstep_ctl::act::arbiter::directory::{Directory, Place};
use lockstep_ctl::act::arbiter::{Arbiter, PairView, Trouble};
use lockstep_ctl::decide::event::{ReadResult, SwapResult};
use lockstep_ctl::decide::record::{Record, VolumeEntry};
use lockstep_engine::units::{
    ClusterId, Epoch, Generation, GroupId, Members, NodeId, Nonce, Version, VolumeId,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const CLUSTER: ClusterId = ClusterId(0xc1);
const GROUP: GroupId = GroupId(0x61);

fn record(version: u64, writer: NodeId, nonce: u128) -> Record {
    Record {
        cluster: CLUSTER,
        group: GROUP,
        version: Version(version),
        epoch: Epoch(1),
        owner: Some(writer),
        nonce: Nonce(nonce),
        writer,
        since: 0,
        forced: false,
        volumes: vec![VolumeEntry {
            volume: VolumeId(5),
            members: Members::BOTH,
            generation: Generation(1),
            parent: Generation::NONE,
        }],
    }
}

/// What any store must do. `a` and `b` are two nodes' handles on one empty store.
async fn conform(a: Arc<dyn Arbiter>, b: Arc<dyn Arbiter>) {
    assert_eq!(a.read().await, ReadResult::Absent, "an empty store says so");
    first_writer_wins(&a, &b).await;
    lost_reply_is_recognised(&a, &b).await;
    stale_writer_loses(&a, &b).await;
    one_of_many_wins(a, b).await;
}

async fn first_writer_wins(a: &Arc<dyn Arbiter>, b: &Arc<dyn Arbiter>) {
    let (mine, theirs) = (record(1, NodeId::A, 10), record(1, NodeId::B, 11));
    let (left, right) = tokio::join!(a.swap(None, mine.clone()), b.swap(None, theirs.clone()));
    match (left, right) {
        (SwapResult::Won, SwapResult::Lost(seen)) => assert_eq!(seen, mine),
        (SwapResult::Lost(seen), SwapResult::Won) => assert_eq!(seen, theirs),
        other => panic!("exactly one must win, not {other:?}"),
    }
    assert_eq!(a.read().await, b.read().await, "both see the winner");
}

async fn lost_reply_is_recognised(a: &Arc<dyn Arbiter>, b: &Arc<dyn Arbiter>) {
    let next = record(2, NodeId::A, 20);
    assert_eq!(a.swap(Some(Version(1)), next.clone()).await, SwapResult::Won);
    // The reply was lost on the way: the same request is sent again.
    assert_eq!(a.swap(Some(Version(1)), next.clone()).await, SwapResult::Won);
    assert_eq!(b.read().await, ReadResult::Found(next));
}

async fn stale_writer_loses(a: &Arc<dyn Arbiter>, b: &Arc<dyn Arbiter>) {
    let newest = record(3, NodeId::B, 30);
    assert_eq!(b.swap(Some(Version(2)), newest.clone()).await, SwapResult::Won);
    for expected in [None, Some(Version(1)), Some(Version(2))] {
        let version = expected.map_or(1, |version| version.0 + 1);
        let late = a.swap(expected, record(version, NodeId::A, 31)).await;
        assert_eq!(late, SwapResult::Lost(newest.clone()), "a request of the past");
    }
    assert_eq!(a.read().await, ReadResult::Found(newest), "a read is never stale");
}

async fn one_of_many_wins(a: Arc<dyn Arbiter>, b: Arc<dyn Arbiter>) {
    for round in 3..13 {
        let mut racers = tokio::task::JoinSet::new();
        for racer in 0..12_u128 {
            let (node, store) =
                if racer % 2 == 0 { (NodeId::A, a.clone()) } else { (NodeId::B, b.clone()) };
            let next = record(round + 1, node, u128::from(round) * 100 + racer);
            racers.spawn(async move { (next.nonce, store.swap(Some(Version(round)), next).await) });
        }
        let mut winners = Vec::new();
        while let Some(ended) = racers.join_next().await {
            if let (nonce, SwapResult::Won) = ended.expect("no panic") {
                winners.push(nonce);
            }
        }
        let ReadResult::Found(stored) = b.read().await else { panic!("a record") };
        assert_eq!(winners, [stored.nonce], "round {round}: one winner, and it is stored");
    }
}

fn directory(root: &Path, state: &Path, node: NodeId, own: u128) -> Directory {
    let place = Place {
        root: root.to_owned(),
        cluster: CLUSTER,
        group: GROUP,
        node,
        state_dir: state.join(node.to_string()),
        deadline: Duration::from_secs(10),
    };
    Directory::new(place, Nonce(own))
}

fn heard(nonce: u128) -> PairView {
    PairView { peer_heard: true, peer_nonce: Some(Nonce(nonce)), floor: Some(Version(0)) }
}

fn alone(floor: u64) -> PairView {
    PairView { peer_heard: false, peer_nonce: None, floor: Some(Version(floor)) }
}

/// Two handles that have proved each other. The first calls leave the proofs.
async fn proved(root: &Path, state: &Path) -> (Directory, Directory) {
    let (a, b) = (directory(root, state, NodeId::A, 101), directory(root, state, NodeId::B, 102));
    for store in [&a, &b] {
        assert_eq!(store.read().await, ReadResult::Failed, "nothing is believed unproved");
    }
    a.tell(heard(102));
    b.tell(heard(101));
    for store in [&a, &b] {
        assert_eq!(store.read().await, ReadResult::Absent);
    }
    (a, b)
}

#[tokio::test]
async fn a_directory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = proved(&dir.path().join("store"), dir.path()).await;
    conform(Arc::new(a), Arc::new(b)).await;
}

#[tokio::test]
async fn two_directories_are_refused_and_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let a = directory(&dir.path().join("one"), dir.path(), NodeId::A, 101);
    let b = directory(&dir.path().join("two"), dir.path(), NodeId::B, 102);
    a.tell(heard(102));
    b.tell(heard(101));
    for store in [&a, &b] {
        assert_eq!(store.read().await, ReadResult::Failed);
        let swapped = store.swap(None, record(1, NodeId::A, 1)).await;
        assert_eq!(swapped, SwapResult::Unknown);
        assert_eq!(store.health().trouble, Some(Trouble::Different { found: None }));
    }
}

#[tokio::test]
async fn alone_a_directory_is_believed_only_if_the_pair_has_used_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let fresh = directory(&root, dir.path(), NodeId::A, 100);
    fresh.tell(alone(0));
    assert_eq!(fresh.read().await, ReadResult::Failed);
    assert_eq!(fresh.health().trouble, Some(Trouble::NeverProved));

    let (a, b) = proved(&root, dir.path()).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    drop((a, b));
    let again = directory(&root, dir.path(), NodeId::A, 103);
    again.tell(alone(1));
    assert_eq!(again.read().await, ReadResult::Found(record(1, NodeId::A, 1)));

    let elsewhere = directory(&dir.path().join("other"), dir.path(), NodeId::A, 104);
    elsewhere.tell(alone(1));
    assert_eq!(elsewhere.read().await, ReadResult::Failed);
    assert_eq!(elsewhere.health().trouble, Some(Trouble::OtherPair));
}

#[tokio::test]
async fn alone_a_directory_that_was_rolled_back_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let (a, _b) = proved(&root, dir.path()).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    a.tell(alone(4));
    assert_eq!(a.read().await, ReadResult::Failed);
    let trouble = Trouble::RolledBack { found: Some(Version(1)), persisted: Version(4) };
    assert_eq!(a.health().trouble, Some(trouble));
}

#[tokio::test]
async fn a_peer_that_restarted_must_prove_itself_again() {
    let dir = tempfile::tempdir().unwrap();
    let (a, _b) = proved(&dir.path().join("store"), dir.path()).await;
    a.tell(heard(555));
    assert_eq!(a.read().await, ReadResult::Failed);
    let found = Some(Nonce(102));
    assert_eq!(a.health().trouble, Some(Trouble::Different { found }));
    a.tell(PairView { peer_nonce: None, ..heard(0) });
    assert_eq!(a.read().await, ReadResult::Failed);
    assert_eq!(a.health().trouble, Some(Trouble::PeerUnproved));
}

#[tokio::test]
async fn a_record_of_another_cluster_is_refused_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let (a, _b) = proved(&root, dir.path()).await;
    let foreign = Record { cluster: ClusterId(0xbad), ..record(1, NodeId::A, 1) };
    assert_eq!(a.swap(None, foreign.clone()).await, SwapResult::Unknown);
    assert_eq!(a.read().await, ReadResult::Absent, "nothing was written");
    let file = root.join(GROUP.to_string()).join(format!("{:020}", 1));
    std::fs::write(file, serde_json::to_vec(&foreign).unwrap()).unwrap();
    assert_eq!(a.read().await, ReadResult::Failed);
    assert_eq!(a.health().trouble, Some(Trouble::ForeignRecord));
}

#[tokio::test]
async fn a_call_past_its_deadline_is_unknown_and_may_land_later() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let (a, b) = proved(&root, dir.path()).await;
    drop(b);
    let place = Place {
        root: root.clone(),
        cluster: CLUSTER,
        group: GROUP,
        node: NodeId::B,
        state_dir: dir.path().join("b"),
        deadline: Duration::ZERO,
    };
    let hasty = Directory::new(place, Nonce(105));
    hasty.tell(heard(101));
    assert_eq!(hasty.swap(None, record(1, NodeId::B, 9)).await, SwapResult::Unknown);
    a.tell(heard(105));
    // The writer closes the attempt by the same write (R4): exactly one of the two lands.
    let mut closed = a.swap(None, record(1, NodeId::A, 10)).await;
    while closed == SwapResult::Unknown {
        closed = a.swap(None, record(1, NodeId::A, 10)).await;
    }
    let ReadResult::Found(stored) = a.read().await else { panic!("a record") };
    match closed {
        SwapResult::Won => assert_eq!(stored.nonce, Nonce(10)),
        SwapResult::Lost(other) => assert_eq!(stored, other),
        SwapResult::Unknown => unreachable!("the loop ends only with an outcome"),
    }
}
