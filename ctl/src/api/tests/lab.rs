//! A loop that answers at once, both doors, and a client that sends bytes as they stand.

use crate::act::arbiter::Health;
use crate::act::events::{Diary, Weight};
use crate::act::heartbeat::Dropped;
use crate::act::peer::Counts;
use crate::api::control::{Applied, ConfigPlan, Refusal, Request, Tell, Verb, WhatIf};
use crate::api::{Api, Opening};
use crate::config::Named;
use crate::config::cluster::{ApiSpec, ApiTls, Change, Effect, Sides};
use crate::status::cluster::{
    ClusterReport, ConfigReport, GroupReport, MirrorReport, MonitorReport, PathReport, PeerReport,
    ResourceReport,
};
use crate::status::{Colour, EngineReport, HeartbeatReport, Report, Summary};
use lockstep_engine::units::{BootId, ClusterId, GroupId, NodeId, Status, Tick, VolumeId};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The token of the TCP door.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that is all doors.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub tcp: Option<SocketAddr>,
    /// What the loop was asked.
    pub asked: Arc<Mutex<Vec<Verb>>>,
    /// Longest time between two turns of the loop, in milliseconds.
    pub late_ms: Arc<AtomicU64>,
    /// What became of files that changed.
    pub renewals: Arc<Mutex<Vec<String>>>,
    /// Requests of the verb `Takeover`, which end when the test says so.
    pub held: Arc<Mutex<Vec<Request>>>,
    pub diary: Diary,
}

fn summary() -> Summary {
    Summary {
        colour: Colour::Green,
        mirror: "in sync".to_owned(),
        runs_on: Some(NodeId::A),
        safe: true,
        safe_why: "both nodes hold every write".to_owned(),
        rpo: "nothing".to_owned(),
        next: "nothing".to_owned(),
        alarms: vec!["one".to_owned()],
        split_brain: false,
    }
}

/// A cluster with one of everything.
pub fn cluster() -> ClusterReport {
    let health = Health { store: "directory \"x\"".to_owned(), tried: true, ..Health::default() };
    ClusterReport {
        v: 1,
        cluster: Named { id: ClusterId(1), name: "shop".to_owned() },
        node: NodeId::A,
        hosts: ["node-1".to_owned(), "node-2".to_owned()],
        part: "takes".to_owned(),
        leaving: false,
        observe_only: false,
        peer: PeerReport {
            heard: true,
            heard_ms_ago: Some(12),
            part: Some("takes".to_owned()),
            healthy: Some(true),
            config_differs: false,
        },
        interconnects: vec![PathReport { name: "wire".to_owned(), heard_ms_ago: None, up: true }],
        groups: vec![GroupReport {
            name: "db".to_owned(),
            runs_on: Some(NodeId::A),
            owner: Some(NodeId::A),
            state: "up".to_owned(),
            stopped: false,
            barred: false,
            may_move: true,
            resources: vec![ResourceReport {
                name: "mirror".to_owned(),
                power: "on".to_owned(),
                stopped: false,
                failure: Some("line\n\"two\"".to_owned()),
            }],
            mirrors: vec![MirrorReport { volume: "vol".to_owned(), summary: summary() }],
            arbiter: Health { last_ms: Some(3), ..health },
        }],
        monitors: vec![MonitorReport {
            name: "care".to_owned(),
            health: "fine".to_owned(),
            cause: None,
            suspended: false,
            dummy: false,
            bad: 0,
            retries: 2,
        }],
        safe: true,
        unsafe_why: Vec::new(),
        alarms: Vec::new(),
        config: Some(ConfigReport {
            version: 3,
            digest: "00c0ffee".to_owned(),
            taken_over: true,
            trouble: None,
            calls: Counts::default(),
        }),
        events_lost: 0,
        decision: serde_json::json!({ "what": "ever" }),
    }
}

/// A volume with an engine.
pub fn volume() -> Report {
    Report {
        v: 1,
        cluster: Named { id: ClusterId(1), name: "shop".to_owned() },
        group: Named { id: GroupId(2), name: "db".to_owned() },
        volume: Named { id: VolumeId(3), name: "vol".to_owned() },
        node: NodeId::A,
        now: Tick(5_000_000_000),
        summary: summary(),
        engine: Some(EngineReport {
            build: "b".to_owned(),
            config_digest: "d".to_owned(),
            status: Some(Status {
                lease_until: Some(Tick(6_500_000_000)),
                ..Status::at_rest(VolumeId(3), NodeId::A)
            }),
        }),
        record: None,
        heartbeat: HeartbeatReport {
            heard_ms_ago: Some(12),
            answered_ms_ago: None,
            answering: true,
            peer_boot: Some(BootId(4)),
            dropped: Dropped::default(),
        },
        arbiter: Health::default(),
        decision: serde_json::Value::Null,
    }
}

/// Histograms as an engine tells them.
pub fn stats() -> serde_json::Value {
    let histogram = serde_json::json!({
        "count": 4, "sum_ns": 5_000_000_000u64, "p50_ns": 1, "p99_ns": 1, "p999_ns": 1,
        "buckets_ns": [[4096, 1], [5120, 2], [40_000_000_000u64, 1]],
    });
    serde_json::json!({
        "client_read": histogram, "client_write": histogram, "client_flush": histogram,
        "disk_read": histogram, "disk_write": histogram, "disk_flush": histogram,
        "meta_write": histogram, "peer_ack": histogram, "clients": 2, "link_sent_bytes": 7,
        "link_received_bytes": 8, "link_queued_bytes": 9, "reactor_cpu_ns": 1_500_000_000u64,
    })
}

fn apply(dry_run: bool) -> Tell {
    let change = |old: Option<&str>, effect| Change {
        key: "volumes.vol.flows".to_owned(),
        old: old.map(str::to_owned),
        new: Some("4".to_owned()),
        node: Sides::Both,
        effect,
    };
    if dry_run {
        return Tell::Config(Box::new(ConfigPlan {
            changes: vec![
                change(None, Effect::Live),
                change(Some("2"), Effect::EngineRestart("vol".to_owned())),
            ],
            restarts: vec!["db/fs".to_owned()],
            stops: vec!["node a: it runs".to_owned()],
            lacks: vec!["node b: no program".to_owned()],
            other: "node b takes it over at once".to_owned(),
        }));
    }
    Tell::Applied(Applied {
        version: 4,
        digest: "00c0ffee".to_owned(),
        both: true,
        nodes: vec![(NodeId::A, "runs it".to_owned()), (NodeId::B, "runs it".to_owned())],
        engines: vec!["vol".to_owned()],
    })
}

fn answer(verb: &Verb, dry_run: bool) -> Vec<Tell> {
    let refused = |code: &str, message: &str| {
        let (code, message) = (code.to_owned(), message.to_owned());
        vec![Tell::Refused(Refusal { code, message })]
    };
    match verb {
        Verb::Apply { .. } => vec![apply(dry_run)],
        _ if dry_run => vec![Tell::Plan { refused: None, steps: vec!["stop db".to_owned()] }],
        Verb::Status | Verb::Watch => vec![Tell::Status(Box::new(volume()))],
        Verb::Cluster | Verb::WatchCluster => vec![Tell::Cluster(Box::new(cluster()))],
        Verb::Stats => vec![Tell::Stats(stats())],
        Verb::WhatIf { .. } => vec![Tell::WhatIf(vec![WhatIf {
            group: "db".to_owned(),
            survives: true,
            because: vec!["it may".to_owned()],
        }])],
        Verb::Group { name, .. } if name != "db" => {
            refused("no-group", "group x: there is none of that name; known are: db")
        }
        Verb::Move => refused("not-primary", "volume vol: it is elsewhere; go there"),
        Verb::Stop => {
            let (waiting, message) = ("engine".to_owned(), "for the engine".to_owned());
            vec![Tell::Progress { waiting, message }, Tell::Done]
        }
        _ => vec![Tell::Done],
    }
}

/// What the loop shares with the test.
type Heard =
    (Arc<Mutex<Vec<Verb>>>, Arc<AtomicU64>, Arc<Mutex<Vec<Request>>>, Arc<Mutex<Vec<String>>>);

async fn play(mut api: Api, lab: Heard) {
    let (asked, late, held, renewals) = lab;
    let mut turns = tokio::time::interval(Duration::from_millis(10));
    let mut before = Instant::now();
    let mut watchers = Vec::new();
    loop {
        tokio::select! {
            request = api.next() => {
                let Some(request) = request else { return };
                asked.lock().unwrap().push(request.ask.verb.clone());
                if request.ask.verb == Verb::Takeover {
                    held.lock().unwrap().push(request);
                    continue;
                }
                for tell in answer(&request.ask.verb, request.ask.dry_run) {
                    request.tell.send(tell).await.unwrap_or(());
                }
                if matches!(request.ask.verb, Verb::Watch | Verb::WatchCluster) {
                    watchers.push(request);
                }
            }
            _ = turns.tick() => {
                while let Some(renewal) = api.renewed() {
                    renewals.lock().unwrap().push(format!("{renewal:?}"));
                }
                let now = Instant::now();
                let ms = u64::try_from((now - before).as_millis()).unwrap();
                late.fetch_max(ms, Ordering::Relaxed);
                before = now;
                watchers.retain(|watcher: &Request| !watcher.tell.is_closed());
                for watcher in &watchers {
                    for tell in answer(&watcher.ask.verb, false) {
                        // A slow one misses it.
                        let _ = watcher.tell.try_send(tell);
                    }
                }
            }
        }
    }
}

impl Lab {
    /// Both doors; TCP in the clear with a token.
    pub fn open() -> Lab {
        Lab::open_with(None)
    }

    /// The same with TLS; a token only when no clients' authority is named.
    pub fn open_with(tls: Option<ApiTls>) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        std::fs::set_permissions(&token_file, PermissionsExt::from_mode(0o600)).unwrap();
        let certified = tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let token_file = (!certified).then_some(token_file);
        let spec = ApiSpec { listen: any, peer: any, token_file, tls };
        Lab::open_as(dir, &spec)
    }

    pub fn open_as(dir: tempfile::TempDir, spec: &ApiSpec) -> Lab {
        let mut api = Api::open(&Opening {
            run_dir: dir.path(),
            socket: &dir.path().join("daemon.sock"),
            tcp: Some(spec),
            names: vec!["node-1".to_owned()],
        })
        .unwrap();
        let tcp = api.tcp_address();
        let diary = Diary::open(dir.path(), 1_000).unwrap();
        diary.note(7, Weight::Warning, "test", None, "first".to_owned());
        api.serve(diary.reader()).unwrap();
        let (asked, late_ms, held) = (Arc::default(), Arc::default(), Arc::default());
        let renewals = Arc::default();
        let shared =
            (Arc::clone(&asked), Arc::clone(&late_ms), Arc::clone(&held), Arc::clone(&renewals));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(play(api, shared));
        });
        Lab { dir, tcp, asked, late_ms, renewals, held, diary }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("daemon.sock")
    }

    pub fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes over TCP and reads until the end.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.dial();
        // Whoever refuses early may not read all of it.
        let _ = stream.write_all(bytes);
        text(&mut stream)
    }

    /// A request over TCP with the token; gives status and body.
    pub fn ask(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
             authorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        split(&self.raw(head.as_bytes()))
    }

    /// A request over the unix socket.
    pub fn ask_unix(&self, line: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        split(&text(&mut stream))
    }

    pub fn json(&self, line: &str) -> serde_json::Value {
        let (status, body) = self.ask(line, "", "");
        assert_eq!(status, 200, "{line}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// Everything until the other side closes, in whatever way.
pub fn text(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Status and body of an answer; a body in chunks is put together.
pub fn split(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (status, body.to_owned());
    }
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        whole.push_str(more.get(..size).unwrap_or(more));
        rest = more.get(size + 2..).unwrap_or("");
    }
    (status, whole)
}

/// The code of an error.
pub fn code(body: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    problem["error"]["code"].as_str().unwrap_or(body).to_owned()
}
