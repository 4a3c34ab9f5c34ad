//! The API of a real cluster: the page in a browser, metrics of a live engine, health, floods.
//! Needs root for network namespaces, and a headless Chromium.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use harness::cluster::{A, API, B, Cluster, GROUP, Member, Setup, TOKEN};
use harness::pair::engine;
use lockstep_engine::units::Mirror;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The browser; scripts/test installs it.
const BROWSER: &str = "chromium-headless-shell";
/// Longest time for it to start and show a page.
const SHOWN: Duration = Duration::from_secs(60);
/// Connections of a flood.
const FLOOD: usize = 1_000;

/// Sends a request to the daemon's socket; gives status and body.
fn get(member: &Member, path: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(member.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// What a browser on that node makes of the page, once it has heard from the daemon.
fn page(member: &Member, wanted: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let began = Instant::now();
    loop {
        let shown = member
            .inside(Path::new("timeout"))
            .args(["40", BROWSER, "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--dump-dom", "--virtual-time-budget=3000"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://any:{TOKEN}@{API}/"))
            .output()
            .expect("the browser; run scripts/test packages");
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        if wanted.iter().all(|word| text.contains(word)) {
            return text;
        }
        let said = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert!(began.elapsed() < SHOWN, "no {wanted:?} in\n{text}\n{said}");
    }
}

/// The number of a line of metrics.
fn metric(text: &str, line: &str) -> f64 {
    let found = text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse().unwrap()
}

#[test]
fn a_browser_and_prometheus_see_what_goes_on() {
    let mut cluster = Cluster::up(&Setup::quick());
    let group = format!("group {GROUP}");
    let text = page(&cluster.nodes[A], &[&group, "mirror vol", "safe to lose any one node"]);
    for part in ["in sync", "<td>info</td>", "interconnect wire", "db on", "0 errors"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("<progress"), "{text}");

    let load = cluster.load(64, Duration::from_secs(20));
    cluster.wait_for(A, "writes to be counted", |member| {
        let (status, text) = get(member, "/metrics");
        assert_eq!(status, 200, "{text}");
        (metric(&text, "lockstep_writes_total{volume=\"vol\"}") > 100.0, None)
    });
    let (_, text) = get(&cluster.nodes[A], "/metrics");
    assert_eq!(metric(&text, "lockstep_safe"), 1.0);
    assert_eq!(
        metric(&text, &format!("lockstep_group_owner{{group=\"{GROUP}\",node=\"a\"}}")),
        1.0
    );
    assert_eq!(metric(&text, "lockstep_mirror_state{volume=\"vol\",state=\"in-sync\"}"), 1.0);
    assert!(metric(&text, &format!("lockstep_group_epoch{{group=\"{GROUP}\"}}")) >= 1.0);
    assert!(metric(&text, "lockstep_lease_seconds{volume=\"vol\"}") > 0.0);
    let writes = "lockstep_request_duration_seconds_count{volume=\"vol\",operation=\"write\"}";
    assert!(metric(&text, writes) > 100.0);

    // What the other node misses is shown while it is held back, and afterwards not any more.
    cluster.nodes[A].must(&["mirror", "pause"]);
    cluster.nodes[B].kill();
    let alone = |report: &lockstep_ctl::status::Report, mirror| {
        engine(report).is_some_and(|status| status.mirror == mirror)
    };
    cluster.wait_for(A, "node a to go on alone", |member| {
        (member.volume(0).is_some_and(|report| alone(&report, Mirror::Solo)), None)
    });
    cluster.nodes[B].start();
    cluster.wait_for(A, "a resync to be held back", |member| {
        (member.volume(0).is_some_and(|report| alone(&report, Mirror::SyncSource)), None)
    });
    let text = page(&cluster.nodes[A], &["<progress", "held back by an operator"]);
    assert!(text.contains("not safe to lose a node"), "{text}");
    cluster.nodes[A].must(&["mirror", "resume"]);
    cluster.judge(load, A);
}

#[test]
fn health_says_whether_a_node_can_decide() {
    let cluster = Cluster::up(&Setup::quick());
    let a = &cluster.nodes[A];
    assert_eq!(get(a, "/healthz"), (200, "{\"healthy\":true,\"reasons\":[]}\n".to_owned()));
    a.must(&["cluster", "suspend"]);
    let (status, body) = get(a, "/healthz");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("lockstep cluster resume"), "{body}");
    a.must(&["cluster", "resume"]);
    a.arbiter(false);
    cluster.wait_for(A, "the arbiter to be missed", |member| {
        let (status, body) = get(member, "/healthz");
        (status == 503 && body.contains("arbiter"), Some(body))
    });
    a.arbiter(true);
    cluster.wait_for(A, "health", |member| (get(member, "/healthz").0 == 200, None));
}

fn resident_bytes(pid: u32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_flood_costs_little_and_delays_no_decision() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let cluster = Cluster::up(&Setup::quick());
    let a = &cluster.nodes[A];
    let pid = a.daemon_pid().unwrap();
    let (before, last) = (resident_bytes(pid), a.last_event());
    // Nobody outside the namespace reaches the TCP door.
    assert!(TcpStream::connect_timeout(&API.parse().unwrap(), Duration::from_secs(1)).is_err());
    let mut all = Vec::new();
    for n in 0..FLOOD {
        let mut stream = UnixStream::connect(a.socket()).unwrap();
        // Some say nothing, some garbage, some ask and never read.
        let said: &[u8] = match n % 3 {
            0 => b"",
            1 => b"\xff\xfe\x00 garbage \r\n\r\n",
            _ => b"GET /v1/status?follow=true HTTP/1.1\r\nhost: x\r\n\r\n",
        };
        let _ = stream.write_all(said);
        all.push(stream);
    }
    let moved = cluster.wait_for(A, "an operator to get through", |member| {
        (member.lockstep(&["group", "move", GROUP]).code == 0, None)
    });
    let grown = resident_bytes(pid).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    drop(all);
    cluster.settle(B);
    assert!(moved < Duration::from_secs(30), "{moved:?}");
    let late: Vec<_> = a
        .events(last)
        .into_iter()
        .filter(|event| ["heartbeat-late", "evidence", "fast-fence"].contains(&&*event.code))
        .collect();
    assert!(late.is_empty(), "{late:?}");
}
