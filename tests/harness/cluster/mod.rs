//! Two real nodes that run from one `cluster.toml`, each in a network namespace of its own, with a
//! group of mirrors, an address and two programs. It decides nothing; it only starts, kills,
//! unplugs and asks. Needs root.
//! Always: when a `Cluster` is dropped, each process that it started is gone, found by its own id.

mod config;
mod member;

pub use config::{API, TOKEN};
pub use member::{Member, resource};

use crate::bins;
use crate::pair::{self, PATIENCE, Process, Spaces, engine};
use lockstep_ctl::config::cluster::Cluster as Config;
use lockstep_ctl::demo::load::Load;
use lockstep_ctl::status::Report;
use lockstep_ctl::status::cluster::ClusterReport;
use lockstep_engine::limits::{DATA_TAIL_BYTES, Times};
use lockstep_engine::units::NodeId;
use lockstep_nbd::client::Address;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Index of node a.
pub const A: usize = 0;
/// Index of node b.
pub const B: usize = 1;
/// Name of the group.
pub const GROUP: &str = "shop";
/// Name of the monitor of the resource `app`.
pub const MONITOR: &str = "care";
/// Address that goes with the group.
pub const ADDRESS: &str = "10.77.9.9";
/// Exported bytes.
const SIZE: u64 = 64 << 20;
/// Bytes of a cluster file.
const CLUSTER_BYTES: u64 = 16 << 20;
/// Pause between two looks at a status.
const LOOK: Duration = Duration::from_millis(10);

/// What a cluster is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Times of both nodes.
    pub times: Times,
    /// The record lies in etcd, not in a directory.
    pub etcd: bool,
    /// There is no store: the pair itself keeps the record, and each node has a world to look at.
    pub storeless: bool,
    /// For a soak: a small disk for the state of each daemon, and wall clocks that can be stepped.
    pub soak: bool,
    /// Mirrored volumes of the group.
    pub volumes: usize,
    /// Tables of the resources between mirrors and programs, in place of the plain address.
    pub addresses: Option<String>,
    /// Further tables.
    pub more: String,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            times: Times::DEFAULT,
            etcd: false,
            storeless: false,
            soak: false,
            volumes: 1,
            addresses: None,
            more: String::new(),
        }
    }
}

impl Setup {
    /// Shorter times, for tests that are not about times.
    pub fn quick() -> Setup {
        Setup { times: crate::pair::Setup::quick().times, ..Setup::default() }
    }
}

/// Name of the volume of that number.
pub fn volume_name(n: usize) -> String {
    file_of("vol", n)
}

/// What belongs to the volume of that number: the first has the plain name.
pub fn file_of(name: &str, n: usize) -> String {
    if n == 0 { name.to_owned() } else { format!("{name}{}", n + 1) }
}

/// Both nodes.
pub struct Cluster {
    /// Node a, then node b.
    pub nodes: [Member; 2],
    spaces: Spaces,
    etcd: Option<Process>,
    volumes: usize,
    root: TempDir,
}

/// Time in which one node ran a program without the other doing so.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Turn {
    /// Index of the node.
    pub node: usize,
    /// First sign of life, in seconds since boot.
    pub from: f64,
    /// Last sign of life.
    pub to: f64,
}

/// Whether the group is up on this node with everything that belongs to it.
pub fn is_up(report: &ClusterReport) -> bool {
    report.groups.first().is_some_and(|group| {
        group.runs_on == Some(report.node) && group.resources.iter().all(|one| one.power == "on")
    })
}

/// One etcd in the namespace of node a, in the place of machines of its own: it outlives the end of
/// both nodes, and only the cable of the heartbeats leads to it.
fn store(space: &str, root: &Path) -> Process {
    let peers = "http://127.0.0.1:2380";
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{space}"))
        .args(["etcd", "--name", "one", "--initial-cluster"])
        .arg(format!("one={peers}"))
        .arg("--data-dir")
        .arg(root.join("etcd"))
        .args(["--listen-client-urls", config::ETCD, "--advertise-client-urls", config::ETCD])
        .args(["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]);
    Process::start(command, &root.join("etcd.log"))
}

impl Cluster {
    /// Formats both nodes; nothing runs yet.
    pub fn make(setup: &Setup) -> Cluster {
        let bins = bins::find().unwrap_or_else(|error| panic!("{error}"));
        let root = TempDir::with_prefix("lc-").expect("a temporary directory");
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("arbiter")).expect("a directory for the record");
        fs::write(at("key"), "6b6579206f6620746865207465737473206f66206c6f636b737465702e2e2e2e\n")
            .expect("a key file");
        fs::write(at("token"), config::TOKEN).expect("a token file");
        fs::set_permissions(at("token"), fs::Permissions::from_mode(0o600)).expect("a mode");
        fs::write(at("service.sh"), include_str!("service.sh")).expect("a program");
        fs::set_permissions(at("service.sh"), fs::Permissions::from_mode(0o755)).expect("a mode");
        let text = config::text(setup, root.path(), &bins);
        fs::write(at("cluster.toml"), text).expect("a configuration");
        let parsed = Config::load(&at("cluster.toml")).unwrap_or_else(|error| panic!("{error}"));
        let spaces = Spaces::make();
        let node = |id: NodeId, index: usize| {
            let space = spaces.names[index].clone();
            crate::pair::ip(&format!(
                "-n {space} link add serve type veth peer name served netns {space}"
            ));
            for end in ["serve", "served"] {
                crate::pair::ip(&format!("-n {space} link set {end} up"));
            }
            let member = Member {
                id,
                root: root.path().to_owned(),
                space,
                bins: bins.clone(),
                volumes: setup.volumes,
                daemon: None,
                soak: setup.soak,
            };
            member.world(true);
            for dir in ["run", "state"] {
                fs::create_dir_all(member.dir().join(dir)).expect("a directory");
            }
            symlink(at("arbiter"), member.dir().join("arbiter")).expect("a symbolic link");
            fs::copy(at("cluster.toml"), member.config()).expect("a configuration");
            member.prepare_soak();
            let sizes = [("data", SIZE + DATA_TAIL_BYTES), ("cluster", CLUSTER_BYTES)];
            for (n, engine) in parsed.node(id).engines.iter().enumerate() {
                for (name, bytes) in sizes {
                    let file = File::create(member.dir().join(file_of(name, n)));
                    file.and_then(|file| file.set_len(bytes)).expect("a partition");
                }
                let file = member.dir().join("format.toml");
                fs::write(&file, &engine.text).expect("a file");
                let mut format = Command::new(&bins.engine);
                let made = format.args(["format", "--config"]).arg(&file).output();
                let made = made.expect("the engine's program");
                assert!(made.status.success(), "{made:?}");
            }
            member
        };
        let nodes = [node(NodeId::A, A), node(NodeId::B, B)];
        let etcd = setup.etcd.then(|| store(&nodes[A].space, root.path()));
        Cluster { nodes, spaces, etcd, volumes: setup.volumes, root }
    }

    /// From here, daemons and engines that start believe in another boot of their host. Both
    /// nodes must be down.
    pub fn reboot(&self) {
        let text = self.text();
        let (rest, _) = text.split_once("[lab]").expect("the last table");
        let text = format!("{rest}{}", config::boots());
        for node in &self.nodes {
            fs::write(node.config(), &text).expect("a configuration");
        }
    }

    /// The file of node a.
    pub fn text(&self) -> String {
        fs::read_to_string(self.nodes[A].config()).expect("a configuration")
    }

    /// A cluster in sync whose group came up on node a by itself.
    pub fn up(setup: &Setup) -> Cluster {
        let mut cluster = Cluster::make(setup);
        cluster.nodes.iter_mut().for_each(Member::start);
        cluster.create();
        cluster.settle(A);
        cluster
    }

    /// Waits until both nodes have met, and writes the first record.
    pub fn create(&self) {
        for node in [A, B] {
            self.wait(node, "both nodes to meet", |report| {
                let tried = report.groups[0].arbiter.tried;
                let fine = tried && report.groups[0].arbiter.trouble.is_none();
                report.peer.heard && fine && report.interconnects.iter().all(|path| path.up)
            });
            for n in 0..self.volumes {
                self.wait_volume(node, n, "the link", |report| {
                    let up = lockstep_engine::units::LinkState::Up;
                    engine(report).is_some_and(|status| status.link == up)
                });
            }
        }
        if self.volumes > 0 {
            self.nodes[A].must(&["mirror", "create", "--both-blank", "--volume", &volume_name(0)]);
        }
    }

    /// Waits until the group is up on that node, may move, and it is safe to lose a node.
    pub fn settle(&self, node: usize) -> Duration {
        self.wait(node, "the group to be up and safe", |report| {
            is_up(report) && report.safe && report.groups[0].may_move
        })
    }

    /// The namespaces.
    pub fn spaces(&self) -> &Spaces {
        &self.spaces
    }

    /// Where clients of a volume may connect, node a first.
    pub fn servers_of(&self, volume: usize) -> Vec<Address> {
        let socket =
            |node: &Member| Address::Unix(node.dir().join(file_of("clients.sock", volume)));
        self.nodes.iter().map(socket).collect()
    }

    /// Starts a load on the first `blocks` blocks of the node that serves; a server that answers
    /// nothing for `stall` is given up.
    pub fn load(&self, blocks: usize, stall: Duration) -> Load {
        self.load_on(0, blocks, stall)
    }

    /// The same on the volume of that number.
    pub fn load_on(&self, volume: usize, blocks: usize, stall: Duration) -> Load {
        let servers = self.servers_of(volume);
        Load::patient(servers, blocks, 0x10c_57e9, Some(stall)).expect("a thread")
    }

    /// Waits until the cluster, seen from a node, is as wanted; gives the time it took.
    pub fn wait(
        &self,
        node: usize,
        what: &str,
        mut seen: impl FnMut(&ClusterReport) -> bool,
    ) -> Duration {
        self.wait_for(node, what, |member| {
            let report = member.report();
            (report.as_ref().is_some_and(&mut seen), report.map(|report| format!("{report:?}")))
        })
    }

    fn wait_volume(
        &self,
        node: usize,
        volume: usize,
        what: &str,
        mut seen: impl FnMut(&Report) -> bool,
    ) -> Duration {
        self.wait_for(node, what, |member| {
            let report = member.volume(volume);
            (report.as_ref().is_some_and(&mut seen), report.map(|report| format!("{report:?}")))
        })
    }

    /// Waits until `look` is content; it also gives what was seen, for the message.
    pub fn wait_for(
        &self,
        node: usize,
        what: &str,
        mut look: impl FnMut(&Member) -> (bool, Option<String>),
    ) -> Duration {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < PATIENCE {
            let (content, seen) = look(&self.nodes[node]);
            if content {
                return began.elapsed();
            }
            last = seen.or(last);
            sleep(LOOK);
        }
        let (id, logs) = (self.nodes[node].id, self.logs());
        panic!("node {id}: waited {PATIENCE:?} for {what}; last seen {last:?}\n{logs}");
    }

    /// Ends of all logs, for messages.
    pub fn logs(&self) -> String {
        let ends: String = self.nodes.iter().map(Member::log_ends).collect();
        format!("{ends}--- told\n{}", self.told().join("\n"))
    }

    /// What programs were told, in order: "NODE RESOURCE VERB".
    pub fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root.path().join("told")).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
    }

    /// Which node ran the program of a resource, in order of time.
    pub fn turns(&self, resource: &str) -> Vec<Turn> {
        let mut signs: Vec<(f64, usize)> = Vec::new();
        for node in [A, B] {
            signs.extend(self.nodes[node].alive(resource).into_iter().map(|at| (at, node)));
        }
        signs.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut turns: Vec<Turn> = Vec::new();
        for (at, node) in signs {
            match turns.last_mut() {
                Some(turn) if turn.node == node => turn.to = at,
                _ => turns.push(Turn { node, from: at, to: at }),
            }
        }
        turns
    }

    /// A program ran on these nodes in turn, and never on both.
    pub fn judge_turns(&self, resource: &str, nodes: &[usize]) {
        let turns = self.turns(resource);
        let ran: Vec<usize> = turns.iter().map(|turn| turn.node).collect();
        let count = turns.len();
        let shown = &turns[..count.min(20)];
        assert_eq!(ran, nodes, "{resource}: {count} turns: {shown:?}\n{}", self.logs());
    }

    /// Nobody writes: once `server` has nothing dirty, both data files are the same.
    pub fn same_disks(&self, server: usize) {
        self.wait_volume(server, 0, "nothing to be dirty", |report| {
            let clean = engine(report).is_some_and(|status| status.dirty_blocks == 0);
            pair::in_sync(report) && clean
        });
        let data = self.nodes.each_ref().map(|node| node.data());
        assert_eq!(pair::differing(data, SIZE), 0, "bytes differ\n{}", self.logs());
    }

    /// Ends the load and judges it: `server` is in sync, no acknowledged write is lost, every
    /// block is right, and both data files are the same.
    pub fn judge(&self, load: Load, server: usize) {
        self.judge_on(0, load, server);
    }

    /// The same for the volume of that number.
    pub fn judge_on(&self, volume: usize, load: Load, server: usize) {
        let wait = |what: &str, seen: pair::Sign| {
            self.wait_volume(server, volume, what, seen);
        };
        let file = file_of("data", volume);
        let data = self.nodes.each_ref().map(|node| node.dir().join(&file));
        pair::judge(load, server, &wait, &|| pair::differing(data.clone(), SIZE), &|| self.logs());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // A test that ended early may have left them stopped.
            node.engine_pids().into_iter().for_each(|pid| pair::signal(pid, "CONT"));
            node.kill();
            node.end_soak();
        }
        self.etcd = None;
        // Programs look at it before every sign of life.
        if fs::write(self.root.path().join("over"), "").is_err() {
            return;
        }
        let began = Instant::now();
        let runs =
            |node: &Member| ["db", "app"].iter().any(|name| node.program_pid(name).is_some());
        while self.nodes.iter().any(runs) && began.elapsed() < Duration::from_secs(5) {
            sleep(LOOK);
        }
    }
}
