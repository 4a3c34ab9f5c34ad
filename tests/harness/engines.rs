//! Two engines as real processes, and a hand that commands them as a daemon would.
//! Always: both are gone when the pair is dropped, whatever the test came to; their logs are shown
//! when it failed. No decision is taken here: each test says which record is written.

use crate::bins;
use lockstep_engine::admin::{Call, Line, VERSION, Verb};
use lockstep_engine::units::{
    Epoch, Generation, Members, NodeId, Nonce, OpenAttempt, Status, Version, VolumeRecord,
};
use lockstep_nbd::client::{Address, Client, Options};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Exported bytes of the volume.
pub const SIZE: u64 = 64 << 20;
/// Longest wait for a state.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at a state.
const LOOK: Duration = Duration::from_millis(10);

/// The partitions of one node.
#[derive(Clone, Debug)]
pub struct Partitions {
    /// Data partition.
    pub data: PathBuf,
    /// Cluster partition.
    pub meta: PathBuf,
}

impl Partitions {
    /// Bytes of a data partition.
    pub const DATA_BYTES: u64 = SIZE + (1 << 20);
    /// Bytes of a cluster partition.
    pub const META_BYTES: u64 = 16 << 20;

    /// Those of a node as files in `dir`; they are made when they are not there.
    pub fn files(dir: &Path, node: NodeId) -> Partitions {
        let make = |name: &str, bytes| {
            let path = dir.join(format!("{node}.{name}"));
            let file = fs::File::create(&path);
            file.and_then(|file| file.set_len(bytes)).expect("a partition");
            path
        };
        Partitions { data: make("data", Self::DATA_BYTES), meta: make("meta", Self::META_BYTES) }
    }
}

/// Two formatted nodes in a folder of their own.
pub struct Engines {
    dir: tempfile::TempDir,
    engine: PathBuf,
    ports: [u16; 2],
    partitions: [Partitions; 2],
    children: [Option<Child>; 2],
}

fn place(node: NodeId) -> usize {
    match node {
        NodeId::A => 0,
        NodeId::B => 1,
    }
}

fn free_ports() -> [u16; 2] {
    let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (first, second) = (listen(), listen());
    [&first, &second].map(|listener| listener.local_addr().expect("it is bound").port())
}

impl Engines {
    /// Formats both nodes; nothing runs yet.
    pub fn format() -> Engines {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let partitions = [NodeId::A, NodeId::B].map(|node| Partitions::files(dir.path(), node));
        Engines::format_on(dir, partitions)
    }

    /// Formats these partitions; everything else lies in `dir`. Nothing runs yet.
    pub fn format_on(dir: tempfile::TempDir, partitions: [Partitions; 2]) -> Engines {
        let engine = bins::engine().unwrap_or_else(|error| panic!("{error}"));
        let ports = free_ports();
        let engines = Engines { dir, engine, ports, partitions, children: [None, None] };
        fs::write(engines.path("key"), "5a".repeat(32)).expect("the key");
        for node in [NodeId::A, NodeId::B] {
            engines.write_config(node);
            let config = engines.path(&format!("{node}.toml"));
            let formatted = Command::new(&engines.engine)
                .args(["format", "--force", "--config"])
                .arg(config)
                .stdout(Stdio::null())
                .status();
            assert!(formatted.expect("format runs").success());
        }
        engines
    }

    /// The next engine of this node finds its partitions here, and listens although the kernel has
    /// not yet closed what a killed one listened on. Its peer must be dialed, not dial.
    pub fn move_to(&mut self, node: NodeId, partitions: Partitions) {
        assert_eq!(node, NodeId::A, "node A dials");
        self.partitions[place(node)] = partitions;
        self.ports[place(node)] = free_ports()[0];
        for socket in ["admin", "nbd"] {
            fs::remove_file(self.path(&format!("{node}.{socket}"))).expect("it was listened on");
        }
        self.write_config(node);
    }

    fn write_config(&self, node: NodeId) {
        fs::write(self.path(&format!("{node}.toml")), self.config(node))
            .expect("the configuration");
    }

    fn config(&self, node: NodeId) -> String {
        let Partitions { data, meta } = &self.partitions[place(node)];
        let (data, meta) = (data.display(), meta.display());
        let (own, peer) = (self.ports[place(node)], self.ports[place(node.peer())]);
        let dir = self.dir.path().display();
        format!(
            r#"
node = "{node}"
data = "{data}"
cluster_partition = "{meta}"
admin = "{dir}/{node}.admin"
[cluster]
id = "c1"
name = "lab"
[group]
id = "62"
name = "group"
[volume]
id = "7001"
name = "vol"
[clients]
unix = "{dir}/{node}.nbd"
[link]
listen = "127.0.0.1:{own}"
peer = "127.0.0.1:{peer}"
key_file = "{dir}/key"
[limits]
lock_memory = false
"#
        )
    }

    /// A file of the pair.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The folder of the pair.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts one engine.
    pub fn start(&mut self, node: NodeId) {
        let path = self.path(&format!("{node}.log"));
        let log = fs::File::options().create(true).append(true).open(path).expect("a log");
        let child = Command::new(&self.engine)
            .args(["run", "--config"])
            .arg(self.path(&format!("{node}.toml")))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.children[place(node)] = Some(child.expect("the engine starts"));
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self, node: NodeId) {
        if let Some(mut child) = self.children[place(node)].take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    /// SIGKILL, without waiting: what it has in flight may keep it in the kernel.
    pub fn strike(&mut self, node: NodeId) -> Child {
        let mut child = self.children[place(node)].take().expect("it runs");
        child.kill().expect("it runs");
        child
    }

    /// What the engines of a node have said so far.
    pub fn log(&self, node: NodeId) -> String {
        fs::read_to_string(self.path(&format!("{node}.log"))).unwrap_or_default()
    }

    /// Whether somebody greets on the admin socket within `patience`.
    pub fn greets(&self, node: NodeId, patience: Duration) -> bool {
        let stream = UnixStream::connect(self.path(&format!("{node}.admin")));
        stream.and_then(|stream| Admin::within(stream, patience)).is_ok()
    }

    /// Resident memory of a running engine, in KiB.
    pub fn resident_kib(&self, node: NodeId) -> u64 {
        let child = self.children[place(node)].as_ref().expect("it runs");
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse().expect("a number")
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self, node: NodeId) -> ExitStatus {
        let mut child = self.children[place(node)].take().expect("it runs");
        let pid = child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.expect("kill runs").success());
        child.wait().expect("it ends")
    }

    /// A connection to the admin socket.
    pub fn admin(&self, node: NodeId) -> Admin {
        let path = self.path(&format!("{node}.admin"));
        let from = Instant::now();
        loop {
            // The listener of a killed engine may live on for a moment; it greets nobody.
            match UnixStream::connect(&path).and_then(Admin::new) {
                Ok(admin) => return admin,
                Err(_) if from.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                Err(error) => panic!("{node} does not answer on {}: {error}", path.display()),
            }
        }
    }

    /// Waits until the status is as wanted.
    pub fn wait(&self, node: NodeId, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let from = Instant::now();
        loop {
            let status = self.admin(node).status();
            if wanted(&status) {
                return status;
            }
            assert!(from.elapsed() < PATIENCE, "{node} does not become {what}: {status:?}");
            std::thread::sleep(LOOK);
        }
    }

    /// A client of the primary.
    pub fn client(&self, node: NodeId) -> Client {
        let address = Address::Unix(self.path(&format!("{node}.nbd")));
        Client::connect(&address, &Options::default()).expect("the primary serves")
    }

    /// The exported bytes, as they stand on one node's data partition.
    pub fn bytes(&self, node: NodeId) -> Vec<u8> {
        let mut bytes = fs::read(&self.partitions[place(node)].data).expect("the data");
        bytes.truncate(usize::try_from(SIZE).expect("a small volume"));
        bytes
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        for node in [NodeId::A, NodeId::B] {
            self.kill(node);
            if std::thread::panicking() {
                println!("--- log of {node}\n{}", self.log(node));
            }
        }
    }
}

/// One admin connection.
pub struct Admin {
    lines: BufReader<UnixStream>,
    calls: u64,
    last: Option<Status>,
}

impl Admin {
    fn new(stream: UnixStream) -> io::Result<Admin> {
        Admin::within(stream, PATIENCE)
    }

    fn within(stream: UnixStream, patience: Duration) -> io::Result<Admin> {
        stream.set_read_timeout(Some(patience))?;
        let mut admin = Admin { lines: BufReader::new(stream), calls: 0, last: None };
        let Line::Engine { v: VERSION, build, .. } = admin.line()? else { panic!("no greeting") };
        assert_eq!(build, lockstep_nbd::BUILD_ID);
        Ok(admin)
    }

    fn line(&mut self) -> io::Result<Line> {
        let mut text = String::new();
        if self.lines.read_line(&mut text)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}")))
    }

    /// One call; yields the word of a refusal.
    pub fn call(&mut self, verb: Verb) -> Result<(), String> {
        self.calls += 1;
        let call = Call { v: VERSION, id: self.calls, verb };
        let mut text = serde_json::to_string(&call).expect("a call is JSON");
        text.push('\n');
        self.lines.get_mut().write_all(text.as_bytes()).expect("the engine listens");
        loop {
            match self.line().expect("the engine answers") {
                Line::Reply { id, refused } if id == self.calls => {
                    return refused.map_or(Ok(()), |refused| Err(refused.code));
                }
                Line::Status(status) => self.last = Some(*status),
                _ => {}
            }
        }
    }

    /// The present status.
    pub fn status(&mut self) -> Status {
        self.call(Verb::Status).expect("status is never refused");
        self.last.take().expect("the status came before the reply")
    }
}

/// A record of the group, version after version.
#[derive(Clone, Copy)]
pub struct Records {
    last: VolumeRecord,
}

impl Default for Records {
    fn default() -> Records {
        Records {
            last: VolumeRecord {
                version: Version(1),
                epoch: Epoch(1),
                members: Members::BOTH,
                primary: None,
                generation: Generation(0x9e),
                parent: Generation::NONE,
                nonce: Nonce(1),
                writer: NodeId::A,
                since: 0,
                forced: false,
            },
        }
    }
}

impl Records {
    /// The newest.
    pub fn last(&self) -> VolumeRecord {
        self.last
    }

    /// One version further.
    pub fn next(&mut self, change: impl FnOnce(&mut VolumeRecord)) -> VolumeRecord {
        let record = &mut self.last;
        record.version.0 += 1;
        record.nonce.0 += 1;
        change(record);
        *record
    }

    /// This node goes on alone, in a generation of its own.
    pub fn alone(&mut self, node: NodeId) -> VolumeRecord {
        self.next(|record| {
            record.members = Members::only(node);
            record.parent = record.generation;
            record.generation.0 += 1;
            record.writer = node;
        })
    }
}

/// Brings a fresh pair up: both members, a primary.
pub fn serving() -> (Engines, Records) {
    let mut engines = Engines::format();
    let records = serve(&mut engines);
    (engines, records)
}

/// Brings a freshly formatted pair up: both members, a primary.
pub fn serve(engines: &mut Engines) -> Records {
    let mut records = Records::default();
    for node in [NodeId::A, NodeId::B] {
        engines.start(node);
        engines.admin(node).call(Verb::Learn { record: records.last() }).expect("create");
    }
    engines
        .wait(NodeId::A, "linked", |status| status.link == lockstep_engine::units::LinkState::Up);
    let record = records.next(|record| {
        record.epoch.0 += 1;
        record.primary = Some(NodeId::A);
    });
    engines.admin(NodeId::A).call(Verb::Promote { record }).expect("start");
    engines.wait(NodeId::A, "in sync", |status| {
        status.mirror == lockstep_engine::units::Mirror::InSync
    });
    records
}

/// The attempt that would install `wanted` over what stands.
pub fn attempt(records: &Records, wanted: VolumeRecord) -> OpenAttempt {
    OpenAttempt { expected: Version(records.last().version.0 - 1), wanted }
}
