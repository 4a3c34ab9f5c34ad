//! One node of a test cluster: its files, its processes, its words.
//! Always: an engine is the process that the daemon wrote down, and nothing else is signalled.

use crate::bins::Bins;
use crate::pair::{Answer, GONE, Process, end, ends, ip, noted_pid, point};
use lockstep_ctl::act::events::Entry;
use lockstep_ctl::api::control::{Tell, Verb};
use lockstep_ctl::cli::client::{self, To};
use lockstep_ctl::status::Report;
use lockstep_ctl::status::cluster::{ClusterReport, ResourceReport};
use lockstep_engine::units::NodeId;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Lines of each log that a message shows.
const LOG_LINES: usize = 60;
/// Lets a program believe in another wall clock; in the folder of the machine's architecture.
const FAKE_CLOCK: &str = "faketime/libfaketime.so.1";
/// Longest wait for an answer that the daemon gives by itself.
const ANSWER: Option<Duration> = Some(Duration::from_millis(500));

/// One node.
pub struct Member {
    /// Its letter.
    pub id: NodeId,
    pub(super) root: PathBuf,
    pub(super) space: String,
    pub(super) bins: Bins,
    pub(super) volumes: usize,
    pub(super) daemon: Option<Process>,
    pub(super) soak: bool,
}

impl Member {
    /// Its directory.
    pub fn dir(&self) -> PathBuf {
        self.root.join(self.id.to_string())
    }

    /// Socket of its NBD clients, of its first volume.
    pub fn clients(&self) -> PathBuf {
        self.dir().join("clients.sock")
    }

    /// Data partition of its first volume.
    pub fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// Socket of its daemon's API.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("run/daemon.sock")
    }

    /// Its own copy of the file that both nodes share.
    pub fn config(&self) -> PathBuf {
        self.dir().join("cluster.toml")
    }

    /// Makes a text the configuration of both nodes, as an operator of this one.
    pub fn apply(&self, text: &str) -> Answer {
        let file = self.dir().join("new.toml");
        fs::write(&file, text).expect("a file");
        self.lockstep(&["config", "apply", "--yes", &file.display().to_string()])
    }

    /// A program in this node's network namespace, in the same control groups as the test.
    pub fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.space)).arg(program);
        command
    }

    /// Starts the daemon, which starts the engine if there is none.
    pub fn start(&mut self) {
        let mut command = self.inside(&self.bins.lockstep);
        // AWS is what the configuration says, not what surrounds the test.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_ascii_uppercase();
            if text.starts_with("AWS_") || text.ends_with("_PROXY") {
                command.env_remove(&name);
            }
        }
        command.args(["daemon", "--node", &self.id.to_string(), "--cluster"]).arg(self.config());
        if self.soak {
            command.env("LD_PRELOAD", fake_clock()).env("FAKETIME_TIMESTAMP_FILE", self.clock());
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_CACHE_DURATION", "1");
            command.env("FAKETIME_DISABLE_SHM", "1");
        }
        self.daemon = Some(Process::start(command, &self.dir().join("daemon.log")));
    }

    /// Runs a verb of the operator's program, for at most 30 s.
    pub fn lockstep(&self, args: &[&str]) -> Answer {
        let mut command = Command::new(&self.bins.lockstep);
        command.args(args).arg("--socket").arg(self.socket()).args(["--timeout", "30"]);
        command.output().expect("the operator's program").into()
    }

    /// Runs a verb that must succeed; gives the time it took.
    pub fn must(&self, args: &[&str]) -> Duration {
        let began = Instant::now();
        let answer = self.lockstep(args);
        let (id, text, logs) = (self.id, &answer.text, self.log_ends());
        assert_eq!(answer.code, 0, "node {id}: {args:?}: {text}\n{logs}");
        began.elapsed()
    }

    fn ask(&self, verb: Verb) -> Option<Tell> {
        client::call(&self.socket(), verb, ANSWER, |_| {}).ok()
    }

    /// The cluster as this node sees it, when its daemon is there.
    pub fn report(&self) -> Option<ClusterReport> {
        match self.ask(Verb::Cluster)? {
            Tell::Cluster(report) => Some(*report),
            _ => None,
        }
    }

    /// The volume of that number as this node sees it, when its daemon is there.
    pub fn volume(&self, n: usize) -> Option<Report> {
        let (socket, name) = (self.socket(), super::volume_name(n));
        let to = To { socket: &socket, volume: Some(&name), dry_run: false };
        client::status(to, ANSWER).ok()
    }

    /// Its events after the one of that number.
    pub fn events(&self, after: u64) -> Vec<Entry> {
        match self.ask(Verb::Events { after, most: 1_000 }) {
            Some(Tell::Events(events)) => events,
            _ => Vec::new(),
        }
    }

    /// Number of its last event.
    pub fn last_event(&self) -> u64 {
        self.events(0).last().map_or(0, |event| event.number)
    }

    /// Process id of the first engine, while it lives.
    pub fn engine_pid(&self) -> Option<u32> {
        self.engine_pids().first().copied()
    }

    /// Process ids of the engines that live.
    pub fn engine_pids(&self) -> Vec<u32> {
        let notes =
            |n: usize| self.dir().join("run").join(super::volume_name(n)).join("engine.pid");
        (0..self.volumes).filter_map(|n| noted_pid(&notes(n))).collect()
    }

    /// Process id of what a program of a resource has started here, while it lives.
    pub fn program_pid(&self, resource: &str) -> Option<u32> {
        let text = fs::read_to_string(self.dir().join(format!("{resource}.pid"))).ok()?;
        let pid: u32 = text.trim().parse().ok()?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        line.contains(&self.root.display().to_string()).then_some(pid)
    }

    /// Whether the group's address is on the interface here.
    pub fn has_address(&self) -> bool {
        self.has(super::ADDRESS)
    }

    /// Whether this address is on the interface of the service.
    pub fn has(&self, address: &str) -> bool {
        self.shown("address").contains(&format!(" {address}/"))
    }

    /// Hardware address of the interface of the service.
    pub fn mac(&self) -> String {
        let shown = self.shown("link");
        let mac = shown.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        mac.unwrap_or_else(|| panic!("no hardware address in {shown}")).to_owned()
    }

    fn shown(&self, what: &str) -> String {
        let words = ["-n", &self.space, "-o", what, "show", "serve"];
        let shown = Command::new("ip").args(words).output().expect("the ip command");
        String::from_utf8_lossy(&shown.stdout).into_owned()
    }

    /// Takes an address from the interface of the service, as somebody would by hand.
    pub fn drop_address(&self, address: &str) {
        ip(&format!("-n {} address del {address}/32 dev serve", self.space));
    }

    /// SIGKILL to the daemon only.
    pub fn kill_daemon(&mut self) {
        self.daemon = None;
    }

    /// Process id of the daemon, when one was started.
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Process::pid)
    }

    /// SIGKILL to the daemon and the engines; waits until all are gone.
    pub fn kill(&mut self) {
        self.kill_daemon();
        self.kill_engine();
    }

    /// SIGKILL to the engines only; waits until they are gone. The daemon may start others.
    pub fn kill_engine(&self) {
        end(self.engine_pids());
    }

    /// Tells the programs here to fail (`broken` or `stays`), or not any more.
    pub fn spoil(&self, name: &str, how: &str, on: bool) {
        let path = self.dir().join(format!("{name}.{how}"));
        let done = if on { fs::write(path, "") } else { fs::remove_file(path) };
        done.expect("a file in the node's directory");
    }

    /// Takes the record's store away from this node, or gives it back.
    pub fn arbiter(&self, there: bool) {
        // A file is no directory: every access fails at once.
        let target = self.root.join(if there { "arbiter" } else { "key" });
        point(&self.dir().join("arbiter"), &target);
    }

    /// Whether the world outside the pair answers this node.
    pub fn world(&self, there: bool) {
        let (verb, space) = (if there { "add" } else { "del" }, &self.space);
        ip(&format!("-n {space} addr {verb} {}/32 dev lo", super::config::WORLD));
    }

    /// Loses what this node sends over a cable, while what it is sent still comes; or no more.
    pub fn mute(&self, cable: &str, mute: bool) {
        let (net, host) =
            (if cable == "wire" { 1 } else { 2 }, if self.id == NodeId::A { 2 } else { 1 });
        let neighbour = format!("-n {} neigh", self.space);
        let address = format!("10.77.{net}.{host}");
        if mute {
            // To a card that nobody has: the other end drops it.
            ip(&format!(
                "{neighbour} replace {address} lladdr 02:00:00:00:00:99 dev {cable} nud permanent"
            ));
        } else {
            ip(&format!("{neighbour} del {address} dev {cable}"));
        }
    }

    fn clock(&self) -> PathBuf {
        self.dir().join("clock")
    }

    /// Steps the wall clock of what was started here: so many seconds from the host's.
    pub fn step_clock(&self, by: i64) {
        fs::write(self.clock(), format!("{by:+}s\n")).expect("a file in the node's directory");
    }

    /// Fills the disk of the daemon's state to the last byte, or makes room again.
    pub fn fill_disk(&self, full: bool) {
        let filler = self.dir().join("state/filler");
        if !full {
            return fs::remove_file(filler).expect("the file that fills the disk");
        }
        let mut file = File::create(filler).expect("room for a name");
        let piece = vec![0_u8; 4_096];
        while let Ok(()) = file.write_all(&piece) {}
    }

    /// A small disk for the daemon's state, and a clock that is right.
    pub(super) fn prepare_soak(&self) {
        if self.soak {
            self.step_clock(0);
            let state = self.dir().join("state");
            run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "state"]).arg(state));
        }
    }

    pub(super) fn end_soak(&self) {
        if self.soak {
            run(Command::new("umount").arg("--lazy").arg(self.dir().join("state")));
        }
    }

    /// Waits until a daemon that was told to end has done so.
    pub fn wait_for_end(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        let began = Instant::now();
        while daemon.ended().is_none() {
            assert!(began.elapsed() < GONE, "daemon {} does not end", daemon.pid());
            sleep(Duration::from_millis(2));
        }
        self.daemon = None;
    }

    /// When a resource's program was running here: seconds since boot, ascending.
    pub fn alive(&self, resource: &str) -> Vec<f64> {
        let text = fs::read_to_string(self.dir().join(format!("{resource}.alive")));
        let text = text.unwrap_or_default();
        // A line without an end may still be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(|line| line.parse().ok()).collect()
    }

    pub(super) fn log_ends(&self) -> String {
        ends(&[self.dir().join("daemon.log"), self.dir().join("run/vol/engine.log")], LOG_LINES)
    }
}

fn fake_clock() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib");
    let mut paths = folders.flatten().map(|folder| folder.path().join(FAKE_CLOCK));
    paths.find(|path| path.exists()).expect("libfaketime: install the package faketime")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A resource of the only group, as a node sees it.
pub fn resource<'r>(report: &'r ClusterReport, name: &str) -> Option<&'r ResourceReport> {
    report.groups.first()?.resources.iter().find(|resource| resource.name == name)
}
