//! What operators are told by two real nodes: the truth, its cause and the next move, with an exit
//! code that fits. Nothing here is about data; `failover.rs` is.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use harness::pair::{A, Answer, B, PATIENCE, Pair, Setup, engine, serves};
use lockstep_ctl::status::Report;
use lockstep_engine::units::{LinkState, Members, Mirror, NodeId, Role};
use lockstep_nbd::client::{Address, Client, Options};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn told(answer: &Answer, code: i32, words: &[&str]) {
    assert_eq!(answer.code, code, "{answer:?}");
    for word in words {
        assert!(answer.text.contains(word), "no \"{word}\" in {answer:?}");
    }
}

/// One write that is acknowledged, to the node that serves.
fn write(pair: &Pair, node: usize, block: u64, byte: u8) {
    let address = Address::Unix(pair.nodes[node].clients());
    let mut client = Client::connect(&address, &Options::default()).unwrap();
    client.write(block * 4096, &[byte; 4096], true).unwrap();
}

/// Waits for an answer that `fits`; gives it.
fn answer(pair: &Pair, node: usize, args: &[&str], fits: impl Fn(&Answer) -> bool) -> Answer {
    let began = Instant::now();
    loop {
        let answer = pair.nodes[node].mirror(args);
        if fits(&answer) {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{args:?}: {answer:?}\n{}", pair.logs());
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn both_nodes_call_a_split_brain_by_its_name_and_go_on_doing_so() {
    let mut pair = Pair::in_sync(&Setup::quick());
    pair.nodes[B].kill();
    write(&pair, A, 1, 0xaa);
    pair.wait(A, "node a to go on alone", |report| {
        engine(report).is_some_and(|status| status.mirror == Mirror::Solo)
    });
    pair.nodes[A].kill();
    pair.nodes[B].start();
    pair.wait(B, "node a's record", |report| {
        let alone = Some(Members::only(NodeId::A));
        engine(report).is_some() && report.record.map(|record| record.members) == alone
    });
    let asked = pair.nodes[B].mirror(&["force-promote", "--dry-run"]);
    told(&asked, 0, &["not known here", "force"]);
    let loss = pair.nodes[B].mirror(&["force-promote", "--yes-i-lose", "vol"]);
    println!("{}", loss.text);
    told(&loss, 0, &["alone", "not known here", "serving here, by force"]);
    write(&pair, B, 2, 0xbb);
    pair.nodes[A].start();
    for node in [A, B] {
        answer(&pair, node, &["status"], |answer| answer.code == 5);
    }
    // The link tries again and again, and looks like one that meets each time.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        for (node, peer) in [(A, "node b"), (B, "node a")] {
            let shown = pair.nodes[node].mirror(&["status"]);
            let words = ["SPLIT BRAIN", "generation ", peer, "apart for", "Histories that parted"];
            told(&shown, 5, &words);
        }
        sleep(Duration::from_millis(20));
    }
    let shown = [A, B].map(|node| pair.nodes[node].mirror(&["status"]).text);
    println!("{}\n{}", shown[0], shown[1]);
    // What the runbook says ends it, and the colour with it. The record names node b alone.
    let kept = pair.nodes[B].mirror(&["discard-local", "--yes-i-lose", "vol"]);
    told(&kept, 8, &["names this copy as the one that counts", "node a"]);
    let asked = pair.nodes[A].mirror(&["discard-local", "--dry-run"]);
    told(&asked, 0, &["give up the copy of volume vol on node a"]);
    told(&pair.nodes[A].mirror(&["discard-local", "--yes-i-lose", "vol"]), 0, &["given up"]);
    for node in [A, B] {
        answer(&pair, node, &["status"], |answer| answer.code == 0);
    }
    let shown = pair.nodes[B].mirror(&["status"]);
    told(&shown, 0, &["green: in sync", "copy there    UpToDate"]);
}

#[test]
fn nothing_is_handed_to_a_node_whose_daemon_has_died_and_losing_a_node_is_not_called_safe() {
    let mut pair = Pair::in_sync(&Setup::default());
    answer(&pair, A, &["status"], |answer| answer.code == 0);
    told(&pair.nodes[A].mirror(&["move", "--dry-run"]), 0, &["move"]);
    pair.nodes[B].kill_daemon();
    // Three intervals: the silence is no evidence of anything yet.
    sleep(Duration::from_millis(2_000));
    for args in [&["move", "--dry-run"][..], &["move"]] {
        let refused = pair.nodes[A].mirror(args);
        println!("{}", refused.text);
        told(&refused, 8, &["node b", "last heartbeat of its daemon came", "start its daemon"]);
    }
    let shown = answer(&pair, A, &["status"], |answer| answer.code == 4);
    println!("{}", shown.text);
    told(&shown, 4, &["safe to lose  no: if node a is lost: the daemon of node b", "start the"]);
    assert!(pair.nodes[A].status().is_some_and(|report| serves(&report)));
    pair.nodes[B].start();
    answer(&pair, A, &["status"], |answer| answer.code == 0);
    pair.nodes[A].must(&["move"]);
    pair.wait(B, "node b to serve", serves);
}

/// What a dry run must leave as it is.
fn state(report: &Report) -> (Option<u64>, Role, bool, Option<u64>, u64) {
    let status = engine(report).unwrap();
    let version = status.record.map(|record| record.version.0);
    let verified = status.verify_done_blocks;
    (version, status.role, status.sync_paused, verified, status.verify_mismatches)
}

#[test]
fn a_dry_run_of_any_verb_of_a_mirror_does_nothing() {
    let pair = Pair::in_sync(&Setup::quick());
    let states = || [A, B].map(|node| state(&pair.nodes[node].status().unwrap()));
    let before = states();
    for args in lockstep_ctl::cli::changing_verbs() {
        let Some(("mirror", verb)) = args.split_once(' ') else { continue };
        for node in [A, B] {
            let answer = pair.nodes[node].mirror(&[verb, "--dry-run", "--timeout", "5"]);
            let id = pair.nodes[node].id;
            println!("node {id}: {verb}: {}", answer.text.trim_end());
            let refused = answer.text.contains("would be refused: ");
            assert_eq!(answer.code, if refused { 8 } else { 0 }, "{verb}: {answer:?}");
            assert!(!answer.text.trim().is_empty(), "{verb}");
            assert_eq!(states(), before, "{verb} on node {id}");
        }
    }
    told(&pair.nodes[A].mirror(&["verify", "--dry-run"]), 0, &["1. compare both copies"]);
    told(&pair.nodes[A].mirror(&["pause", "--dry-run"]), 0, &["1. hold back resync"]);
    // What it says is what comes.
    told(&pair.nodes[B].mirror(&["create", "--dry-run"]), 8, &["the mirror exists already"]);
    told(&pair.nodes[B].mirror(&["takeover", "--dry-run"]), 8, &["node a is alive"]);
    told(&pair.nodes[A].mirror(&["force-promote", "--dry-run"]), 8, &["primary already"]);
}

#[test]
fn refusals_name_their_cause_and_mistyped_names_are_usage_errors() {
    let pair = Pair::in_sync(&Setup::quick());
    told(&pair.nodes[B].mirror(&["verify"]), 3, &["it runs on node a", "verify` there"]);
    let began = Instant::now();
    let alive = pair.nodes[B].mirror(&["takeover"]);
    told(&alive, 8, &["node a is alive"]);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    for verb in ["status", "pause", "move"] {
        told(&pair.nodes[A].mirror(&[verb, "--volume", "nope"]), 2, &["nope", "known are: vol"]);
    }
    told(&pair.nodes[A].mirror(&["force-promote", "--yes-i-lose", "nope"]), 2, &["nope"]);
    told(&pair.nodes[A].mirror(&["verify"]), 0, &["both copies are equal"]);
}

#[test]
fn hints_repeat_the_configuration_and_a_failed_engine_tells_its_next_try() {
    let mut pair = Pair::make(&Setup { size: 16 << 20, ..Setup::quick() });
    let key = pair.root().join("key");
    let kept = fs::read(&key).unwrap();
    pair.nodes[A].start();
    pair.wait(A, "the engine", |report| engine(report).is_some());
    let config = pair.nodes[A].node_toml();
    let lockstep = harness::bins::find().unwrap().lockstep;
    let run = |verb: &str| -> Answer {
        let mut command = Command::new(&lockstep);
        command.args(["mirror", verb, "--config"]).arg(&config).output().unwrap().into()
    };
    let hint = format!("`lockstep mirror create --config {}`", config.display());
    told(&run("status"), 4, &[&hint]);
    fs::write(&key, "short").unwrap();
    pair.nodes[A].kill_engine();
    // First the signal is told, then why the next one ended.
    let tries = |answer: &Answer| {
        answer.text.contains("key file") && answer.text.contains(" ago, next try in ")
    };
    let shown = answer(&pair, A, &["status"], tries);
    println!("{}", shown.text);
    told(&shown, 4, &["the engine here has ended: key file", "64 random hex digits", "see alarm"]);
    fs::write(&key, kept).unwrap();
    pair.wait(A, "the engine", |report| engine(report).is_some());
    let shown = pair.nodes[A].mirror(&["status"]);
    assert!(!shown.text.contains("has ended"), "{shown:?}");
}

#[test]
fn who_interrupts_a_verb_is_told_that_the_daemon_goes_on_with_it() {
    let mut pair = Pair::in_sync(&Setup::quick());
    pair.nodes[A].kill();
    let lockstep = harness::bins::find().unwrap().lockstep;
    let socket = pair.nodes[B].dir().join("run/daemon.sock");
    // Whoever runs this in the background of a shell has it ignore the interrupt, and its children.
    let mut waits = Command::new("env")
        .arg("--default-signal=INT")
        .arg(lockstep)
        .args(["mirror", "takeover", "--socket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(700));
    assert_eq!(waits.try_wait().unwrap(), None, "it waits for evidence");
    harness::pair::signal(waits.id(), "INT");
    let ended = waits.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    println!("{said}");
    assert_eq!(ended.status.signal(), Some(2), "{:?} {said}", ended.status);
    assert!(said.contains("the request goes on in the daemon"), "{said}");
    pair.wait(B, "node b to take over all the same", serves);
}

#[test]
fn while_the_engine_of_the_primary_is_down_nothing_is_called_in_sync() {
    let mut pair = Pair::in_sync(&Setup::quick());
    pair.nodes[A].kill();
    pair.wait(B, "the link to be lost", |report| {
        engine(report).is_some_and(|status| status.link == LinkState::Down)
    });
    let shown = pair.nodes[B].mirror(&["status"]);
    println!("{}", shown.text);
    told(&shown, 4, &["0 by the newest record known here", "they are not connected"]);
}
