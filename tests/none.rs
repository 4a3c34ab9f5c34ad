//! A cluster without a store: two real nodes that keep the record between them. What each decides
//! alone, what it does when it takes itself for cut off, and what becomes of two that both decided
//! alone: they are never merged, always reported, and an operator gives one of them up. Each node
//! lies in a namespace of its own, with a world that answers it or does not. Needs root.
#![allow(clippy::unwrap_used)]

use harness::cluster::{A, B, Cluster, GROUP, Setup, is_up};
use harness::pair::{Answer, may_make_spaces};
use lockstep_ctl::act::arbiter::Trouble;
use lockstep_ctl::demo::load::Load;
use lockstep_ctl::status::cluster::ClusterReport;
use lockstep_engine::units::NodeId;
use lockstep_nbd::client::{Address, Client, Options};
use std::thread::sleep;
use std::time::Duration;

/// Blocks that a load works on: 16 MiB.
const BLOCKS: usize = 4_096;
/// A server that answers nothing for so long is given up.
const STALL: Duration = Duration::from_secs(20);
/// Time that a load runs undisturbed.
const CALM: Duration = Duration::from_millis(1_200);
/// Longer than any decision: the heartbeat timeout and both attempts after it.
const UNDECIDED: Duration = Duration::from_secs(9);

fn told(answer: &Answer, code: i32, words: &[&str]) {
    assert_eq!(answer.code, code, "{answer:?}");
    for word in words {
        assert!(answer.text.contains(word), "no \"{word}\" in {answer:?}");
    }
}

fn up() -> Option<Cluster> {
    up_with(1)
}

fn up_with(volumes: usize) -> Option<Cluster> {
    let setup = Setup { storeless: true, volumes, ..Setup::default() };
    may_make_spaces().then(|| Cluster::up(&setup))
}

/// A verb of the mirror of the first volume.
fn mirror(cluster: &Cluster, node: usize, args: &[&str]) -> Answer {
    cluster.nodes[node].lockstep(&[&["mirror"], args, &["--volume", "vol"]].concat())
}

fn calm(cluster: &Cluster, load: &Load) {
    harness::pair::calm(load, CALM, &|| cluster.logs());
}

/// Pulls every cable between the nodes, or puts them back.
fn join(cluster: &Cluster, there: bool) {
    for cable in ["wire", "beat"] {
        cluster.spaces().plug(cable, there);
    }
}

fn trouble(report: &ClusterReport) -> Option<&Trouble> {
    report.groups[0].arbiter.trouble.as_ref()
}

fn is_split(report: &ClusterReport) -> bool {
    matches!(trouble(report), Some(Trouble::SplitBrain { .. }))
}

fn client(cluster: &Cluster, node: usize) -> Client {
    let address = Address::Unix(cluster.nodes[node].clients());
    Client::connect(&address, &Options::default()).unwrap()
}

fn write(cluster: &Cluster, node: usize, block: u64, byte: u8) {
    client(cluster, node).write(block * 4096, &[byte; 4096], true).unwrap();
}

fn read(cluster: &Cluster, node: usize, block: u64) -> u8 {
    let mut bytes = [0; 4096];
    client(cluster, node).read(block * 4096, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "block {block} on node {node} is torn");
    bytes[0]
}

#[test]
fn a_dead_host_is_replaced_by_a_node_that_the_world_answers_and_by_no_other() {
    let Some(mut cluster) = up() else { return };
    let load = cluster.load(BLOCKS, STALL);
    calm(&cluster, &load);
    for node in [A, B] {
        let shown = cluster.nodes[node].lockstep(&["status"]);
        told(&shown, 0, &["no arbiter: both nodes may become active", "answers"]);
    }
    let asked = cluster.nodes[B].lockstep(&["what-if", "node-down", "a"]);
    told(&asked, 0, &["takes over", "there is no arbiter: node b goes on only if world answers"]);
    cluster.nodes[B].world(false);
    cluster.wait(B, "node b to know that it could not decide", |report| !report.safe);
    let shown = cluster.nodes[B].lockstep(&["status"]);
    told(&shown, 4, &["the isolation probe does not answer node b"]);
    cluster.nodes[A].kill();
    sleep(UNDECIDED);
    let report = cluster.nodes[B].report().unwrap();
    assert!(!is_up(&report), "{report:?}\n{}", cluster.logs());
    cluster.wait(B, "node b to say why", |report| trouble(report) == Some(&Trouble::Isolated));
    cluster.nodes[B].world(true);
    let took = cluster.wait(B, "the group on node b", is_up);
    println!("node b took over {took:.1?} after its world was back");
    calm(&cluster, &load);
    cluster.nodes[A].start();
    cluster.settle(B);
    cluster.judge(load, B);
    // The record lies on both nodes again: the way back needs both, and neither a store.
    cluster.nodes[B].must(&["group", "move", GROUP]);
    cluster.settle(A);
}

#[test]
fn a_cut_off_owner_stops_before_the_other_node_takes_over() {
    let Some(cluster) = up() else { return };
    let load = cluster.load(BLOCKS, STALL);
    calm(&cluster, &load);
    cluster.nodes[A].world(false);
    join(&cluster, false);
    let took = cluster.wait(B, "the group on node b", is_up);
    println!("node b took over after {took:.1?}");
    cluster.wait(A, "the group to be off node a", |report| {
        report.groups[0].resources.iter().all(|one| one.power == "off")
    });
    assert!(cluster.nodes[B].has_address() && !cluster.nodes[A].has_address());
    calm(&cluster, &load);
    cluster.nodes[A].world(true);
    join(&cluster, true);
    cluster.settle(B);
    cluster.judge_turns("app", &[A, B]);
    cluster.judge(load, B);
}

#[test]
fn a_node_that_boots_alone_waits_for_the_other_one_or_for_an_operator() {
    let Some(mut cluster) = up() else { return };
    write(&cluster, A, 1, 0x11);
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    cluster.reboot();
    cluster.nodes[B].start();
    cluster.wait(B, "node b to say why", |report| trouble(report) == Some(&Trouble::Rebooted));
    sleep(UNDECIDED);
    let report = cluster.nodes[B].report().unwrap();
    assert!(!is_up(&report), "{report:?}\n{}", cluster.logs());
    cluster.nodes[B].must(&["mirror", "force-promote", "--yes-i-lose", "vol"]);
    cluster.nodes[B].must(&["group", "start", GROUP]);
    cluster.wait(B, "the group on node b", is_up);
    write(&cluster, B, 1, 0x22);
    cluster.nodes[A].start();
    cluster.settle(B);
    cluster.same_disks(B);
    assert_eq!(read(&cluster, B, 1), 0x22);
}

/// Both go on alone, meet, and the node `loser` is given up.
fn part_and_give_up(loser: usize, volumes: usize) {
    let Some(cluster) = up_with(volumes) else { return };
    let (winner, names) = (1 - loser, ["a", "b"]);
    write(&cluster, A, 1, 0x11);
    told(&mirror(&cluster, loser, &["discard-local", "--dry-run"]), 8, &["have not gone on apart"]);
    join(&cluster, false);
    cluster.wait(B, "the group on node b", is_up);
    cluster.wait(A, "node a to go on alone", is_up);
    for (node, byte) in [(A, 0xaa), (B, 0xbb)] {
        write(&cluster, node, 2, byte);
        write(&cluster, node, 3 + node as u64, byte);
    }
    join(&cluster, true);
    for node in [A, B] {
        cluster.wait(node, "a split that is told", is_split);
        cluster.wait(node, "its event", |_| {
            cluster.nodes[node].events(0).iter().any(|event| event.code == "split-brain")
        });
    }
    // Nothing is merged, however long they see each other.
    sleep(Duration::from_secs(4));
    for (node, byte) in [(A, 0xaa), (B, 0xbb)] {
        let shown = cluster.nodes[node].lockstep(&["status"]);
        told(&shown, 5, &["split brain", "discard-local"]);
        let shown = mirror(&cluster, node, &["status"]);
        told(&shown, 5, &["SPLIT BRAIN", "Histories that parted", "no arbiter"]);
        assert_eq!(read(&cluster, node, 1), 0x11);
        assert_eq!(read(&cluster, node, 2), byte);
        assert!(is_up(&cluster.nodes[node].report().unwrap()), "{}", cluster.logs());
    }
    let asked = mirror(&cluster, loser, &["discard-local", "--dry-run"]);
    let (here, there) = (names[loser], names[winner]);
    let fill = format!("take the record of node {there}, and be filled whole from it");
    told(&asked, 0, &["lost: every write acknowledged", &format!("on node {here}"), &fill]);
    told(&mirror(&cluster, loser, &["discard-local"]), 2, &["--yes-i-lose vol"]);
    let typed = &["discard-local", "--yes-i-lose", "wol"];
    told(&mirror(&cluster, loser, typed), 2, &["is not its name"]);
    assert!(is_split(&cluster.nodes[loser].report().unwrap()), "nothing was done so far");
    told(&mirror(&cluster, loser, &["discard-local", "--yes-i-lose", "vol"]), 0, &["given up"]);
    cluster.settle(winner);
    for node in [A, B] {
        let id = if winner == A { NodeId::A } else { NodeId::B };
        cluster.wait(node, "a safe cluster with one owner", |report| {
            report.safe && report.groups[0].runs_on == Some(id) && trouble(report).is_none()
        });
    }
    assert!(cluster.nodes[winner].has_address() && !cluster.nodes[loser].has_address());
    cluster.same_disks(winner);
    let kept = [0xaa, 0xbb][winner];
    assert_eq!(read(&cluster, winner, 2), kept);
    assert_eq!(read(&cluster, winner, 3 + winner as u64), kept);
    assert_eq!(read(&cluster, winner, 3 + loser as u64), 0, "of the other side nothing is left");
    // It is a pair again, for good.
    cluster.nodes[winner].must(&["group", "move", GROUP]);
    cluster.settle(loser);
    assert_eq!(read(&cluster, loser, 2), kept);
}

#[test]
fn two_that_went_on_alone_are_told_and_the_old_owner_is_given_up() {
    part_and_give_up(A, 1);
}

#[test]
fn two_that_went_on_alone_are_told_and_the_new_owner_is_given_up() {
    part_and_give_up(B, 2);
}
