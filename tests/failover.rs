//! Two real nodes and what can happen to them: SIGKILL, SIGSTOP, cables, strangers, old copies.
//! Every test runs a load that knows what each block may hold, and ends with both data files
//! compared byte for byte. Times are printed: detection, decision, total outage.

use harness::pair::{A, B, PATIENCE, Pair, Process, Setup, engine, in_sync, serves};
use lockstep_ctl::demo::load::Load;
use lockstep_ctl::status::Report;
use lockstep_engine::units::{LinkState, Mirror, Role, Span};
use lockstep_nbd::client::{Address, Client, ClientError, Options};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// Blocks that a load works on: 16 MiB.
const BLOCKS: usize = 4_096;
/// A server that answers nothing for so long is given up.
const STALL: Duration = Duration::from_secs(20);
/// Time that a load runs undisturbed.
const CALM: Duration = Duration::from_millis(1_200);
/// Longest outage that a test about times accepts.
const OUTAGE_MAX: Duration = Duration::from_millis(2_500);

/// Lets the load run undisturbed; it must get on.
fn calm(pair: &Pair, load: &Load) {
    harness::pair::calm(load, CALM, &|| pair.logs());
}

/// Waits until `node` serves alone: when it began to hold writes, and when it went on.
fn alone(pair: &Pair, node: usize, since: Instant) -> (Duration, Duration) {
    let mut held = None;
    pair.wait(node, "the decision to go on alone", |report| {
        let mirror = engine(report).map(|status| status.mirror);
        if held.is_none() && matches!(mirror, Some(Mirror::Holding | Mirror::Solo)) {
            held = Some(since.elapsed());
        }
        mirror == Some(Mirror::Solo)
    });
    (held.unwrap_or_default(), since.elapsed())
}

fn told(what: &str, detection: Duration, decision: Duration, outage: Duration) {
    println!("{what}: detection {detection:.1?}, decision {decision:.1?}, outage {outage:.1?}");
}

#[test]
fn a_killed_standby_costs_a_short_pause_and_gets_back_only_what_differs() {
    let mut pair = Pair::in_sync(&Setup::default());
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    load.mark();
    let since = Instant::now();
    pair.nodes[B].kill();
    let (held, decided) = alone(&pair, A, since);
    calm(&pair, &load);
    let outage = load.seen().longest;
    told("standby killed", held, decided, outage);
    assert!(outage <= OUTAGE_MAX, "{outage:?}");
    assert!(load.pause(PATIENCE));
    let differed = pair.differing();
    pair.nodes[B].start();
    let (mut sent, mut dirty) = (0, 0);
    pair.wait(A, "the resync", |report| {
        if let Some(status) = engine(report) {
            sent = sent.max(status.sync_sent_bytes);
            dirty = dirty.max(status.sync_total_blocks * 4096);
        }
        in_sync(report)
    });
    println!("standby returned: {differed} bytes differed, {dirty} dirty, {sent} were sent");
    // A block that was written with what it held is dirty and does not differ; where everything
    // differs, pieces travel without being compared.
    assert!(differed > 0 && sent <= dirty, "{dirty} dirty, {sent} were sent");
    load.resume();
    calm(&pair, &load);
    assert_eq!(load.seen().errors, 0);
    pair.judge(load, A);
}

#[test]
fn a_takeover_after_the_death_of_the_primary_loses_no_acknowledged_write() {
    let mut pair = Pair::in_sync(&Setup::default());
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    load.mark();
    let since = Instant::now();
    pair.nodes[A].kill();
    let detection = pair.wait(B, "the link to be lost", |report| {
        engine(report).is_some_and(|status| status.link != LinkState::Up)
    });
    pair.nodes[B].must(&["takeover"]);
    let decision = since.elapsed();
    calm(&pair, &load);
    told("primary killed", detection, decision, load.seen().longest);
    pair.nodes[A].start();
    pair.wait(A, "the old primary to be a standby", |report| {
        engine(report).is_some_and(|status| status.role == Role::Secondary)
    });
    pair.judge(load, B);
}

#[test]
fn a_dead_primary_is_replaced_without_an_operator_and_a_busy_one_is_not() {
    let mut pair = Pair::in_sync(&Setup { auto: true, ..Setup::default() });
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    // The daemon lives, so its heartbeats keep the other from taking over.
    pair.nodes[A].kill_engine();
    calm(&pair, &load);
    pair.wait(A, "node a to serve again", |report| serves(report) && in_sync(report));
    load.mark();
    let since = Instant::now();
    pair.nodes[A].kill();
    pair.wait(B, "node b to take over", serves);
    let decision = since.elapsed();
    calm(&pair, &load);
    told("primary killed, nobody there", Duration::ZERO, decision, load.seen().longest);
    pair.nodes[A].start();
    pair.judge(load, B);
}

#[test]
fn a_killed_engine_of_the_primary_comes_back_and_serves_again() {
    let mut pair = Pair::in_sync(&Setup::default());
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    let start = |report: &Report| engine(report).map(|status| status.start);
    let before = pair.nodes[A].status().and_then(|report| start(&report));
    load.mark();
    let since = Instant::now();
    pair.nodes[A].kill_engine();
    pair.wait(A, "a new engine", |report| start(report).is_some() && start(report) != before);
    let back = since.elapsed();
    pair.wait(A, "node a to serve again", serves);
    let served = since.elapsed();
    calm(&pair, &load);
    told("engine killed", back, served, load.seen().longest);
    let role = pair.nodes[B].status().and_then(|report| Some(engine(&report)?.role));
    assert_eq!(role, Some(Role::Secondary));
    pair.judge(load, A);
}

#[test]
fn a_killed_engine_of_the_standby_is_back_before_anybody_decides() {
    let mut pair = Pair::in_sync(&Setup::default());
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    load.mark();
    pair.nodes[B].kill_engine();
    pair.wait(B, "a new engine in sync", |report| {
        engine(report).is_some_and(|status| status.link == LinkState::Up)
    });
    calm(&pair, &load);
    told("engine of standby killed", Duration::ZERO, Duration::ZERO, load.seen().longest);
    assert!(load.seen().longest <= OUTAGE_MAX, "{:?}", load.seen().longest);
    assert_eq!(load.seen().errors, 0);
    pair.judge(load, A);
}

#[test]
fn a_standby_in_the_middle_of_a_resync_never_takes_over() {
    let mut pair = Pair::in_sync(&Setup { size: 512 << 20, ..Setup::quick() });
    let load = pair.load(BLOCKS, STALL);
    pair.nodes[B].kill();
    alone(&pair, A, Instant::now());
    // Something to resync for a while: all but the blocks of the load.
    let mut client = Client::connect(&Address::Unix(pair.nodes[A].clients()), &client_waits())
        .expect("a serves");
    for at in (BLOCKS as u64 * 4096..pair.size).step_by(8 << 20) {
        client.write(at, &vec![at.to_le_bytes()[3] | 1; 8 << 20], false).expect("a serves");
    }
    pair.nodes[B].start();
    pair.wait(B, "the resync to begin", |report| {
        engine(report).is_some_and(|status| status.mirror == Mirror::SyncTarget)
    });
    pair.nodes[A].kill();
    let refused = pair.nodes[B].mirror(&["takeover", "--timeout", "8"]);
    println!("takeover in a resync: {refused:?}");
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.text.contains("node a"), "{refused:?}");
    pair.nodes[A].start();
    pair.wait(A, "the daemon", |report| engine(report).is_some() && report.arbiter.tried);
    pair.nodes[A].must(&["start"]);
    calm(&pair, &load);
    // The target dies as well, and its resync starts again.
    pair.nodes[B].kill();
    pair.nodes[B].start();
    pair.judge(load, A);
}

fn up_to(random: &mut harness::fuzz_nbd::XorShift, below: usize) -> u64 {
    random.below(below) as u64
}

/// One accident after the other, in an order that the seed gives; after each, all that an
/// operator does is what `status` asks for.
#[test]
fn accidents_in_any_order_lose_nothing() {
    let number = |name: &str, usual: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (rounds, seed) = (number("LOCKSTEP_ACCIDENTS", 6), number("LOCKSTEP_SEED", 1));
    let mut pair = Pair::in_sync(&Setup::quick());
    let load = pair.load(BLOCKS, Duration::from_secs(5));
    let mut random = harness::fuzz_nbd::XorShift::new(seed);
    let mut primary = A;
    for round in 0..rounds {
        sleep(Duration::from_millis(200 + up_to(&mut random, 800)));
        let standby = 1 - primary;
        let accident = up_to(&mut random, 8);
        println!("round {round}: accident {accident}, node {} serves", pair.nodes[primary].id);
        match accident {
            0 => pair.nodes[standby].kill(),
            1 => pair.nodes[standby].kill_engine(),
            2 => pair.nodes[primary].kill_engine(),
            3 => {
                pair.nodes[primary].kill();
                pair.nodes[standby].must(&["takeover"]);
                primary = standby;
            }
            4 => {
                pair.nodes[primary].freeze(true);
                sleep(Duration::from_millis(up_to(&mut random, 2_500)));
                pair.nodes[primary].freeze(false);
            }
            5 => {
                pair.nodes[standby].freeze(true);
                sleep(Duration::from_millis(up_to(&mut random, 2_500)));
                pair.nodes[standby].freeze(false);
            }
            6 => {
                pair.nodes[primary].must(&["move"]);
                primary = standby;
            }
            _ => {
                pair.nodes[standby].kill();
                sleep(Duration::from_millis(up_to(&mut random, 900)));
                pair.nodes[primary].kill();
                sleep(Duration::from_millis(up_to(&mut random, 900)));
                pair.nodes[standby].start();
            }
        }
        sleep(Duration::from_millis(up_to(&mut random, 1_500)));
        for node in &mut pair.nodes {
            if node.daemon_pid().is_none() {
                node.start();
            }
        }
        pair.wait(primary, "an engine", |report| engine(report).is_some() && report.arbiter.tried);
        pair.nodes[primary].must(&["start"]);
        pair.wait(primary, "the mirror to be in sync", in_sync);
        calm(&pair, &load);
        assert!(load.seen().wrong.is_empty(), "{:?}\n{}", load.seen().wrong, pair.logs());
    }
    pair.judge(load, primary);
}

#[test]
fn io_goes_on_while_both_daemons_are_dead_and_they_adopt_their_engines() {
    let mut pair = Pair::in_sync(&Setup::default());
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    load.mark();
    calm(&pair, &load);
    let usual = load.seen().longest;
    let engines = [A, B].map(|node| pair.nodes[node].engine_pid());
    assert!(engines.iter().all(Option::is_some));
    load.mark();
    pair.nodes[A].kill_daemon();
    pair.nodes[B].kill_daemon();
    // Longer than the lease and the silence that counts as evidence.
    sleep(Duration::from_millis(5_500));
    pair.nodes[A].start();
    pair.nodes[B].start();
    pair.wait(A, "the mirror to be in sync", in_sync);
    sleep(CALM);
    let pause = load.seen().longest;
    println!("daemons killed: longest pause {pause:.1?}, usual {usual:.1?}");
    // A machine that is busy otherwise has pauses of its own.
    assert!(pause <= Duration::from_millis(400).max(usual * 2), "{pause:?}");
    assert_eq!(engines, [A, B].map(|node| pair.nodes[node].engine_pid()));
    assert_eq!(load.seen().errors, 0);
    pair.judge(load, A);
}

#[test]
fn a_frozen_primary_that_wakes_after_the_takeover_answers_nothing() {
    let pair = Pair::in_sync(&Setup::quick());
    let load = pair.load(BLOCKS, Duration::from_secs(3));
    calm(&pair, &load);
    // A block of its own, behind those of the load.
    let at = BLOCKS as u64 * 4096;
    let connect =
        |node: usize| Client::connect(&Address::Unix(pair.nodes[node].clients()), &client_waits());
    let mut old = connect(A).expect("node a serves");
    old.write(at, &[1; 4096], false).expect("node a serves");
    let (mut sender, mut receiver) = old.split();
    load.mark();
    pair.nodes[A].freeze(true);
    sender.send_read(at, 4096).expect("room in the socket");
    sender.send_write(at + 4096, &[9; 4096], false).expect("room in the socket");
    let decision = pair.nodes[B].must(&["takeover"]);
    let mut new = connect(B).expect("node b serves");
    let mut block = [0; 4096];
    new.read(at, &mut block).expect("node b serves");
    assert_eq!(block, [1; 4096], "an acknowledged write is lost");
    new.write(at, &[2; 4096], false).expect("node b serves");
    new.write(at + 4096, &[3; 4096], false).expect("node b serves");
    calm(&pair, &load);
    told("primary frozen", Duration::ZERO, decision, load.seen().longest);
    pair.nodes[A].freeze(false);
    let mut data = Vec::new();
    for _ in 0..2 {
        match receiver.recv_reply(&mut data) {
            Ok(reply) => assert!(reply.result.is_err(), "node a answered: {reply:?}"),
            Err(ClientError::Closed { .. } | ClientError::Io { .. }) => break,
            Err(other) => panic!("node a neither answers nor closes: {other}\n{}", pair.logs()),
        }
    }
    pair.wait(A, "the old primary to be a standby", |report| {
        engine(report).is_some_and(|status| status.role == Role::Secondary)
    });
    pair.judge(load, B);
    new.read(at + 4096, &mut block).expect("node b serves");
    assert_eq!(block, [3; 4096]);
}

fn client_waits() -> Options {
    Options {
        connect_timeout: Duration::from_secs(2),
        read_timeout: Some(Duration::from_secs(25)),
        ..Options::default()
    }
}

#[test]
fn a_cut_of_the_link_alone_leaves_exactly_one_node_active() {
    if !harness::pair::may_make_spaces() {
        return;
    }
    let pair = Pair::in_sync(&Setup { spaces: true, ..Setup::quick() });
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    load.mark();
    let since = Instant::now();
    pair.spaces().plug("wire", false);
    let (held, decided) = alone(&pair, A, since);
    calm(&pair, &load);
    told("link cut", held, decided, load.seen().longest);
    let refused = pair.nodes[B].mirror(&["takeover", "--timeout", "6"]);
    println!("takeover while heartbeats live: {refused:?}");
    assert_ne!(refused.code, 0, "{refused:?}");
    let role = |node: usize| pair.nodes[node].status().and_then(|r| Some(engine(&r)?.role));
    assert_eq!([role(A), role(B)], [Some(Role::Primary), Some(Role::Secondary)]);
    pair.spaces().plug("wire", true);
    assert_eq!(load.seen().errors, 0);
    pair.judge(load, A);
}

/// Asks one node for the same block, again and again, until told to stop; gives the time of the
/// last right answer to a read that began before it, and of the first.
fn answers(node: Address, over: &Arc<AtomicBool>) -> thread::JoinHandle<[Option<Instant>; 2]> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        let mut seen = [None, None];
        let options = Options {
            connect_timeout: Duration::from_millis(200),
            read_timeout: Some(Duration::from_secs(4)),
            ..Options::default()
        };
        while !over.load(Ordering::SeqCst) {
            let Ok(mut client) = Client::connect(&node, &options) else {
                sleep(Duration::from_millis(5));
                continue;
            };
            let mut block = [0; 4096];
            while !over.load(Ordering::SeqCst) && client.read(0, &mut block).is_ok() {
                let now = Instant::now();
                seen = [seen[0].or(Some(now)), Some(now)];
                sleep(Duration::from_millis(1));
            }
        }
        seen
    })
}

#[test]
fn an_isolated_primary_stops_answering_before_the_other_starts() {
    if !harness::pair::may_make_spaces() {
        return;
    }
    let pair = Pair::in_sync(&Setup { spaces: true, ..Setup::default() });
    let load = pair.load(BLOCKS, Duration::from_secs(6));
    calm(&pair, &load);
    let over = Arc::new(AtomicBool::new(false));
    let probes = [A, B].map(|node| answers(Address::Unix(pair.nodes[node].clients()), &over));
    load.mark();
    let since = Instant::now();
    pair.nodes[A].arbiter(false);
    pair.spaces().plug("wire", false);
    pair.spaces().plug("beat", false);
    pair.nodes[B].must(&["takeover"]);
    let decision = since.elapsed();
    calm(&pair, &load);
    over.store(true, Ordering::SeqCst);
    let [a, b] = probes.map(|probe| probe.join().expect("a probe"));
    let stopped = a[1].expect("node a answered once");
    let started = b[0].expect("node b answers");
    println!(
        "isolated: node a stopped after {:.2?}, node b started after {:.2?}",
        stopped - since,
        started - since
    );
    told("isolated", stopped - since, decision, load.seen().longest);
    assert!(stopped < started, "node a answered {:?} too long", stopped - started);
    pair.nodes[A].arbiter(true);
    pair.spaces().plug("beat", true);
    pair.spaces().plug("wire", true);
    pair.wait(A, "the old primary to be a standby", |report| {
        engine(report)
            .is_some_and(|status| status.role == Role::Secondary && status.link == LinkState::Up)
    });
    pair.judge(load, B);
}

#[test]
fn a_move_there_and_back_under_load_loses_nothing() {
    let pair = Pair::in_sync(&Setup::quick());
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    for (from, to) in [(A, B), (B, A)] {
        load.mark();
        let decision = pair.nodes[from].must(&["move"]);
        pair.wait(to, "the other to serve", serves);
        calm(&pair, &load);
        told("moved", Duration::ZERO, decision, load.seen().longest);
        pair.wait(to, "the mirror to be in sync", in_sync);
    }
    pair.judge(load, A);
}

#[test]
fn after_the_death_of_both_the_other_refuses_and_names_the_owner() {
    let mut pair = Pair::in_sync(&Setup::quick());
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    // Node a goes on alone, so that only its copy is right.
    pair.nodes[B].kill();
    pair.wait(A, "node a to go on alone", |report| {
        engine(report).is_some_and(|status| status.mirror == Mirror::Solo)
    });
    calm(&pair, &load);
    pair.nodes[A].kill();
    pair.nodes[B].start();
    pair.wait(B, "the daemon", |report| engine(report).is_some() && report.arbiter.tried);
    for verb in ["start", "takeover"] {
        let refused = pair.nodes[B].mirror(&[verb, "--timeout", "8"]);
        println!("{verb} on the other: {refused:?}");
        assert_ne!(refused.code, 0, "{refused:?}");
        assert!(refused.text.contains("node a"), "{refused:?}");
    }
    let next = pair.nodes[B].status().map(|report| report.summary.next);
    assert!(next.as_ref().is_some_and(|next| next.contains("node a")), "{next:?}");
    pair.nodes[A].start();
    pair.wait(A, "the daemon", |report| engine(report).is_some() && report.arbiter.tried);
    pair.nodes[A].must(&["start"]);
    calm(&pair, &load);
    pair.judge(load, A);
}

#[test]
fn after_the_death_of_both_in_sync_both_come_back_without_loss() {
    let mut pair = Pair::in_sync(&Setup::quick());
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    pair.nodes[A].kill();
    pair.nodes[B].kill();
    pair.nodes[B].start();
    pair.wait(B, "the daemon", |report| engine(report).is_some() && report.arbiter.tried);
    let refused = pair.nodes[B].mirror(&["start", "--timeout", "3"]);
    println!("start on the other: {refused:?}");
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.text.contains("node a"), "{refused:?}");
    pair.nodes[A].start();
    pair.wait(A, "the daemon", |report| engine(report).is_some() && report.arbiter.tried);
    pair.nodes[A].must(&["start"]);
    calm(&pair, &load);
    pair.judge(load, A);
}

/// Puts an old copy of both partitions of node b in place while it is down. After the copy was
/// made, all is written again; after node b went down for the restore, nothing is.
fn old_copy(served_since: bool, decided_before: bool) {
    let mut setup = Setup::quick();
    setup.times.life_interval = Span::millis(500);
    let mut pair = Pair::in_sync(&setup);
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    pair.nodes[B].kill();
    let old = |name: &str| pair.root().join(format!("old-{name}"));
    let copies = [(pair.nodes[B].data(), old("data")), (pair.nodes[B].cluster(), old("cluster"))];
    for (from, to) in &copies {
        fs::copy(from, to).expect("room for a copy");
    }
    alone(&pair, A, Instant::now());
    pair.nodes[B].start();
    pair.wait(A, "the mirror to be in sync", in_sync);
    calm(&pair, &load);
    if served_since {
        pair.nodes[A].must(&["move"]);
        pair.wait(B, "node b in sync", |report| serves(report) && in_sync(report));
        pair.nodes[B].must(&["move"]);
        pair.wait(A, "node a in sync", |report| serves(report) && in_sync(report));
        calm(&pair, &load);
    }
    assert!(load.pause(PATIENCE));
    pair.nodes[B].kill();
    if decided_before {
        // One write, so that the decision is needed.
        let mut client = Client::connect(&Address::Unix(pair.nodes[A].clients()), &client_waits())
            .expect("node a serves");
        client.write(BLOCKS as u64 * 4096, &[7; 4096], false).expect("node a serves");
        alone(&pair, A, Instant::now());
    }
    for (to, from) in &copies {
        fs::copy(from, to).expect("room for a copy");
    }
    let differed = pair.differing();
    let life = |report: &Report| engine(report).map(|status| status.counters.sessions);
    let before = pair.nodes[A].status().and_then(|report| life(&report));
    pair.nodes[B].start();
    let mut whole = 0;
    pair.wait(A, "the resync", |report| {
        whole = whole.max(engine(report).map_or(0, |status| status.sync_total_blocks));
        in_sync(report) && life(report) > before
    });
    let blocks = pair.size / 4096;
    println!(
        "old copy (served since: {served_since}, decided before: {decided_before}): \
         {differed} bytes differed, {whole} of {blocks} blocks were compared"
    );
    assert!(differed > 0);
    sleep(CALM);
    assert_eq!(pair.differing(), 0, "an old copy was trusted\n{}", pair.logs());
    load.resume();
    calm(&pair, &load);
    pair.judge(load, A);
}

#[test]
fn an_old_copy_of_a_node_that_served_since_is_never_trusted() {
    old_copy(true, true);
}

#[test]
fn an_old_copy_that_comes_back_before_anybody_decides_is_never_trusted() {
    old_copy(true, false);
}

#[test]
fn an_old_copy_of_a_node_that_only_followed_is_never_trusted() {
    old_copy(false, true);
}

#[test]
fn an_old_copy_of_a_follower_that_comes_back_at_once_is_never_trusted() {
    old_copy(false, false);
}

#[test]
fn a_second_engine_waits_for_the_first() {
    let pair = Pair::in_sync(&Setup::quick());
    let log = pair.root().join("second.log");
    let node = &pair.nodes[A];
    let mut second = Process::start(node.engine_command("run", &node.engine_toml()), &log);
    until(|| read(&log).contains("another engine still has it"), || read(&log));
    sleep(Duration::from_millis(500));
    assert_eq!(second.ended(), None, "{}", read(&log));
    assert!(pair.nodes[A].status().is_some_and(|report| in_sync(&report)));
    drop(second);
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    pair.judge(load, A);
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn until(mut holds: impl FnMut() -> bool, found: impl Fn() -> String) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{}", found());
        sleep(Duration::from_millis(20));
    }
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let text = read(Path::new(&format!("/proc/{pid}/statm")));
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the process lives") * 4096
}

/// An engine of a stranger: node `a` of a pair of its own, changed by `change`, dialling `target`.
/// Gives what both sides logged when they met.
fn stranger(
    pair: &Pair,
    target: usize,
    name: &str,
    change: impl Fn(&mut lockstep_engine::config::EngineConfig),
) -> [String; 2] {
    let dir = pair.root().join(format!("stranger-{name}"));
    fs::create_dir(&dir).expect("a directory");
    let mut config = pair.nodes[A].engine_config();
    for (path, from) in [("data", pair.size + (1 << 20)), ("cluster", 16 << 20)] {
        fs::File::create(dir.join(path)).and_then(|file| file.set_len(from)).expect("a file");
    }
    config.data = dir.join("data");
    config.cluster_partition = dir.join("cluster");
    config.admin = dir.join("admin.sock");
    config.clients.unix = None;
    config.link.listen = harness::pair::free_ports().link;
    config.link.peer = pair.nodes[target].engine_config().link.listen;
    change(&mut config);
    let toml = dir.join("engine.toml");
    fs::write(&toml, config.to_toml()).expect("a file");
    let node = &pair.nodes[A];
    let made = node.engine_command("format", &toml).output().expect("the engine's program");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (log, theirs) = (dir.join("log"), pair.nodes[target].engine_log());
    let before = read(&theirs).len();
    let engine = Process::start(node.engine_command("run", &toml), &log);
    let said = |path: &Path, from: usize| {
        let text = read(path);
        let text = text.get(from..).unwrap_or_default();
        let lines = text.lines().filter(|line| line.contains("WARN") && line.contains("from="));
        lines.collect::<Vec<_>>().join("\n")
    };
    until(
        || !said(&theirs, before).is_empty() && !said(&log, 0).is_empty(),
        || format!("{name}: theirs:\n{}\nours:\n{}", &read(&theirs)[before..], read(&log)),
    );
    drop(engine);
    [said(&theirs, before), said(&log, 0)]
}

#[test]
fn strangers_on_the_link_are_refused_with_a_reason_and_disturb_nobody() {
    let pair = Pair::in_sync(&Setup::quick());
    let load = pair.load(BLOCKS, STALL);
    calm(&pair, &load);
    let sessions = || {
        [A, B].map(|node| {
            let report = pair.nodes[node].status().expect("a daemon");
            engine(&report).expect("an engine").counters.sessions
        })
    };
    let pids = [A, B].map(|node| pair.nodes[node].engine_pid().expect("an engine"));
    let (before, memory) = (sessions(), pids.map(resident));
    load.mark();
    let other_key = pair.root().join("other-key");
    fs::write(&other_key, "7b7b79206f6620746865207465737473206f66206c6f636b737465702e2e2e2e\n")
        .expect("a file");
    let found = [
        stranger(&pair, B, "key", |config| config.link.key_file.clone_from(&other_key)),
        stranger(&pair, B, "cluster", |config| config.cluster.id.0 ^= 2),
        stranger(&pair, B, "group", |config| config.group.id.0 ^= 2),
        stranger(&pair, B, "volume", |config| config.volume.id.0 ^= 2),
        // Dials node a as node a.
        stranger(&pair, A, "node", |_| {}),
    ];
    for (name, words) in ["key", "cluster", "group", "volume", "node"].iter().zip(&found) {
        println!("{name}: there: {}\n{name}: here: {}", words[0], words[1]);
    }
    garbage(&pair);
    calm(&pair, &load);
    let grown = [A, B].map(|node| resident(pids[node]).saturating_sub(memory[node]));
    println!("strangers: grown by {grown:?} bytes, longest pause {:?}", load.seen().longest);
    assert!(grown.iter().all(|bytes| *bytes < 16 << 20), "{grown:?}");
    assert_eq!(before, sessions(), "a session was lost\n{}", pair.logs());
    assert_eq!(load.seen().errors, 0);
    for (name, words) in ["key", "cluster", "group", "volume", "node"].iter().zip(&found) {
        for line in words {
            assert!(line.contains(name), "{name} is not named: {line}");
        }
    }
    pair.judge(load, A);
}

/// Noise and silence on the link ports of both nodes.
fn garbage(pair: &Pair) {
    use std::io::Write;
    let noise: Vec<u8> =
        (0..1_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for node in [A, B] {
        let port = pair.nodes[node].engine_config().link.listen;
        for _ in 0..20 {
            let Ok(mut stream) = TcpStream::connect(port) else { continue };
            stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a time");
            // It is closed at the first byte that makes no sense.
            let _ = stream.write_all(&noise);
        }
        let silent: Vec<_> = (0..200)
            .filter_map(|_| TcpStream::connect_timeout(&port, Duration::from_millis(100)).ok())
            .collect();
        sleep(Duration::from_millis(200));
        drop(silent);
    }
}

/// Digest of a file.
fn digest(path: &Path) -> Option<blake3::Hash> {
    fs::read(path).ok().map(|bytes| blake3::hash(&bytes))
}

/// Starts the engine of node a with something wrong: it must end with these words and write
/// nothing.
fn refused(pair: &Pair, what: &str, words: &[&str], break_it: impl Fn(&Pair)) {
    let node = &pair.nodes[A];
    let kept = pair.root().join("kept");
    fs::create_dir_all(&kept).expect("a directory");
    let paths = [node.data(), node.cluster(), node.engine_toml(), pair.root().join("key")];
    let name = |path: &Path| kept.join(path.file_name().expect("a file"));
    for path in &paths {
        fs::copy(path, name(path)).expect("a copy");
    }
    break_it(pair);
    let before = paths.each_ref().map(|path| digest(path));
    let output = Command::new("timeout")
        .arg("20")
        .arg(node.engine_command("run", &node.engine_toml()).get_program())
        .args(["run", "--config"])
        .arg(node.engine_toml())
        .output()
        .expect("the engine's program");
    let after = paths.each_ref().map(|path| digest(path));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let message: Vec<&str> = said.lines().filter(|line| !line.contains(" WARN ")).collect();
    println!("{what}: {}", message.join("\n    "));
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    assert_eq!(before, after, "{what}: something was written");
    for word in words {
        assert!(said.contains(word), "{what}: no {word:?} in {said}");
    }
    for path in &paths {
        fs::copy(name(path), path).expect("a copy");
    }
}

fn resize(path: &Path, change: i64) {
    let file = fs::File::options().write(true).open(path).expect("a file");
    let len = file.metadata().expect("a file").len();
    file.set_len(len.checked_add_signed(change).expect("a size")).expect("room");
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = read(path);
    assert!(text.contains(from), "no {from} in {text}");
    fs::write(path, text.replacen(from, to, 1)).expect("a file");
}

#[test]
fn what_is_wrong_at_start_is_named_and_nothing_is_written() {
    let pair = Pair::make(&Setup { size: 16 << 20, ..Setup::quick() });
    let toml = |pair: &Pair| pair.nodes[A].engine_toml();
    refused(&pair, "data shrank", &["a/data", "check"], |pair| {
        resize(&pair.nodes[A].data(), -(2 << 20));
    });
    refused(&pair, "cluster partition too small", &["a/cluster"], |pair| {
        resize(&pair.nodes[A].cluster(), 65_536 - (16 << 20));
    });
    refused(&pair, "cluster partition blank", &["a/cluster", "format"], |pair| {
        let bytes = fs::metadata(pair.nodes[A].cluster()).expect("a file").len();
        fs::write(pair.nodes[A].cluster(), vec![0; usize::try_from(bytes).expect("small")])
            .expect("a file");
    });
    refused(&pair, "cluster partition damaged", &["a/cluster", "inspect"], |pair| {
        let mut bytes = fs::read(pair.nodes[A].cluster()).expect("a file");
        for page in 0..2 {
            bytes[page * 4096 + 600] ^= 0xff;
        }
        fs::write(pair.nodes[A].cluster(), bytes).expect("a file");
    });
    refused(&pair, "cluster partition of the other node", &["a/cluster", "check"], |pair| {
        fs::copy(pair.nodes[B].cluster(), pair.nodes[A].cluster()).expect("a copy");
    });
    refused(&pair, "another volume", &["a/cluster", "volume", "check"], |pair| {
        let id = pair.nodes[A].engine_config().volume.id.to_string();
        edit(&toml(pair), &id, "70");
    });
    refused(&pair, "no key file", &["key", "`key_file`"], |pair| {
        fs::remove_file(pair.root().join("key")).expect("a file");
    });
    refused(&pair, "an unknown key", &["flwos", "is not a key"], |pair| {
        edit(&toml(pair), "flows = 2", "flwos = 2");
    });
    refused(&pair, "too many flows", &["link.flows", "99", "16"], |pair| {
        edit(&toml(pair), "flows = 2", "flows = 99");
    });
    refused(&pair, "no data partition", &["a/nowhere", "check the path"], |pair| {
        edit(&toml(pair), "a/data", "a/nowhere");
    });
}

#[test]
fn a_daemon_with_a_wrong_configuration_says_all_that_is_wrong() {
    let pair = Pair::make(&Setup { size: 16 << 20, ..Setup::quick() });
    let node = &pair.nodes[A];
    edit(&node.node_toml(), "auto_takeover = false", "auto_takeovr = false\nlease = 3");
    let output = node.daemon_command(&node.node_toml()).output().expect("the daemon's program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("auto_takeovr") && said.contains("lease"), "{said}");
    edit(&node.node_toml(), "auto_takeovr = false\nlease = 3", "auto_takeover = false");
    fs::remove_file(pair.root().join("key")).expect("a file");
    let output = node.daemon_command(&node.node_toml()).output().expect("the daemon's program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("key file") && said.contains("check `key_file"), "{said}");
}
