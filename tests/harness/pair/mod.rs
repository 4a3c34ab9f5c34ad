//! Two real nodes in one directory: the daemons under test spawn the engines under test, on ports
//! of loopback or in network namespaces of their own. It decides nothing; it only starts, kills
//! and asks.
//! Always: when a `Pair` is dropped, each process that it started is gone, found by its own id.

mod node;
mod space;

pub use node::{Answer, Node, Process, signal};
pub(crate) use node::{GONE, end, ends, noted_pid, point};

use crate::bins::{self, Bins};
use lockstep_ctl::demo::load::Load;
use lockstep_ctl::status::{Colour, Report};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{Mirror, NodeId, Role, Span, Status};
use lockstep_nbd::client::Address;
use node::{Ids, Place};
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) use space::ip;
pub use space::{Spaces, may_make_spaces};

/// Index of node a.
pub const A: usize = 0;
/// Index of node b.
pub const B: usize = 1;
/// Longest wait for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Pause between two looks at a status.
const LOOK: Duration = Duration::from_millis(10);

/// What a pair is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Exported bytes.
    pub size: u64,
    /// Times of both nodes.
    pub times: Times,
    /// Each node in a network namespace of its own.
    pub spaces: bool,
    /// Nodes take over without an operator.
    pub auto: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { size: 64 << 20, times: Times::DEFAULT, spaces: false, auto: false }
    }
}

impl Setup {
    /// A third of the default times, for tests that are not about times.
    pub fn quick() -> Setup {
        let times = Times {
            ping: Span::millis(100),
            link_dead: Span::millis(600),
            grace: Span::millis(300),
            arbiter_attempt: Span::millis(500),
            lease: Span::millis(2_000),
            fence: Span::millis(500),
            heartbeat_timeout: Span::millis(2_500),
            ..Times::DEFAULT
        };
        Setup { times, ..Setup::default() }
    }
}

/// Both nodes.
pub struct Pair {
    /// Node a, then node b.
    pub nodes: [Node; 2],
    /// Exported bytes.
    pub size: u64,
    spaces: Option<Spaces>,
    root: TempDir,
}

/// Addresses of one node.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Replication link.
    pub link: SocketAddr,
    /// Heartbeats.
    pub beat: SocketAddr,
}

/// Free ports of loopback. They are free again when this returns, so use them soon.
pub fn free_ports() -> Ports {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
    let link = tcp.local_addr().expect("a bound socket has an address");
    Ports { link, beat: udp.local_addr().expect("a bound socket has an address") }
}

/// Status of the engine in a report.
pub fn engine(report: &Report) -> Option<&Status> {
    report.engine.as_ref()?.status.as_ref()
}

/// Whether the mirror is in sync, seen from the primary.
pub fn in_sync(report: &Report) -> bool {
    report.summary.colour == Colour::Green
        && engine(report).is_some_and(|status| status.mirror == Mirror::InSync)
}

/// Whether this node serves.
pub fn serves(report: &Report) -> bool {
    engine(report).is_some_and(|status| status.role == Role::Primary)
}

impl Pair {
    /// Formats both nodes; nothing runs yet.
    pub fn make(setup: &Setup) -> Pair {
        let bins: Bins = bins::find().unwrap_or_else(|error| panic!("{error}"));
        let root = TempDir::with_prefix("ls-").expect("a temporary directory");
        fs::create_dir(root.path().join("arbiter")).expect("a directory for the record");
        let key = root.path().join("key");
        fs::write(&key, "6b6579206f6620746865207465737473206f66206c6f636b737465702e2e2e2e\n")
            .expect("a key file");
        let spaces = setup.spaces.then(Spaces::make);
        let ports = if setup.spaces {
            [1, 2].map(|host| {
                let of =
                    |net, port| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, net, host)), port);
                Ports { link: of(1, 7_780), beat: of(2, 7_790) }
            })
        } else {
            [free_ports(), free_ports()]
        };
        let ids = Ids::fresh();
        let node = |id: NodeId, own: usize| {
            let place = Place {
                dir: root.path().join(id.to_string()),
                arbiter: root.path().join("arbiter"),
                key: key.clone(),
                ids,
                own: ports[own],
                peer: ports[1 - own],
                size: setup.size,
                times: setup.times,
                auto: setup.auto,
                space: spaces.as_ref().map(|spaces| spaces.names[own].clone()),
            };
            Node::make(id, place, bins.clone())
        };
        let nodes = [node(NodeId::A, A), node(NodeId::B, B)];
        Pair { nodes, size: setup.size, spaces, root }
    }

    /// A pair in sync; node a serves.
    pub fn in_sync(setup: &Setup) -> Pair {
        let mut pair = Pair::make(setup);
        for node in &mut pair.nodes {
            node.start();
        }
        for index in [A, B] {
            pair.wait(index, "both nodes to meet", |report| {
                let met = engine(report)
                    .is_some_and(|status| status.link == lockstep_engine::units::LinkState::Up);
                met && report.arbiter.tried && report.arbiter.trouble.is_none()
            });
        }
        pair.nodes[A].must(&["create", "--both-blank"]);
        pair.nodes[A].must(&["start"]);
        pair.wait(A, "the first sync", in_sync);
        pair
    }

    /// The directory of everything.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The namespaces.
    ///
    /// # Panics
    /// The pair has none.
    pub fn spaces(&self) -> &Spaces {
        self.spaces.as_ref().expect("a pair in namespaces")
    }

    /// Starts a load on the first `blocks` blocks of the node that serves; a server that answers
    /// nothing for `stall` is given up.
    pub fn load(&self, blocks: usize, stall: Duration) -> Load {
        let servers = self.nodes.iter().map(|node| Address::Unix(node.clients())).collect();
        Load::patient(servers, blocks, 0x10c_57e9, Some(stall)).expect("a thread")
    }

    /// Waits until the status of a node is as wanted; gives the time it took.
    pub fn wait(&self, node: usize, what: &str, mut seen: impl FnMut(&Report) -> bool) -> Duration {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < PATIENCE {
            if let Some(report) = self.nodes[node].status() {
                if seen(&report) {
                    return began.elapsed();
                }
                last = Some(report);
            }
            sleep(LOOK);
        }
        panic!(
            "node {}: waited {PATIENCE:?} for {what}; last seen {last:?}\n{}",
            self.nodes[node].id,
            self.logs()
        );
    }

    /// Ends of all logs, for messages.
    pub fn logs(&self) -> String {
        self.nodes.iter().map(Node::log_ends).collect()
    }

    /// Bytes that differ between the data files, in whole blocks. Nothing may be in flight.
    pub fn differing(&self) -> u64 {
        differing([self.nodes[A].data(), self.nodes[B].data()], self.size)
    }

    /// Ends the load and judges it: `server` is in sync, no acknowledged write is lost, every
    /// block is right, and both data files are the same.
    pub fn judge(&self, load: Load, server: usize) {
        let wait = |what: &str, seen: Sign| {
            self.wait(server, what, seen);
        };
        judge(load, server, &wait, &|| self.differing(), &|| self.logs());
    }
}

/// Lets a load run undisturbed for so long; it must get on. `logs` are for messages.
pub fn calm(load: &Load, time: Duration, logs: &dyn Fn() -> String) {
    let before = load.seen().writes;
    let began = Instant::now();
    sleep(time);
    while load.seen().writes < before + 100 {
        assert!(began.elapsed() < PATIENCE, "the load does not get on\n{}", logs());
        sleep(Duration::from_millis(20));
    }
}

/// Bytes that differ between two data files of that size, in whole blocks.
pub(crate) fn differing(paths: [PathBuf; 2], size: u64) -> u64 {
    let mut files = paths.map(|path| File::open(path).expect("a data file"));
    let mut pieces = [vec![0_u8; 1 << 20], vec![0_u8; 1 << 20]];
    let mut differ = 0;
    for _ in 0..size >> 20 {
        for (file, piece) in files.iter_mut().zip(&mut pieces) {
            file.read_exact(piece).expect("a whole data file");
        }
        let blocks = pieces[0].chunks(4096).zip(pieces[1].chunks(4096));
        differ += blocks.filter(|(one, other)| one != other).count() as u64 * 4096;
    }
    differ
}

/// Whether a report shows what is waited for.
pub(crate) type Sign = fn(&Report) -> bool;

/// Ends a load and judges it, for whoever has two nodes: `wait` waits until `server` shows
/// something, `differing` compares the data files, `logs` are for messages.
pub(crate) fn judge(
    load: Load,
    server: usize,
    wait: &dyn Fn(&str, Sign),
    differing: &dyn Fn() -> u64,
    logs: &dyn Fn() -> String,
) {
    wait("the mirror to be in sync again", in_sync);
    assert!(load.pause(PATIENCE), "the load does not come to rest\n{}", logs());
    let checked = load.check_all(server, |_, _| {});
    let seen = load.end();
    assert!(checked.is_ok(), "{checked:?}\n{}", logs());
    assert!(seen.wrong.is_empty(), "wrong blocks: {:?}\n{}", seen.wrong, logs());
    assert!(seen.writes > 0, "the load has written nothing");
    wait("nothing to be dirty", |report| {
        in_sync(report) && engine(report).is_some_and(|status| status.dirty_blocks == 0)
    });
    assert_eq!(differing(), 0, "bytes differ\n{}", logs());
}

impl Drop for Pair {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.end();
        }
    }
}
