//! `lockstep config apply` on a whole cluster under a write load: what does not change is not
//! touched, what changes restarts alone, and both nodes end with the same file or say why not.
//! Needs root, for network namespaces.

#![allow(clippy::unwrap_used)]

use harness::cluster::{A, B, Cluster, GROUP, Setup, is_up};
use harness::pair::{Answer, may_make_spaces};
use lockstep_ctl::demo::load::Load;
use lockstep_ctl::status::cluster::{ClusterReport, ConfigReport};
use std::fs;
use std::thread::scope;
use std::time::Duration;

/// Blocks that a load works on: 16 MiB.
const BLOCKS: usize = 4_096;
/// A server that answers nothing for so long is given up.
const STALL: Duration = Duration::from_secs(20);
/// Time that a load runs undisturbed.
const CALM: Duration = Duration::from_millis(800);

fn calm(cluster: &Cluster, load: &Load) {
    harness::pair::calm(load, CALM, &|| cluster.logs());
}

/// A cluster whose group is up on node a, under load; `None` where the host gives no namespaces.
fn begin() -> Option<(Cluster, Load)> {
    if !may_make_spaces() {
        return None;
    }
    let cluster = Cluster::up(&Setup::default());
    let load = cluster.load(BLOCKS, STALL);
    calm(&cluster, &load);
    Some((cluster, load))
}

#[track_caller]
fn says(answer: &Answer, code: i32, words: &[&str]) {
    println!("{}", answer.text);
    assert_eq!(answer.code, code, "{answer:?}");
    for word in words {
        assert!(answer.text.contains(word), "no \"{word}\" in {answer:?}");
    }
}

fn config(report: &ClusterReport) -> &ConfigReport {
    report.config.as_ref().expect("a cluster has a file")
}

/// Waits until a node runs that version.
fn runs(cluster: &Cluster, node: usize, version: u64) -> Duration {
    cluster.wait(node, &format!("version {version} of the file"), |report| {
        let config = config(report);
        config.version == version && config.taken_over && config.trouble.is_none()
    })
}

/// Both nodes have that file, byte for byte, and nothing beside it.
fn same_file(cluster: &Cluster, text: &str) {
    for node in &cluster.nodes {
        assert_eq!(fs::read_to_string(node.config()).unwrap(), text, "node {}", node.id);
        assert!(!node.dir().join("cluster.toml.prepared").exists());
        assert!(!node.dir().join("state/config/prepared.json").exists());
    }
}

/// What must not change while something else does.
fn running(cluster: &Cluster, names: &[&str]) -> Vec<Option<u32>> {
    let programs = names.iter().map(|name| cluster.nodes[A].program_pid(name));
    programs.chain(cluster.nodes.iter().map(|node| node.engine_pid())).collect()
}

fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old:?} is not there");
    text.replacen(old, new, 1)
}

/// Another start of a resource's program, which does the same.
fn changed(text: &str, name: &str, word: &str) -> String {
    let (head, tail) = text.split_once(&format!("name = \"{name}\"")).expect("the resource");
    format!(
        "{head}name = \"{name}\"{}",
        with(tail, "\"start\"]", &format!("\"start\", \"{word}\"]"))
    )
}

const WATCH: &str = "[[monitors]]\nname = \"watch\"\ntype = \"disk\"\npaths = [\"/dev/null\"]\n\
                     interval = \"1 s\"\ntimeout = \"1 s\"\n";

#[test]
fn a_new_monitor_interrupts_nothing() {
    let Some((cluster, load)) = begin() else { return };
    let (told, before) = (cluster.told(), running(&cluster, &["db", "app"]));
    let old = cluster.text();
    let new = with(&old, "[[monitors]]", &format!("{WATCH}[[monitors]]"));
    load.mark();
    calm(&cluster, &load);
    let usual = load.seen().longest;
    let file = cluster.nodes[A].dir().join("new.toml");
    fs::write(&file, &new).unwrap();
    let file = file.display().to_string();
    let shown = cluster.nodes[A].lockstep(&["config", "apply", "--dry-run", &file]);
    says(&shown, 0, &["+ monitors.watch", "restarts: nothing", "node b takes it over at once"]);
    same_file(&cluster, &old);
    load.mark();
    says(&cluster.nodes[A].apply(&new), 0, &["version 1", "node a: runs it", "node b: runs it"]);
    for node in [A, B] {
        runs(&cluster, node, 1);
        cluster.wait(node, "the new monitor", |report| {
            report.monitors.iter().any(|monitor| monitor.name == "watch")
        });
    }
    calm(&cluster, &load);
    let pause = load.seen().longest;
    println!("a monitor was added: longest pause {pause:.1?}, usual {usual:.1?}");
    assert!(pause <= Duration::from_millis(250).max(usual * 2), "{pause:?}");
    assert_eq!(running(&cluster, &["db", "app"]), before, "{}", cluster.logs());
    assert_eq!(cluster.told(), told);
    same_file(&cluster, &new);
    // Edited in place on the other node, and applied there.
    fs::write(cluster.nodes[B].config(), &old).unwrap();
    let path = cluster.nodes[B].config().display().to_string();
    let answer = cluster.nodes[B].lockstep(&["config", "apply", "--yes", &path]);
    says(&answer, 0, &["- monitors.watch", "version 2"]);
    let _ = [A, B].map(|node| runs(&cluster, node, 2));
    same_file(&cluster, &old);
    says(&cluster.nodes[A].apply(&old), 0, &["applied already"]);
    cluster.settle(A);
    assert_eq!(cluster.told(), told);
    assert_eq!(load.seen().errors, 0);
    cluster.judge(load, A);
    cluster.judge_turns("app", &[A]);
}

#[test]
fn a_changed_resource_restarts_alone_and_a_new_one_only_starts() {
    let Some((cluster, load)) = begin() else { return };
    let before = running(&cluster, &["db"]);
    let app = cluster.nodes[A].program_pid("app");
    let new = changed(&cluster.text(), "app", "again");
    let answer = cluster.nodes[B].apply(&new);
    says(&answer, 0, &["restarts shop/app", "version 1", "node a: runs it"]);
    cluster.settle(A);
    assert_eq!(cluster.told()[2..], ["a app stop", "a app start"], "{}", cluster.logs());
    assert_eq!(running(&cluster, &["db"]), before);
    assert_ne!(cluster.nodes[A].program_pid("app"), app);
    assert!(cluster.nodes[A].has_address());
    // What others need takes them down with it, and comes up before them.
    says(&cluster.nodes[A].apply(&changed(&new, "db", "again")), 0, &["version 2"]);
    cluster.settle(A);
    let order = ["a app stop", "a db stop", "a db start", "a app start"];
    assert_eq!(cluster.told()[4..], order, "{}", cluster.logs());
    let text = cluster.text();
    let at = text.find("[[monitors]]").unwrap();
    let (_, one) = text[..at].rsplit_once("[[groups.resources]]").unwrap();
    let extra = format!("[[groups.resources]]{}", one.replace("\"app\"", "\"extra\""));
    let more = format!("{}{extra}{}", &text[..at], &text[at..]);
    says(&cluster.nodes[A].apply(&more), 0, &["+ groups.shop.resources.extra"]);
    cluster.settle(A);
    assert_eq!(cluster.told()[8..], ["a extra start"], "{}", cluster.logs());
    says(&cluster.nodes[A].apply(&text), 0, &["- groups.shop.resources.extra", "version 4"]);
    cluster.settle(A);
    assert_eq!(cluster.told()[9..], ["a extra stop"], "{}", cluster.logs());
    let _ = [A, B].map(|node| runs(&cluster, node, 4));
    same_file(&cluster, &text);
    // The new configuration is what the other node runs the group with.
    cluster.nodes[A].must(&["group", "move", GROUP]);
    cluster.settle(B);
    assert_eq!(load.seen().errors, 0);
    cluster.judge(load, B);
    cluster.judge_turns("db", &[A, B]);
}

#[test]
fn a_node_that_was_down_gets_the_file_when_it_returns() {
    let Some((mut cluster, load)) = begin() else { return };
    let new = changed(&cluster.text(), "app", "again");
    cluster.nodes[B].kill();
    cluster.wait(A, "node b to be silent", |report| !report.peer.heard);
    let answer = cluster.nodes[A].apply(&new);
    says(&answer, 4, &["it gets it when it returns", "version 1", "node b: is not heard"]);
    cluster.wait(A, "the group to be up", is_up);
    runs(&cluster, A, 1);
    assert_ne!(fs::read_to_string(cluster.nodes[B].config()).unwrap(), new);
    cluster.nodes[B].start();
    let took = runs(&cluster, B, 1);
    println!("node b has the file {took:.1?} after its start");
    same_file(&cluster, &new);
    cluster.settle(A);
    cluster.wait(A, "no alarm", |report| report.alarms.is_empty());
    assert_eq!(cluster.told()[2..], ["a app stop", "a app start"], "{}", cluster.logs());
    cluster.judge(load, A);
}

#[test]
fn files_that_were_changed_apart_are_refused_until_somebody_chooses() {
    let Some((mut cluster, load)) = begin() else { return };
    let old = cluster.text();
    let one = changed(&old, "app", "one");
    let other = changed(&old, "app", "other");
    cluster.nodes[B].kill_daemon();
    cluster.wait(A, "node b to be silent", |report| !report.peer.heard);
    says(&cluster.nodes[A].apply(&one), 4, &["version 1"]);
    cluster.wait(A, "the group to be up", is_up);
    // By hand on the node that was down, before it is started.
    fs::write(cluster.nodes[B].config(), &other).unwrap();
    cluster.nodes[B].start();
    for node in [A, B] {
        cluster.wait(node, "both to say that the files are apart", |report| {
            let trouble = config(report).trouble.as_deref().unwrap_or_default();
            trouble.contains("changed on each node apart") && trouble.contains("edited by hand")
        });
    }
    for node in [A, B] {
        let answer =
            cluster.nodes[node].apply(&with(&old, "[[monitors]]", &format!("{WATCH}[[monitors]]")));
        says(&answer, 8, &["changed on each node apart"]);
    }
    assert_eq!(fs::read_to_string(cluster.nodes[A].config()).unwrap(), one);
    assert_eq!(fs::read_to_string(cluster.nodes[B].config()).unwrap(), other);
    // Somebody chooses.
    fs::write(cluster.nodes[B].config(), &one).unwrap();
    cluster.nodes[B].kill_daemon();
    cluster.nodes[B].start();
    runs(&cluster, B, 1);
    cluster.wait(A, "no trouble", |report| config(report).trouble.is_none());
    same_file(&cluster, &one);
    cluster.settle(A);
    cluster.judge(load, A);
}

#[test]
fn a_file_that_does_not_do_on_one_host_changes_nothing_on_both() {
    let Some((cluster, load)) = begin() else { return };
    let (told, old) = (cluster.told(), cluster.text());
    let before = running(&cluster, &["db", "app"]);
    let bad = "[[monitors]]\nname = \"bad\"\ntype = \"exec\"\n\
               command = { a = [\"/bin/true\"], b = [\"/none/such\"] }\n[[monitors]]";
    let bad = with(&old, "[[monitors]]", bad);
    for node in [A, B] {
        let answer = cluster.nodes[node].apply(&bad);
        says(&answer, 8, &["node b: monitors.bad.command: /none/such is no program"]);
    }
    let wrong = with(&old, "type = \"exec\"", "type = \"exce\"");
    says(&cluster.nodes[A].apply(&wrong), 2, &["exce"]);
    let times = with(&old, "[times]", "[times]\nhello = \"6 s\"");
    says(&cluster.nodes[A].apply(&times), 8, &["node a: times.hello", "lockstep cluster stop"]);
    let state = with(&old, "/a/state\"", "/a/other\"");
    says(&cluster.nodes[A].apply(&state), 8, &["paths.state on node a", "put the file on both"]);
    same_file(&cluster, &old);
    for node in [A, B] {
        let report = cluster.nodes[node].report().expect("a daemon");
        assert_eq!((config(&report).version, config(&report).taken_over), (0, true));
    }
    assert_eq!((cluster.told(), running(&cluster, &["db", "app"])), (told, before));
    cluster.judge(load, A);
}

#[test]
fn a_daemon_that_dies_before_it_has_taken_over_ends_it_when_it_is_back() {
    let Some((mut cluster, load)) = begin() else { return };
    // From now on it takes its time to stop.
    let text = cluster.text();
    let (head, tail) = text.split_once("name = \"app\"").unwrap();
    let service = cluster.nodes[A].dir().parent().unwrap().join("service.sh");
    let old = format!("stop = [\"{}\", \"stop\"]", service.display());
    let slow = format!("stop = [\"/bin/bash\", \"-c\", \"sleep 3; {} stop\"]", service.display());
    let slow = format!("{head}name = \"app\"{}", with(tail, &old, &slow));
    says(&cluster.nodes[A].apply(&slow), 0, &["version 1"]);
    cluster.settle(A);
    let new = changed(&slow, "app", "again");
    let (file, member) = (cluster.nodes[A].dir().join("new.toml"), &cluster.nodes[A]);
    fs::write(&file, &new).unwrap();
    let answer = scope(|scope| {
        let path = file.display().to_string();
        let apply = scope.spawn(move || member.lockstep(&["config", "apply", "--yes", &path]));
        cluster.wait(A, "the file, not taken over", |report| {
            config(report).version == 2 && !config(report).taken_over
        });
        harness::pair::signal(member.daemon_pid().expect("a daemon"), "KILL");
        apply.join().expect("the verb")
    });
    assert_ne!(answer.code, 0, "{answer:?}");
    cluster.nodes[A].kill_daemon();
    cluster.nodes[A].start();
    let _ = [A, B].map(|node| runs(&cluster, node, 2));
    cluster.settle(A);
    same_file(&cluster, &new);
    // Stopped by the old file's program and started by the new one's, and nothing else.
    let told = cluster.told();
    assert!(told[4..].iter().all(|line| line.starts_with("a app ")), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("a app start"));
    assert_eq!(load.seen().errors, 0);
    cluster.judge(load, A);
    cluster.judge_turns("db", &[A]);
}

#[test]
fn times_change_while_the_cluster_is_stopped_and_the_port_while_it_runs() {
    let Some((cluster, load)) = begin() else { return };
    let told = cluster.told();
    let moved = with(&cluster.text(), "[heartbeat]\n", "[heartbeat]\nport = 7791\n");
    let answer = cluster.nodes[B].apply(&moved);
    says(&answer, 0, &["heartbeat.port", "by both nodes", "version 1", "node a: runs it"]);
    cluster.settle(A);
    calm(&cluster, &load);
    assert_eq!(load.seen().errors, 0);
    assert_eq!(cluster.told(), told);
    let before = cluster.nodes.each_ref().map(|node| node.engine_pid());
    cluster.nodes[B].must(&["cluster", "stop"]);
    cluster.nodes[A].must(&["cluster", "stop"]);
    for node in [A, B] {
        cluster.wait(node, "nobody to own the group", |report| report.groups[0].owner.is_none());
    }
    let times = with(&moved, "[times]", "[times]\nhello = \"6 s\"");
    says(&cluster.nodes[A].apply(&times), 0, &["version 2", "node b: runs it"]);
    for node in [A, B] {
        runs(&cluster, node, 2);
        let report = cluster.nodes[node].report().expect("a daemon");
        assert_eq!(report.part, "stopped", "a change starts nothing");
    }
    // The engines had nobody to serve: they run with it already.
    for node in [A, B] {
        cluster.wait_for(node, "another engine", |member| {
            let now = member.engine_pid();
            (now.is_some() && now != before[node], Some(format!("{now:?}")))
        });
    }
    cluster.nodes[A].must(&["cluster", "start"]);
    cluster.nodes[B].must(&["cluster", "start"]);
    cluster.settle(A);
    cluster.wait(A, "no alarm", |report| report.alarms.is_empty());
    same_file(&cluster, &times);
    drop(load);
}
