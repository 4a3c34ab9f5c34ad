//! The soak: faults that a seed chooses, on two real nodes with a group, while a client writes and
//! reads; its whole history is judged as in the simulator. `scripts/soak` runs it for as long as
//! wanted; in a run of all tests it is short. Needs root, for network namespaces.
//!
//! `LOCKSTEP_SOAK_SECONDS`, `LOCKSTEP_SOAK_SEED`, `LOCKSTEP_SOAK_DEFAULT_TIMES=1`.

use harness::cluster::{A, B, Cluster, Setup, Turn, is_up};
use harness::pair::{PATIENCE, may_make_spaces};
use harness::sim::random::Random;
use harness::soak::fault::{Fault, choose, pause};
use harness::soak::history::History;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Blocks that the client works on.
const BLOCKS: usize = 512;
/// Seconds of a run that nobody has asked for.
const SECONDS: u64 = 30;
/// Faults after which both disks are compared.
const COMPARE_EVERY: u64 = 10;
/// A node that was told to end its host takes no part until an operator, or a reboot, says so.
const OPERATOR_AFTER: Duration = Duration::from_secs(12);
/// Two signs of life of one program that lie closer than this are of one process that went on.
const ONE_LIFE_S: f64 = 0.06;
/// A daemon that wakes ends its programs within this, on a machine that is busy.
const WAKING_S: f64 = 1.5;

fn number(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|cause| panic!("{name}={text}: {cause}")),
        Err(_) => usual,
    }
}

struct Soak {
    cluster: Cluster,
    history: History,
    random: Random,
    faults: u64,
    operators: u64,
    longest: (Duration, String),
    /// Nodes whose programs may show themselves beside the other's, and from when to when: a host
    /// that wakes does so all at once, and its daemon needs a moment to end what is over.
    excused: Vec<(usize, f64, f64)>,
}

/// Seconds since boot, as programs of resources count them.
fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("/proc/uptime");
    text.split(' ').next().and_then(|word| word.parse().ok()).expect("seconds since boot")
}

#[test]
fn faults_in_any_order_lose_nothing() {
    if !may_make_spaces() {
        return;
    }
    let seconds = number("LOCKSTEP_SOAK_SECONDS", SECONDS);
    let seed = number("LOCKSTEP_SOAK_SEED", 1);
    let plain = number("LOCKSTEP_SOAK_DEFAULT_TIMES", 0) == 1;
    let usual = if plain { Setup::default() } else { Setup::quick() };
    println!("soak: {seconds} s, seed {seed}");
    let cluster = Cluster::up(&Setup { soak: true, ..usual });
    let history = History::start(cluster.servers_of(0), BLOCKS, seed);
    let longest = (Duration::ZERO, String::new());
    let random = Random::new(seed);
    let mut soak =
        Soak { cluster, history, random, faults: 0, operators: 0, longest, excused: Vec::new() };
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        rounds += 1;
        soak.round(began.elapsed());
        if rounds % COMPARE_EVERY == 0 {
            soak.compare();
        }
    }
    soak.compare();
    let seen = soak.history.seen();
    let (outage, when) = &soak.longest;
    println!(
        "soak: {} faults, {} operations ({} writes), longest outage {outage:.1?} ({when}), \
         {} operator's starts, {} lost, mirrors identical",
        soak.faults,
        seen.operations(),
        seen.writes,
        soak.operators,
        seen.complaints.len()
    );
}

impl Soak {
    fn round(&mut self, at: Duration) {
        let mut faults = vec![choose(&mut self.random)];
        let second = choose(&mut self.random);
        if self.random.chance(300) && faults[0].goes_with(second) {
            faults.push(second);
        }
        let names: Vec<String> = faults.iter().map(Fault::to_string).collect();
        let names = names.join(" + ");
        self.faults += faults.len() as u64;
        self.history.mark();
        let mut struck = Vec::new();
        for fault in faults {
            let stopped = fault.strike(&mut self.cluster);
            struck.push((fault, stopped));
        }
        pause(&mut self.random);
        for (fault, stopped) in &struck {
            if let Fault::FreezeHost(node) = fault {
                self.excused.push((*node, uptime(), uptime() + WAKING_S));
            }
            fault.heal(&self.cluster, stopped);
        }
        for node in &mut self.cluster.nodes {
            if node.daemon_pid().is_none() {
                node.start();
            }
        }
        let (place, took) = self.settle(&names);
        self.works();
        let outage = self.history.seen().longest;
        let id = self.cluster.nodes[place].id;
        let at = at.as_secs();
        println!("soak: {at:>5} s  {names}: outage {outage:.1?}, safe on {id} after {took:.1?}");
        if outage > self.longest.0 {
            self.longest = (outage, names.clone());
        }
        self.judge(&names);
    }

    /// Waits until the group is up on one node and may lose the other one again.
    fn settle(&mut self, names: &str) -> (usize, Duration) {
        let began = Instant::now();
        let mut helped = false;
        while began.elapsed() < PATIENCE {
            for place in [A, B] {
                let up = |node: usize| {
                    let report = self.cluster.nodes[node].report();
                    report.is_some_and(|report| report.safe && (node != place || is_up(&report)))
                };
                if up(place) && up(1 - place) {
                    return (place, began.elapsed());
                }
            }
            if began.elapsed() > OPERATOR_AFTER && !helped {
                helped = true;
                self.operators += 1;
                for node in &self.cluster.nodes {
                    node.lockstep(&["cluster", "start"]);
                }
            }
            sleep(Duration::from_millis(50));
        }
        let shown = [A, B].map(|node| self.cluster.nodes[node].lockstep(&["status"]).text);
        panic!(
            "after {names}: not safe again in {PATIENCE:?}\n{shown:#?}\n{}",
            self.cluster.logs()
        );
    }

    /// The client must get on.
    fn works(&self) {
        let began = Instant::now();
        let before = self.history.seen().writes;
        while self.history.seen().writes < before + 50 {
            assert!(began.elapsed() < PATIENCE, "no write gets on\n{}", self.cluster.logs());
            sleep(Duration::from_millis(20));
        }
    }

    fn judge(&self, names: &str) {
        let complaints = self.history.seen().complaints;
        assert!(complaints.is_empty(), "after {names}: {complaints:#?}\n{}", self.cluster.logs());
        for name in ["db", "app"] {
            let mut both = together(&self.cluster, name);
            both.retain(|turn| !self.is_excused(turn));
            let ran = "ran on both nodes";
            assert!(
                both.is_empty(),
                "after {names}: {name} {ran}: {both:?}\n{}",
                self.cluster.logs()
            );
        }
    }

    fn is_excused(&self, turn: &Turn) -> bool {
        let within = |(_, from, to): &(usize, f64, f64)| turn.from >= *from && turn.to <= *to;
        self.excused.iter().any(within)
    }

    /// Every block once, from the node that serves, and both disks.
    fn compare(&mut self) {
        let (place, _) = self.settle("a comparison");
        assert!(self.history.pause(PATIENCE), "no rest\n{}", self.cluster.logs());
        let read = self.history.check_all(place);
        assert!(read.is_ok(), "{read:?}\n{}", self.cluster.logs());
        self.judge("a comparison");
        self.cluster.same_disks(place);
        self.history.resume();
    }
}

/// Moments at which one node's program showed itself between two signs of the other's that lie so
/// close that it ran all the time.
fn together(cluster: &Cluster, name: &str) -> Vec<Turn> {
    let signs = [A, B].map(|node| cluster.nodes[node].alive(name));
    between(&signs[0], &signs[1], A).chain(between(&signs[1], &signs[0], B)).collect()
}

fn between<'s>(
    runs: &'s [f64],
    other: &'s [f64],
    node: usize,
) -> impl Iterator<Item = Turn> + use<'s> {
    runs.windows(2).filter(|pair| pair[1] - pair[0] < ONE_LIFE_S).filter_map(move |pair| {
        let after = other.partition_point(|at| *at <= pair[0]);
        let inside = other.get(after).is_some_and(|at| *at < pair[1]);
        inside.then_some(Turn { node, from: pair[0], to: pair[1] })
    })
}

#[test]
fn programs_that_run_together_are_seen() {
    let a = [1.0, 1.02, 1.04, 5.0, 5.02];
    assert_eq!(between(&a, &[1.5, 1.52, 4.0], A).count(), 0);
    assert_eq!(
        between(&a, &[1.03], A).collect::<Vec<_>>(),
        [Turn { node: A, from: 1.02, to: 1.04 }]
    );
}
