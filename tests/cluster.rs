//! A whole cluster from one `cluster.toml`: what its nodes do by themselves, what operators ask
//! for, and what must never happen: a program on both nodes, an acknowledged write that is lost.
//! Every story runs under a load that knows what each block may hold, and ends with both data files
//! compared byte for byte. Times are printed. Needs root, for network namespaces.

use harness::cluster::{A, B, Cluster, GROUP, MONITOR, Setup, is_up, resource};
use harness::pair::{Answer, PATIENCE, may_make_spaces};
use lockstep_ctl::act::events::Entry;
use lockstep_ctl::demo::load::Load;
use lockstep_ctl::status::cluster::{ClusterReport, MonitorReport};
use lockstep_engine::units::NodeId;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Blocks that a load works on: 16 MiB.
const BLOCKS: usize = 4_096;
/// A server that answers nothing for so long is given up.
const STALL: Duration = Duration::from_secs(20);
/// Time that a load runs undisturbed.
const CALM: Duration = Duration::from_millis(1_200);

/// Lets the load run undisturbed; it must get on.
fn calm(cluster: &Cluster, load: &Load) {
    harness::pair::calm(load, CALM, &|| cluster.logs());
}

/// A cluster whose group is up on node a, and a load that gets on; `None` where the host gives no
/// namespaces.
fn begin(setup: &Setup) -> Option<(Cluster, Load)> {
    if !may_make_spaces() {
        return None;
    }
    let cluster = Cluster::up(setup);
    let load = cluster.load(BLOCKS, STALL);
    calm(&cluster, &load);
    Some((cluster, load))
}

/// Waits for an event of that code; gives it.
fn event(cluster: &Cluster, node: usize, after: u64, code: &str, words: &str) -> Entry {
    let mut found = None;
    cluster.wait_for(node, &format!("an event {code} with \"{words}\""), |member| {
        let events = member.events(after);
        found = events.iter().find(|e| e.code == code && e.message.contains(words)).cloned();
        let seen: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
        (found.is_some(), Some(format!("{seen:#?}")))
    });
    found.expect("the wait ended with it")
}

fn state(report: &ClusterReport) -> &str {
    &report.groups[0].state
}

fn refused(answer: &Answer, code: i32, words: &[&str]) {
    assert_eq!(answer.code, code, "{answer:?}");
    for word in words {
        assert!(answer.text.contains(word), "no \"{word}\" in {answer:?}");
    }
}

#[test]
fn a_cluster_comes_up_by_itself_and_status_says_what_is_true() {
    if !may_make_spaces() {
        return;
    }
    let mut cluster = Cluster::make(&Setup::quick());
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.create();
    let took = cluster.settle(A);
    println!("from the first record to a safe cluster: {took:.1?}");
    let load = cluster.load(BLOCKS, STALL);
    calm(&cluster, &load);
    assert_eq!(cluster.told(), ["a db start", "a app start"]);
    assert!(cluster.nodes[A].has_address() && !cluster.nodes[B].has_address());
    for node in [A, B] {
        cluster.wait(node, "a safe cluster", |report| report.safe);
        let shown = cluster.nodes[node].lockstep(&["status"]);
        println!("{}", shown.text);
        let says = ["group shop: runs on node a", "safe to lose a node now: yes", "beat up"];
        refused(&shown, 0, &says);
        let json = cluster.nodes[node].lockstep(&["status", "--json"]);
        assert_eq!(json.code, 0, "{json:?}");
        let report: ClusterReport = serde_json::from_str(&json.text).expect("a report");
        assert_eq!(report.groups[0].runs_on, Some(NodeId::A), "{report:?}");
        assert!(report.alarms.is_empty(), "{report:?}");
    }
    cluster.nodes[B].kill();
    cluster.wait(A, "an unsafe cluster", |report| !report.safe && !report.peer.heard);
    let shown = cluster.nodes[A].lockstep(&["status"]);
    println!("{}", shown.text);
    let why = "group shop: if node a is lost: the daemon of node b is not heard";
    refused(&shown, 4, &["safe to lose a node now: NO", "node b (b) is silent", why]);
    refused(&cluster.nodes[B].lockstep(&["status"]), 6, &["daemon"]);
    calm(&cluster, &load);
    cluster.nodes[B].start();
    cluster.settle(A);
    cluster.judge(load, A);
    cluster.judge_turns("app", &[A]);
}

#[test]
fn a_group_moves_there_and_back_in_order() {
    let Some((cluster, load)) = begin(&Setup::default()) else { return };
    for (from, to) in [(A, B), (B, A)] {
        load.mark();
        let passed = cluster.nodes[from].must(&["group", "move", GROUP]);
        let up = cluster.wait(to, "the group on the other node", is_up);
        calm(&cluster, &load);
        let outage = load.seen().longest;
        println!("moved: passed on {passed:.1?}, up {:.1?}, outage {outage:.1?}", passed + up);
        assert!(outage <= Duration::from_secs(2), "{outage:?}\n{}", cluster.logs());
        assert!(cluster.nodes[to].has_address() && !cluster.nodes[from].has_address());
        cluster.settle(to);
    }
    assert_eq!(load.seen().wrong.len(), 0);
    let told = cluster.told();
    let there = ["a app stop", "a db stop", "b db start", "b app start"];
    let back = ["b app stop", "b db stop", "a db start", "a app start"];
    assert_eq!(told[2..], [there, back].concat());
    cluster.judge_turns("db", &[A, B, A]);
    cluster.judge_turns("app", &[A, B, A]);
    cluster.judge(load, A);
}

#[test]
fn a_killed_host_is_replaced_and_what_it_left_is_cleaned_up() {
    let Some((mut cluster, load)) = begin(&Setup::default()) else { return };
    let after = cluster.nodes[B].last_event();
    let left = cluster.nodes[A].program_pid("db").expect("db runs");
    let dies = cluster.nodes[A].program_pid("app").expect("app runs");
    load.mark();
    let since = Instant::now();
    cluster.nodes[A].kill();
    harness::pair::signal(dies, "KILL");
    event(&cluster, B, after, "evidence", "silent");
    let detection = since.elapsed();
    event(&cluster, B, after, "record-won", "");
    let decision = since.elapsed();
    cluster.wait(B, "the group on node b", is_up);
    let activation = since.elapsed();
    calm(&cluster, &load);
    let outage = load.seen().longest;
    println!(
        "host killed: detection {detection:.1?}, decision {decision:.1?}, activation \
         {activation:.1?}, outage {outage:.1?}"
    );
    assert!(outage <= Duration::from_secs(7), "{outage:?}\n{}", cluster.logs());
    assert!(cluster.nodes[B].has_address());
    refused(&cluster.nodes[B].lockstep(&["status"]), 4, &["runs on node b", "NO"]);
    assert!(cluster.nodes[A].has_address(), "the address stays where nobody takes it away");
    assert_eq!(cluster.nodes[A].program_pid("db"), Some(left), "a program outlives the host's end");
    cluster.nodes[A].start();
    let cleaned = cluster.wait_for(A, "everything to be cleaned up", |node| {
        (node.program_pid("db").is_none() && !node.has_address(), None)
    });
    let resynced = cleaned + cluster.settle(B);
    println!("host returned: cleaned up after {cleaned:.1?}, in sync after {resynced:.1?}");
    cluster.wait(A, "node a to be a standby", |report| {
        report.groups[0].runs_on == Some(NodeId::B) && state(report) == "down here"
    });
    cluster.judge_turns("app", &[A, B]);
    cluster.nodes[B].must(&["group", "move", GROUP]);
    cluster.settle(A);
    cluster.judge_turns("app", &[A, B, A]);
    cluster.judge(load, A);
}

#[test]
fn a_restart_of_the_daemons_disturbs_nothing() {
    let Some((mut cluster, load)) = begin(&Setup::default()) else { return };
    let told = cluster.told();
    let running = |cluster: &Cluster| {
        let node = &cluster.nodes[A];
        let programs = ["db", "app"].map(|name| node.program_pid(name));
        (programs, cluster.nodes.each_ref().map(|node| node.engine_pid()))
    };
    let before = running(&cluster);
    load.mark();
    calm(&cluster, &load);
    let usual = load.seen().longest;
    for killed in [&[A][..], &[B], &[A, B]] {
        let after = [A, B].map(|node| cluster.nodes[node].last_event());
        load.mark();
        killed.iter().for_each(|node| cluster.nodes[*node].kill_daemon());
        sleep(Duration::from_millis(500));
        killed.iter().for_each(|node| cluster.nodes[*node].start());
        cluster.settle(A);
        calm(&cluster, &load);
        if killed.contains(&A) {
            event(&cluster, A, after[A], "group-adopted", "db, app");
        }
        let pause = load.seen().longest;
        println!("daemons {killed:?} killed: longest pause {pause:.1?}, usual {usual:.1?}");
        // A machine that is busy otherwise has pauses of its own.
        assert!(pause <= Duration::from_millis(400).max(usual * 2), "{pause:?}");
        assert_eq!(cluster.told(), told, "{}", cluster.logs());
        assert_eq!(running(&cluster), before, "{}", cluster.logs());
    }
    assert_eq!(load.seen().errors, 0);
    cluster.judge_turns("app", &[A]);
    cluster.judge(load, A);
}

/// What the monitor's chain did, in order, until the group was on the other node.
fn chain(cluster: &Cluster, after: u64) {
    let links = ["run the script (1 of 1)", "its target (1 of 2)", "its target (2 of 2)"];
    let mut number = after;
    for link in links.into_iter().chain(["fail over (1 of 1)"]) {
        number = event(cluster, A, number, "monitor-recovers", link).number;
    }
    cluster.wait(B, "the group on the other node", is_up);
}

#[test]
fn a_broken_service_runs_through_its_chain_in_order() {
    let Some((cluster, load)) = begin(&Setup::quick()) else { return };
    let (after, since) = (cluster.nodes[A].last_event(), Instant::now());
    cluster.nodes[A].spoil(MONITOR, "broken", true);
    event(&cluster, A, after, "monitor-health", "care is broken");
    cluster.wait(A, "status to show it", |report| {
        let monitor = report.monitors.iter().find(|one| one.name == MONITOR);
        monitor.is_some_and(|one| one.health == "error" && one.cause.is_some())
    });
    let listed = cluster.nodes[A].lockstep(&["monitor", "list"]);
    refused(&listed, 0, &["care  error: "]);
    load.mark();
    chain(&cluster, after);
    println!("chain: group on the other node after {:.1?}", since.elapsed());
    calm(&cluster, &load);
    println!("chain: outage {:.1?}", load.seen().longest);
    let again = ["a app stop", "a app start"];
    let moved = ["a app stop", "a db stop", "b db start", "b app start"];
    let expected = [&["a care recover"][..], &again, &again, &moved].concat();
    assert_eq!(cluster.told()[2..], expected, "{}", cluster.logs());
    cluster.nodes[A].spoil(MONITOR, "broken", false);
    cluster.settle(B);
    cluster.judge_turns("db", &[A, B]);
    // On purpose, and on the other node this time.
    let after = cluster.nodes[B].last_event();
    cluster.nodes[B].must(&["monitor", "fail", MONITOR]);
    event(&cluster, B, after, "monitor-recovers", "run the script (1 of 1)");
    let shown = cluster.nodes[B].lockstep(&["monitor", "list"]);
    refused(&shown, 0, &["fails on purpose"]);
    cluster.nodes[B].must(&["monitor", "fail", MONITOR, "--off"]);
    event(&cluster, B, after, "monitor-health", "is fine");
    cluster.settle(B);
    cluster.judge(load, B);
}

#[test]
fn a_program_that_does_not_stop_keeps_the_group_where_it_is() {
    let Some((cluster, load)) = begin(&Setup::quick()) else { return };
    let after = cluster.nodes[A].last_event();
    cluster.nodes[A].spoil("app", "stays", true);
    let answer = cluster.nodes[A].lockstep(&["group", "move", GROUP]);
    println!("{}", answer.text);
    refused(&answer, 8, &["app", "does not want to stop"]);
    event(&cluster, A, after, "resource-stop-failed", "app does not stop");
    // Longer than anybody would wait for a node that has gone.
    sleep(Duration::from_secs(4));
    let shown = cluster.nodes[A].lockstep(&["status"]);
    println!("{}", shown.text);
    refused(&shown, 4, &["a resource can't be stopped", "app is unstoppable"]);
    for node in [A, B] {
        let report = cluster.nodes[node].report().expect("a daemon");
        assert_eq!(report.groups[0].owner, Some(NodeId::A), "{report:?}");
    }
    assert!(!cluster.told().iter().any(|line| line.starts_with("b ")), "{}", cluster.logs());
    let last = fs::read_to_string(cluster.nodes[A].dir().join("state/final-actions"));
    assert!(last.is_ok_and(|text| text.to_lowercase().contains("shutdown")));
    calm(&cluster, &load);
    cluster.nodes[A].spoil("app", "stays", false);
    cluster.nodes[A].must(&["group", "stop", GROUP]);
    // The host was told to end, so its node takes no part until somebody says so.
    refused(&cluster.nodes[A].lockstep(&["group", "start", GROUP]), 8, &["lockstep cluster start"]);
    cluster.nodes[A].must(&["cluster", "start"]);
    cluster.nodes[A].must(&["group", "start", GROUP]);
    cluster.settle(A);
    cluster.judge_turns("db", &[A]);
    cluster.judge(load, A);
}

#[test]
fn an_isolated_owner_kills_its_programs_before_the_other_starts_them() {
    let Some((cluster, load)) = begin(&Setup::default()) else { return };
    load.mark();
    let since = Instant::now();
    cluster.nodes[A].arbiter(false);
    cluster.spaces().plug("wire", false);
    cluster.spaces().plug("beat", false);
    cluster.wait(B, "the group on node b", is_up);
    let activation = since.elapsed();
    calm(&cluster, &load);
    for name in ["db", "app"] {
        cluster.judge_turns(name, &[A, B]);
        let turns = cluster.turns(name);
        let gap = turns[1].from - turns[0].to;
        println!("isolated: {name} ran nowhere for {gap:.2} s");
    }
    println!("isolated: activation {activation:.1?}, outage {:.1?}", load.seen().longest);
    assert!(!cluster.nodes[A].has_address() && cluster.nodes[B].has_address());
    cluster.nodes[A].arbiter(true);
    cluster.spaces().plug("beat", true);
    cluster.spaces().plug("wire", true);
    cluster.settle(B);
    cluster.judge_turns("app", &[A, B]);
    cluster.judge(load, B);
}

#[test]
fn the_verbs_of_operators_do_what_they_say_and_rehearsals_do_nothing() {
    let Some((cluster, load)) = begin(&Setup::quick()) else { return };
    let (a, b) = (&cluster.nodes[A], &cluster.nodes[B]);
    let told = cluster.told();
    let plan = a.lockstep(&["group", "move", GROUP, "--dry-run"]);
    println!("{}", plan.text);
    let places = ["stop app on node a", "stop db on node a", "start db on node b", "start app"];
    let found: Vec<Option<usize>> = places.iter().map(|place| plan.text.find(place)).collect();
    assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{found:?} in {plan:?}");
    assert_eq!(plan.code, 0, "{plan:?}");
    for (node, lost) in [(a, "a"), (a, "b"), (b, "a"), (b, "b")] {
        let answer = node.lockstep(&["what-if", "node-down", lost]);
        println!("{}", answer.text);
        refused(&answer, 0, &["group shop: goes on"]);
    }
    refused(&b.lockstep(&["group", "stop", GROUP, "--dry-run"]), 8, &["it runs on node a"]);
    for line in [&["group", "start", "nowhere"][..], &["resource", "stop", GROUP, "nowhere"]] {
        refused(&a.lockstep(line), 2, &["nowhere", "known are: "]);
    }
    refused(&a.lockstep(&["monitor", "fail", "nowhere"]), 2, &["nowhere", "known are: "]);
    // Each verb of the table, with names that are there: a dry run changes nothing.
    let file = a.config().display().to_string();
    // What changes something at AWS asks no daemon, and is rehearsed in tests/aws/table.rs.
    let asks_a_daemon = |verb: &String| !verb.starts_with("aws ");
    for verb in lockstep_ctl::cli::changing_verbs().into_iter().filter(asks_a_daemon) {
        let mut line: Vec<&str> = verb.split(' ').collect();
        match line[0] {
            "group" => line.push(GROUP),
            "resource" => line.extend([GROUP, "app"]),
            "monitor" => line.push(MONITOR),
            "config" => line.push(&file),
            _ => {}
        }
        line.push("--dry-run");
        for node in [a, b] {
            let plan = node.lockstep(&line);
            assert!(matches!(plan.code, 0 | 8), "{line:?}: {plan:?}");
        }
    }
    for node in [a, b] {
        let report = node.report().expect("a daemon");
        assert!(report.safe && report.part == "takes", "{report:?}");
        let as_ever = |one: &MonitorReport| !one.suspended && !one.dummy;
        assert!(report.monitors.iter().all(as_ever), "{report:?}");
        assert!(!report.groups[0].stopped, "{report:?}");
    }
    assert_eq!(cluster.told(), told);

    a.must(&["resource", "stop", GROUP, "db"]);
    let off = |report: &ClusterReport, name: &str| {
        resource(report, name).is_some_and(|one| one.power == "off" && one.stopped)
    };
    cluster.wait(A, "db and app to be off", |report| {
        off(report, "db") && resource(report, "app").is_some_and(|one| one.power == "off")
    });
    assert!(a.has_address(), "what does not depend on it stays");
    a.must(&["resource", "start", GROUP, "db"]);
    a.must(&["resource", "start", GROUP, "app"]);
    cluster.settle(A);
    let expected = ["a app stop", "a db stop", "a db start", "a app start"];
    assert_eq!(cluster.told()[2..], expected, "{}", cluster.logs());

    assert!(load.pause(PATIENCE));
    a.must(&["group", "stop", GROUP]);
    for node in [A, B] {
        cluster.wait(node, "the group to be down", |report| {
            report.groups[0].runs_on.is_none() && state(report) == "down here"
        });
    }
    refused(&a.lockstep(&["status"]), 0, &["runs nowhere", "stopped by an operator"]);
    // It stays down, although it starts automatically otherwise.
    sleep(Duration::from_secs(4));
    assert_eq!(cluster.told()[6..], ["a app stop", "a db stop"], "{}", cluster.logs());
    b.must(&["group", "start", GROUP]);
    cluster.settle(B);
    load.resume();
    calm(&cluster, &load);
    b.must(&["cluster", "stop"]);
    cluster.wait(A, "the group on node a", is_up);
    b.must(&["cluster", "start"]);
    cluster.settle(A);
    calm(&cluster, &load);
    let shown = a.lockstep(&["events"]);
    refused(&shown, 0, &["group shop: up", "group shop: going down"]);
    refused(&b.lockstep(&["events"]), 0, &["node b takes part in the cluster"]);
    cluster.judge_turns("app", &[A, B, A]);
    cluster.judge(load, A);
}

/// The end of the programs too, as when the power goes.
fn power_off(cluster: &mut Cluster, node: usize) {
    let programs = ["db", "app"].map(|name| cluster.nodes[node].program_pid(name));
    cluster.nodes[node].kill();
    programs.into_iter().flatten().for_each(|pid| harness::pair::signal(pid, "KILL"));
}

#[test]
fn with_the_record_in_etcd_a_host_is_replaced_all_the_same() {
    let Some((mut cluster, load)) = begin(&Setup { etcd: true, ..Setup::quick() }) else { return };
    load.mark();
    let since = Instant::now();
    power_off(&mut cluster, A);
    cluster.wait(B, "the group on node b", is_up);
    let activation = since.elapsed();
    calm(&cluster, &load);
    println!("etcd, host killed: activation {activation:.1?}, outage {:.1?}", load.seen().longest);
    cluster.nodes[A].start();
    cluster.settle(B);
    load.mark();
    cluster.nodes[B].must(&["group", "move", GROUP]);
    cluster.settle(A);
    calm(&cluster, &load);
    println!("etcd, moved back: outage {:.1?}", load.seen().longest);
    cluster.judge_turns("app", &[A, B, A]);
    cluster.judge(load, A);
}

#[test]
fn after_a_power_cut_of_both_nobody_serves_before_the_last_owner_is_back() {
    let Some((mut cluster, load)) = begin(&Setup::quick()) else { return };
    power_off(&mut cluster, B);
    power_off(&mut cluster, A);
    cluster.reboot();
    cluster.nodes[B].start();
    // Longer than silence has to last to be evidence, and than the grace after a boot.
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(8) {
        let up = cluster.nodes[B].report().is_some_and(|report| is_up(&report));
        assert!(!up, "a copy that may lack writes serves\n{}", cluster.logs());
        sleep(Duration::from_millis(50));
    }
    let shown = cluster.nodes[B].lockstep(&["status"]);
    println!("{}", shown.text);
    refused(&shown, 4, &["runs nowhere", "node a"]);
    cluster.nodes[A].start();
    // Its copy counts; once both are equal, either may serve.
    let mut place = None;
    let took = cluster.wait(B, "the group to be up somewhere", |report| {
        let known = report.groups[0].runs_on.map(|node| usize::from(node == NodeId::B));
        place = known.filter(|node| cluster.nodes[*node].report().is_some_and(|r| is_up(&r)));
        place.is_some()
    });
    let place = place.expect("the wait ended with it");
    let safe = took + cluster.settle(place);
    let id = cluster.nodes[place].id;
    println!("both hosts lost power: up on node {id} after {took:.1?}, safe after {safe:.1?}");
    calm(&cluster, &load);
    let mut ran = vec![A, place];
    ran.dedup();
    cluster.judge_turns("app", &ran);
    cluster.judge(load, place);
}

#[test]
fn a_group_of_two_volumes_moves_and_fails_over_as_one() {
    let setup = Setup { volumes: 2, ..Setup::quick() };
    let Some((mut cluster, first)) = begin(&setup) else { return };
    let second = cluster.load_on(1, BLOCKS, STALL);
    calm(&cluster, &second);
    let shown = cluster.nodes[A].lockstep(&["status"]);
    println!("{}", shown.text);
    refused(&shown, 0, &["mirror vol ", "mirror vol2", "safe to lose a node now: yes"]);
    // A verb of the mirror names its volume, where there are several.
    let verb = cluster.nodes[A].lockstep(&["mirror", "status"]);
    refused(&verb, 2, &["vol, vol2"]);
    [&first, &second].into_iter().for_each(Load::mark);
    cluster.nodes[A].must(&["group", "move", GROUP]);
    cluster.wait(B, "the group on the other node", is_up);
    for load in [&first, &second] {
        calm(&cluster, load);
        println!("two volumes moved: outage {:.1?}", load.seen().longest);
    }
    cluster.settle(B);
    // One engine that dies stops nothing for long, and neither volume serves elsewhere meanwhile.
    let pid = cluster.nodes[B].engine_pids()[1];
    harness::pair::signal(pid, "KILL");
    [&first, &second].into_iter().for_each(|load| calm(&cluster, load));
    cluster.settle(B);
    cluster.judge_turns("app", &[A, B]);
    let since = Instant::now();
    power_off(&mut cluster, B);
    cluster.wait(A, "the group on node a", is_up);
    println!("two volumes, host killed: activation {:.1?}", since.elapsed());
    [&first, &second].into_iter().for_each(|load| calm(&cluster, load));
    cluster.nodes[B].start();
    cluster.settle(A);
    cluster.judge_turns("app", &[A, B, A]);
    cluster.judge(first, A);
    cluster.judge_on(1, second, A);
}

#[test]
fn a_group_without_volumes_fails_over_and_never_runs_on_two_nodes() {
    if !may_make_spaces() {
        return;
    }
    let setup = Setup { volumes: 0, ..Setup::default() };
    // Nobody creates anything: both nodes have met, and know of no record.
    let mut cluster = Cluster::up(&setup);
    let shown = cluster.nodes[A].lockstep(&["status"]);
    println!("{}", shown.text);
    refused(&shown, 0, &["runs on node a", "safe to lose a node now: yes"]);
    // A daemon that is replaced at once stops nothing.
    let told = cluster.told();
    cluster.nodes[A].kill_daemon();
    cluster.nodes[A].start();
    cluster.settle(A);
    assert_eq!(cluster.told(), told, "{}", cluster.logs());
    let since = Instant::now();
    power_off(&mut cluster, A);
    cluster.wait(B, "the group on node b", is_up);
    let took = since.elapsed();
    println!("no volume, host killed: up on the other node after {took:.1?}");
    let limit = setup.times.heartbeat_timeout.0 + 2_000_000_000;
    assert!(took <= Duration::from_nanos(limit), "{took:?}\n{}", cluster.logs());
    // Alone it goes on, and the other follows when it is back.
    cluster.nodes[A].start();
    cluster.settle(B);
    cluster.judge_turns("app", &[A, B]);
    // The loss of the standby is no reason to stop.
    let told = cluster.told();
    power_off(&mut cluster, A);
    sleep(Duration::from_nanos(setup.times.heartbeat_timeout.0 * 2));
    assert!(cluster.nodes[B].report().is_some_and(|report| is_up(&report)));
    assert_eq!(cluster.told(), told, "{}", cluster.logs());
    cluster.nodes[A].start();
    cluster.settle(B);
    cluster.nodes[B].must(&["group", "move", GROUP]);
    cluster.settle(A);
    // Cut off from everything, the owner stops before the other starts.
    cluster.nodes[A].arbiter(false);
    cluster.spaces().plug("wire", false);
    cluster.spaces().plug("beat", false);
    cluster.wait(B, "the group on node b", is_up);
    assert!(!cluster.nodes[A].has_address() && cluster.nodes[B].has_address());
    for name in ["db", "app"] {
        cluster.judge_turns(name, &[A, B, A, B]);
    }
    cluster.nodes[A].arbiter(true);
    cluster.spaces().plug("beat", true);
    cluster.spaces().plug("wire", true);
    cluster.settle(B);
    cluster.judge_turns("app", &[A, B, A, B]);
}
