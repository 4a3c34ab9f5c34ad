//! One node of a pair: its files, its two programs, its words.
//! Always: the engine is the process that the daemon wrote down, and nothing else is signalled.

use super::Ports;
use crate::bins::Bins;
use lockstep_ctl::act::host;
use lockstep_ctl::cli::client;
use lockstep_ctl::status::Report;
use lockstep_engine::config::{
    ClientsConfig, EngineConfig, LimitsConfig, LinkConfig, Named, SyncConfig,
};
use lockstep_engine::limits::{DATA_TAIL_BYTES, Times};
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{ClusterId, GroupId, NodeId, Span, VolumeId};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes of a cluster file.
const CLUSTER_BYTES: u64 = 16 << 20;
/// Lines of each log that a message shows.
const LOG_LINES: usize = 25;
/// Longest wait for a process to go.
pub(crate) const GONE: Duration = Duration::from_secs(20);

/// Identities of a pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    cluster: ClusterId,
    group: GroupId,
    volume: VolumeId,
}

impl Ids {
    pub(super) fn fresh() -> Ids {
        let fresh = || host::nonce().expect("random numbers").0;
        Ids { cluster: ClusterId(fresh()), group: GroupId(fresh()), volume: VolumeId(fresh()) }
    }
}

/// Where a node is, and what it shares with the other.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) arbiter: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ids: Ids,
    pub(super) own: Ports,
    pub(super) peer: Ports,
    pub(super) size: u64,
    pub(super) times: Times,
    pub(super) auto: bool,
    pub(super) space: Option<String>,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Exit code.
    pub code: i32,
    /// Both of its streams.
    pub text: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Answer {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Answer { code: output.status.code().unwrap_or(-1), text }
    }
}

/// A process of a test, ended when dropped.
pub struct Process(Child);

impl Process {
    /// Starts a command; its words go to the end of `log`.
    pub fn start(mut command: Command, log: &Path) -> Process {
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        Process(command.spawn().unwrap_or_else(|cause| panic!("{command:?}: {cause}")))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Exit code, when it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        self.0.try_wait().expect("own child").map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either it has ended already, or it ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to one process by its id.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).output();
    assert!(sent.expect("a shell").status.success(), "no signal {name} to {pid}");
}

/// Process id that a daemon has written down, while that process lives.
pub(crate) fn noted_pid(note: &Path) -> Option<u32> {
    let written: serde_json::Value = serde_json::from_slice(&fs::read(note).ok()?).ok()?;
    let pid = u32::try_from(written["pid"].as_u64()?).ok()?;
    (host::process_started(pid) == written["started"].as_u64()).then_some(pid)
}

/// SIGKILL to these processes; waits until they are gone.
pub(crate) fn end(pids: impl IntoIterator<Item = u32>) {
    let born: Vec<_> = pids.into_iter().map(|pid| (pid, host::process_started(pid))).collect();
    born.iter().for_each(|(pid, _)| signal(*pid, "KILL"));
    let began = Instant::now();
    for (pid, born) in born {
        while born.is_some() && host::process_started(pid) == born {
            assert!(began.elapsed() < GONE, "engine {pid} does not go");
            sleep(Duration::from_millis(2));
        }
    }
}

/// Lets a symbolic link lead somewhere else.
pub(crate) fn point(link: &Path, target: &Path) {
    fs::remove_file(link).expect("the symbolic link");
    symlink(target, link).expect("a symbolic link");
}

/// The last lines of these logs, for messages.
pub(crate) fn ends(logs: &[PathBuf], lines_max: usize) -> String {
    let mut text = String::new();
    for path in logs {
        let log = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        text += &format!("--- {}\n", path.display());
        text += &lines[lines.len().saturating_sub(lines_max)..].join("\n");
        text.push('\n');
    }
    text
}

/// One node.
pub struct Node {
    /// Its name.
    pub id: NodeId,
    place: Place,
    bins: Bins,
    daemon: Option<Process>,
}

impl Node {
    pub(super) fn make(id: NodeId, place: Place, bins: Bins) -> Node {
        let node = Node { id, place, bins, daemon: None };
        for dir in ["run", "state"] {
            fs::create_dir_all(node.dir().join(dir)).expect("a directory");
        }
        symlink(&node.place.arbiter, node.dir().join("arbiter")).expect("a symbolic link");
        let sizes =
            [(node.data(), node.place.size + DATA_TAIL_BYTES), (node.cluster(), CLUSTER_BYTES)];
        for (path, bytes) in sizes {
            File::create(path).and_then(|file| file.set_len(bytes)).expect("a partition");
        }
        fs::write(node.engine_toml(), node.engine_config().to_toml()).expect("a file");
        fs::write(node.node_toml(), node.node_text()).expect("a file");
        let made = node.engine(&["format"]);
        assert_eq!(made.code, 0, "format: {}", made.text);
        node
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// Data partition.
    pub fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// Cluster partition.
    pub fn cluster(&self) -> PathBuf {
        self.dir().join("cluster")
    }

    /// Where clients connect.
    pub fn clients(&self) -> PathBuf {
        self.dir().join("run/nbd.sock")
    }

    /// Configuration of the engine.
    pub fn engine_toml(&self) -> PathBuf {
        self.dir().join("engine.toml")
    }

    /// Configuration of the daemon.
    pub fn node_toml(&self) -> PathBuf {
        self.dir().join("node.toml")
    }

    /// Log of the engine.
    pub fn engine_log(&self) -> PathBuf {
        self.dir().join("run/vol/engine.log")
    }

    /// Log of the daemon.
    pub fn daemon_log(&self) -> PathBuf {
        self.dir().join("daemon.log")
    }

    fn socket(&self) -> PathBuf {
        self.dir().join("run/daemon.sock")
    }

    /// What the engine is configured with.
    pub fn engine_config(&self) -> EngineConfig {
        let named = |name: &str| name.to_owned();
        let Place { ids, own, peer, times, .. } = &self.place;
        EngineConfig {
            cluster: Named { id: ids.cluster, name: named("test") },
            group: Named { id: ids.group, name: named("test") },
            volume: Named { id: ids.volume, name: named("vol") },
            node: self.id,
            data: self.data(),
            cluster_partition: self.cluster(),
            device: None,
            admin: self.dir().join("run/engine.sock"),
            ack: AckMode::Written,
            intent_idle: Span::millis(1_000),
            clients: ClientsConfig { unix: Some(self.clients()), tcp: Vec::new() },
            link: LinkConfig {
                listen: own.link,
                peer: peer.link,
                flows: 2,
                key_file: self.place.key.clone(),
            },
            sync: SyncConfig::default(),
            times: *times,
            limits: LimitsConfig {
                intent_regions: 64,
                connections: 8,
                lock_memory: false,
                ..LimitsConfig::default()
            },
        }
    }

    fn node_text(&self) -> String {
        let Place { ids, own, peer, times, .. } = &self.place;
        let path = |path: PathBuf| toml::Value::String(path.display().to_string());
        let ms = |span: Span| span.0 / 1_000_000;
        format!(
            "node = \"{id}\"\nauto_takeover = {auto}\nspawn_engine = true\nkey_file = {key}\n\
             runtime_dir = {run}\nstate_dir = {state}\ndaemon_socket = {socket}\n\
             [cluster]\nid = \"{cluster}\"\nname = \"test\"\n\
             [group]\nid = \"{group}\"\nname = \"test\"\n\
             [volume]\nid = \"{volume}\"\nname = \"vol\"\n\
             [engine]\nsocket = {engine}\nconfig = {config}\nprogram = {program}\n\
             [heartbeat]\nbind = \"{bind}\"\npeer = \"{beat_peer}\"\ninterval_ms = {interval}\n\
             [arbiter]\ndirectory = {arbiter}\n\
             [times]\nping_ms = {ping}\nlink_dead_ms = {link_dead}\ngrace_ms = {grace}\n\
             arbiter_attempt_ms = {attempt}\nlease_ms = {lease}\nfence_ms = {fence}\n\
             heartbeat_timeout_ms = {beats}\n",
            id = self.id,
            auto = self.place.auto,
            key = path(self.place.key.clone()),
            run = path(self.dir().join("run")),
            state = path(self.dir().join("state")),
            socket = path(self.socket()),
            cluster = ids.cluster,
            group = ids.group,
            volume = ids.volume,
            engine = path(self.dir().join("run/engine.sock")),
            config = path(self.engine_toml()),
            program = path(self.bins.engine.clone()),
            bind = own.beat,
            beat_peer = peer.beat,
            interval = ms(times.ping) * 2,
            arbiter = path(self.dir().join("arbiter")),
            ping = ms(times.ping),
            link_dead = ms(times.link_dead),
            grace = ms(times.grace),
            attempt = ms(times.arbiter_attempt),
            lease = ms(times.lease),
            fence = ms(times.fence),
            beats = ms(times.heartbeat_timeout),
        )
    }

    /// A program in this node's namespace, if it has one.
    fn command(&self, program: &Path) -> Command {
        match &self.place.space {
            None => Command::new(program),
            Some(space) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space]).arg(program);
                command
            }
        }
    }

    /// The engine's program with this node's configuration, not started.
    pub fn engine_command(&self, verb: &str, config: &Path) -> Command {
        let mut command = self.command(&self.bins.engine);
        command.arg(verb).arg("--config").arg(config);
        command
    }

    /// Runs a verb of the engine's program to its end.
    pub fn engine(&self, args: &[&str]) -> Answer {
        let mut command = self.engine_command(args[0], &self.engine_toml());
        command.args(&args[1..]).output().expect("the engine's program").into()
    }

    /// The daemon's program, not started.
    pub fn daemon_command(&self, config: &Path) -> Command {
        let mut command = self.command(&self.bins.lockstep);
        command.arg("daemon").arg("--config").arg(config);
        command
    }

    /// Starts the daemon, which starts the engine if there is none.
    pub fn start(&mut self) {
        let command = self.daemon_command(&self.node_toml());
        self.daemon = Some(Process::start(command, &self.daemon_log()));
    }

    /// Asks for a verb, for at most 30 s.
    pub fn mirror(&self, args: &[&str]) -> Answer {
        let mut command = Command::new(&self.bins.lockstep);
        command.arg("mirror").arg("--socket").arg(self.socket());
        if !args.contains(&"--timeout") {
            command.args(["--timeout", "30"]);
        }
        command.args(args).output().expect("the operator's program").into()
    }

    /// Asks for a verb that must succeed; gives the time it took.
    pub fn must(&self, args: &[&str]) -> Duration {
        let began = Instant::now();
        let answer = self.mirror(args);
        assert_eq!(
            answer.code,
            0,
            "node {}: {args:?}: {}\n{}",
            self.id,
            answer.text,
            self.log_ends()
        );
        began.elapsed()
    }

    /// Status, when the daemon is there.
    pub fn status(&self) -> Option<Report> {
        client::status(&self.socket(), Some(Duration::from_millis(500))).ok()
    }

    /// Process id of the engine that lives.
    pub fn engine_pid(&self) -> Option<u32> {
        noted_pid(&self.dir().join("run/vol/engine.pid"))
    }

    /// Process id of the daemon that lives.
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Process::pid)
    }

    /// SIGKILL to the daemon only.
    pub fn kill_daemon(&mut self) {
        self.daemon = None;
    }

    /// SIGKILL to the engine only; waits until it is gone. The daemon may start another one.
    pub fn kill_engine(&mut self) {
        end(self.engine_pid());
    }

    /// SIGKILL to both.
    pub fn kill(&mut self) {
        self.kill_daemon();
        self.kill_engine();
    }

    /// SIGSTOP or SIGCONT to both.
    pub fn freeze(&self, freeze: bool) {
        let name = if freeze { "STOP" } else { "CONT" };
        for pid in [self.daemon_pid(), self.engine_pid()].into_iter().flatten() {
            signal(pid, name);
        }
    }

    /// Takes the record's store away from this node, or gives it back.
    pub fn arbiter(&self, there: bool) {
        // A file is no directory: every access fails at once.
        let target = if there { &self.place.arbiter } else { &self.place.key };
        point(&self.dir().join("arbiter"), target);
    }

    pub(super) fn end(&mut self) {
        if let Some(pid) = self.engine_pid() {
            // It may have been stopped by the test.
            signal(pid, "CONT");
        }
        self.kill();
    }

    pub(super) fn log_ends(&self) -> String {
        ends(&[self.daemon_log(), self.engine_log()], LOG_LINES)
    }
}
