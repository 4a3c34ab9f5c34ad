//! What may befall a cluster of real processes, how long it lasts, and how it ends.
//! Always: what a fault did is undone by `heal`, whatever other fault was under way beside it.

use crate::cluster::{A, B, Cluster, GROUP};
use crate::pair::signal;
use crate::sim::random::Random;
use std::fmt;
use std::thread::sleep;
use std::time::Duration;

/// Programs of the group.
const PROGRAMS: [&str; 2] = ["db", "app"];
/// Cables between the nodes.
const CABLES: [&str; 2] = ["wire", "beat"];

/// One fault. A number names the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to an engine, to a daemon, to both daemons.
    KillEngine(usize),
    KillDaemon(usize),
    KillDaemons,
    /// Everything of a host, or of both, gone at once; with a new boot, both lost their power.
    PowerOff(usize),
    PowerOffBoth {
        reboot: bool,
    },
    /// SIGSTOP for a while: an engine, a daemon, everything of a host.
    FreezeEngine(usize),
    FreezeDaemon(usize),
    FreezeHost(usize),
    /// A cable pulled; all of them; all, and the store of the record, for one node.
    Cut(&'static str),
    CutAll,
    Isolate(usize),
    /// What a node sends over a cable, or over all, is lost; what it is sent comes.
    Mute(usize, &'static str),
    MuteAll(usize),
    /// The store of the record is away for one node, for both.
    ArbiterAway(usize),
    ArbiterAwayBoth,
    /// No room where the daemon keeps its state and its events.
    DiskFull(usize),
    /// The wall clock of a node jumps by so many seconds.
    ClockStep(usize, i64),
    /// No fault: an operator at work.
    Move,
    ClusterStop(usize),
    Restart(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |node: &usize| if *node == A { "a" } else { "b" };
        match self {
            Fault::KillEngine(node) => write!(f, "engine of {} killed", id(node)),
            Fault::KillDaemon(node) => write!(f, "daemon of {} killed", id(node)),
            Fault::KillDaemons => f.write_str("both daemons killed"),
            Fault::PowerOff(node) => write!(f, "host {} off", id(node)),
            Fault::PowerOffBoth { reboot: true } => f.write_str("both hosts off, new boots"),
            Fault::PowerOffBoth { reboot: false } => f.write_str("everything on both hosts killed"),
            Fault::FreezeEngine(node) => write!(f, "engine of {} frozen", id(node)),
            Fault::FreezeDaemon(node) => write!(f, "daemon of {} frozen", id(node)),
            Fault::FreezeHost(node) => write!(f, "host {} frozen", id(node)),
            Fault::Cut(cable) => write!(f, "cable {cable} cut"),
            Fault::CutAll => f.write_str("all cables cut"),
            Fault::Isolate(node) => write!(f, "{} isolated", id(node)),
            Fault::Mute(node, cable) => write!(f, "{cable} carries nothing from {}", id(node)),
            Fault::MuteAll(node) => write!(f, "no cable carries anything from {}", id(node)),
            Fault::ArbiterAway(node) => write!(f, "arbiter away for {}", id(node)),
            Fault::ArbiterAwayBoth => f.write_str("arbiter away for both"),
            Fault::DiskFull(node) => write!(f, "state disk of {} full", id(node)),
            Fault::ClockStep(node, by) => write!(f, "clock of {} steps by {by} s", id(node)),
            Fault::Move => f.write_str("group moved"),
            Fault::ClusterStop(node) => write!(f, "cluster service of {} stopped", id(node)),
            Fault::Restart(node) => write!(f, "daemon of {} restarted in order", id(node)),
        }
    }
}

/// The next fault of a run.
pub fn choose(random: &mut Random) -> Fault {
    let node = random.index(2);
    let cable = CABLES[random.index(2)];
    match random.below(21) {
        0 => Fault::KillEngine(node),
        1 => Fault::KillDaemon(node),
        2 => Fault::KillDaemons,
        3 | 4 => Fault::PowerOff(node),
        5 => Fault::PowerOffBoth { reboot: random.chance(500) },
        6 => Fault::FreezeEngine(node),
        7 => Fault::FreezeDaemon(node),
        8 => Fault::FreezeHost(node),
        9 => Fault::Cut(cable),
        10 => Fault::CutAll,
        11 => Fault::Isolate(node),
        12 => Fault::Mute(node, cable),
        13 => Fault::MuteAll(node),
        14 => Fault::ArbiterAway(node),
        15 => Fault::ArbiterAwayBoth,
        16 => Fault::DiskFull(node),
        17 => Fault::ClockStep(node, if random.chance(500) { 7_200 } else { -7_200 }),
        18 => Fault::Move,
        19 => Fault::ClusterStop(node),
        _ => Fault::Restart(node),
    }
}

fn programs(cluster: &Cluster, node: usize) -> Vec<u32> {
    PROGRAMS.iter().filter_map(|name| cluster.nodes[node].program_pid(name)).collect()
}

fn off(cluster: &mut Cluster, node: usize) {
    let programs = programs(cluster, node);
    cluster.nodes[node].kill();
    programs.into_iter().for_each(|pid| signal(pid, "KILL"));
}

impl Fault {
    /// Lets it happen. Gives the processes that it has stopped, for `heal`.
    pub fn strike(self, cluster: &mut Cluster) -> Vec<u32> {
        let mut stopped = Vec::new();
        match self {
            Fault::KillEngine(node) => cluster.nodes[node].kill_engine(),
            Fault::KillDaemon(node) => cluster.nodes[node].kill_daemon(),
            Fault::KillDaemons => cluster.nodes.iter_mut().for_each(|node| node.kill_daemon()),
            Fault::PowerOff(node) => off(cluster, node),
            Fault::PowerOffBoth { reboot } => {
                off(cluster, A);
                off(cluster, B);
                if reboot {
                    cluster.reboot();
                }
            }
            Fault::FreezeEngine(node) => stopped.extend(cluster.nodes[node].engine_pid()),
            Fault::FreezeDaemon(node) => stopped.extend(cluster.nodes[node].daemon_pid()),
            Fault::FreezeHost(node) => {
                let member = &cluster.nodes[node];
                stopped.extend(member.engine_pid().into_iter().chain(member.daemon_pid()));
                stopped.extend(programs(cluster, node));
            }
            Fault::Cut(cable) => cluster.spaces().plug(cable, false),
            Fault::CutAll => CABLES.iter().for_each(|cable| cluster.spaces().plug(cable, false)),
            Fault::Isolate(node) => {
                cluster.nodes[node].arbiter(false);
                CABLES.iter().for_each(|cable| cluster.spaces().plug(cable, false));
            }
            Fault::Mute(node, cable) => cluster.nodes[node].mute(cable, true),
            Fault::MuteAll(node) => {
                CABLES.iter().for_each(|cable| cluster.nodes[node].mute(cable, true));
            }
            Fault::ArbiterAway(node) => cluster.nodes[node].arbiter(false),
            Fault::ArbiterAwayBoth => cluster.nodes.iter().for_each(|node| node.arbiter(false)),
            Fault::DiskFull(node) => cluster.nodes[node].fill_disk(true),
            Fault::ClockStep(node, by) => cluster.nodes[node].step_clock(by),
            // Refused beside another fault, as it should be.
            Fault::Move => {
                let node = (0..2).find(|node| cluster.nodes[*node].program_pid("app").is_some());
                cluster.nodes[node.unwrap_or(A)].lockstep(&["group", "move", GROUP]);
            }
            Fault::ClusterStop(node) => {
                cluster.nodes[node].lockstep(&["cluster", "stop"]);
            }
            Fault::Restart(node) => {
                if let Some(pid) = cluster.nodes[node].daemon_pid() {
                    signal(pid, "TERM");
                    cluster.nodes[node].wait_for_end();
                }
                cluster.nodes[node].start();
            }
        }
        stopped.iter().for_each(|pid| signal(*pid, "STOP"));
        stopped
    }

    /// Undoes it; what was killed is started by the caller.
    pub fn heal(self, cluster: &Cluster, stopped: &[u32]) {
        // One that was killed meanwhile, by another fault, has left its number to nobody yet.
        stopped.iter().for_each(|pid| signal_if_there(*pid));
        match self {
            Fault::Cut(cable) => cluster.spaces().plug(cable, true),
            Fault::CutAll => CABLES.iter().for_each(|cable| cluster.spaces().plug(cable, true)),
            Fault::Isolate(node) => {
                cluster.nodes[node].arbiter(true);
                CABLES.iter().for_each(|cable| cluster.spaces().plug(cable, true));
            }
            Fault::Mute(node, cable) => cluster.nodes[node].mute(cable, false),
            Fault::MuteAll(node) => {
                CABLES.iter().for_each(|cable| cluster.nodes[node].mute(cable, false));
            }
            Fault::ArbiterAway(node) => cluster.nodes[node].arbiter(true),
            Fault::ArbiterAwayBoth => cluster.nodes.iter().for_each(|node| node.arbiter(true)),
            Fault::DiskFull(node) => cluster.nodes[node].fill_disk(false),
            Fault::ClusterStop(node) => {
                cluster.nodes[node].lockstep(&["cluster", "start"]);
            }
            _ => {}
        }
    }

    /// Whether two faults may be under way together: what one heals, the other does not rely on.
    pub fn goes_with(self, other: Fault) -> bool {
        let cables = |fault: Fault| {
            use Fault::{Cut, CutAll, Isolate, Mute, MuteAll};
            matches!(fault, Cut(_) | CutAll | Isolate(_) | Mute(..) | MuteAll(_))
        };
        let store = |fault: Fault| {
            matches!(fault, Fault::ArbiterAway(_) | Fault::ArbiterAwayBoth | Fault::Isolate(_))
        };
        let off = |fault: Fault| matches!(fault, Fault::PowerOffBoth { .. });
        let both = |kind: fn(Fault) -> bool| kind(self) && kind(other);
        let apart = off(self) || off(other) || both(cables) || both(store);
        self != other && !apart
    }
}

fn signal_if_there(pid: u32) {
    if std::path::Path::new(&format!("/proc/{pid}")).exists() {
        signal(pid, "CONT");
    }
}

/// How long faults last.
pub fn pause(random: &mut Random) {
    sleep(Duration::from_millis(random.within(50, 5_000)));
}
