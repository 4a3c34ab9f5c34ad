//! An etcd of three servers whose leader is killed while two nodes race.

use crate::etcd::place;
use crate::faults::settle;
use crate::server::{self, Server};
use crate::words::{PROOF_A, PROOF_B, alone, heard, record};
use lockstep_ctl::act::arbiter::etcd::Etcd;
use lockstep_ctl::act::arbiter::{Arbiter, Trouble};
use lockstep_ctl::decide::event::{ReadResult, SwapResult};
use lockstep_engine::units::{NodeId, Nonce, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const ATTEMPT: Duration = Duration::from_secs(1);
/// Versions that are fought for.
const VERSIONS: u64 = 60;

fn endpoints(servers: &[Server]) -> Vec<String> {
    servers.iter().map(Server::endpoint).collect()
}

/// Both nodes' handles, proved. Each tries the servers in another order.
async fn pair(dir: &Path, servers: &[Server]) -> [Arc<dyn Arbiter>; 2] {
    let mut endpoints = endpoints(servers);
    let a = Etcd::new(place(dir, NodeId::A, &endpoints, ATTEMPT), Nonce(PROOF_A)).unwrap();
    endpoints.reverse();
    let b = Etcd::new(place(dir, NodeId::B, &endpoints, ATTEMPT), Nonce(PROOF_B)).unwrap();
    a.tell(heard(PROOF_B));
    b.tell(heard(PROOF_A));
    let begun = Instant::now();
    while [a.read().await, b.read().await].contains(&ReadResult::Failed) {
        assert!(begun.elapsed() < 10 * ATTEMPT, "{:?} {:?}", a.health(), b.health());
    }
    [Arc::new(a), Arc::new(b)]
}

fn leader(servers: &[Server]) -> usize {
    let begun = Instant::now();
    loop {
        if let Some(at) = servers.iter().position(Server::leads) {
            return at;
        }
        assert!(begun.elapsed() < 20 * ATTEMPT, "no leader");
        std::thread::sleep(Duration::from_millis(50));
    }
}

enum Order {
    Kill,
    Restart,
}

/// Kills leaders and starts them again as ordered; tells how many it killed.
fn kill_leaders(servers: &mut [Server], orders: &std::sync::mpsc::Receiver<Order>) -> usize {
    let (mut kills, mut down) = (0, None);
    for order in orders {
        match (order, down) {
            (Order::Kill, None) => {
                let at = leader(servers);
                servers[at].kill();
                kills += 1;
                down = Some(at);
            }
            (Order::Restart, Some(at)) => {
                servers[at].spawn();
                down = None;
            }
            _ => panic!("orders alternate"),
        }
    }
    kills
}

/// What a node was told of a version.
struct Told {
    version: u64,
    nonce: Nonce,
    won: bool,
}

/// Fights for every version; tells what it is told.
async fn fight(node: NodeId, store: Arc<dyn Arbiter>, tell: mpsc::UnboundedSender<Told>) {
    let mut seen = 0;
    while seen < VERSIONS {
        let nonce = u128::from(seen + 1) * 2 + u128::from(node == NodeId::B);
        let next = record(seen + 1, node, nonce);
        let expected = (seen > 0).then_some(Version(seen));
        let (now, won) = match settle(&store, expected, next.clone()).await {
            SwapResult::Won => (next, true),
            SwapResult::Lost(now) => (now, false),
            SwapResult::Unknown => unreachable!("settled"),
        };
        assert!(now.version.0 > seen, "a loser is told something newer");
        seen = now.version.0;
        tell.send(Told { version: seen, nonce: now.nonce, won }).unwrap();
    }
}

#[tokio::test]
async fn while_leaders_are_killed_each_version_has_one_winner() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = server::start(dir.path(), 3, &[]);
    let [a, b] = pair(dir.path(), &servers).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let fights = [
        tokio::spawn(fight(NodeId::A, a.clone(), tell.clone())),
        tokio::spawn(fight(NodeId::B, b.clone(), tell)),
    ];
    let (mut nonces, mut winners) = (BTreeMap::new(), BTreeSet::new());
    let mut turns = vec![55, 45, 35, 25, 15, 5];
    // In a thread of its own, so that both go on while a leader is looked for and dies.
    let (order, orders) = std::sync::mpsc::channel();
    let killer = std::thread::spawn(move || kill_leaders(&mut servers, &orders));
    while let Some(Told { version, nonce, won }) = told.recv().await {
        let known = *nonces.entry(version).or_insert(nonce);
        assert_eq!(known, nonce, "version {version} was told in two ways");
        assert!(!won || winners.insert(version), "version {version} was won twice");
        if turns.last().is_some_and(|turn| version >= *turn) {
            turns.pop();
            order.send(if turns.len() % 2 == 1 { Order::Kill } else { Order::Restart }).unwrap();
        }
    }
    for fight in fights {
        fight.await.unwrap();
    }
    // Who wrote the next version knew this one. A winner may have learned of its own win only when
    // it was already superseded, so that nobody was told of it; that is rare.
    assert!(nonces.keys().copied().eq(1..=VERSIONS), "{nonces:?}");
    assert!(winners.len() * 10 >= nonces.len() * 8, "{} of {VERSIONS} won", winners.len());
    let last = settle(&a, Some(Version(VERSIONS - 1)), record(VERSIONS, NodeId::A, 1)).await;
    let SwapResult::Lost(last) = last else { panic!("{last:?}") };
    // The servers end with the thread that holds them.
    drop(order);
    assert_eq!(killer.join().unwrap(), 3, "leaders were killed");
    assert_eq!((last.version.0, Some(&last.nonce)), (VERSIONS, nonces.get(&VERSIONS)));
}

#[tokio::test]
async fn one_of_three_servers_neither_decides_nor_tells_what_may_be_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = server::start(dir.path(), 3, &[]);
    let [a, _b] = pair(dir.path(), &servers).await;
    let first = record(1, NodeId::A, 10);
    assert_eq!(settle(&a, None, first.clone()).await, SwapResult::Won);
    a.tell(alone(1));
    assert_eq!(a.read().await, ReadResult::Found(first));

    servers[1].kill();
    servers[2].kill();
    // The survivor still has the record, and may not say so.
    let begun = Instant::now();
    while !matches!(a.health().trouble, Some(Trouble::NoLeader { .. })) {
        assert_eq!(a.read().await, ReadResult::Failed, "old values are not told");
        let swapped = a.swap(Some(Version(1)), record(2, NodeId::A, 20)).await;
        assert_eq!(swapped, SwapResult::Unknown);
        assert!(begun.elapsed() < 15 * ATTEMPT, "{:?}", a.health());
    }
    servers[1].spawn();
    let settled = settle(&a, Some(Version(1)), record(2, NodeId::A, 20)).await;
    assert_eq!(settled, SwapResult::Won, "two of three decide again");
}
