//! The whole system in virtual time: two hosts, link, heartbeats, arbiter, clients, operator.
//! Single-threaded; everything that happens goes through one queue, so a seed is a history.
//! Always: production code decides, this file only lets time pass and carries things around.

use super::arbiter::{Arbiter, Reply};
use super::chaos::Fault;
use super::group::GroupPlan;
use super::host::Host;
use super::judge::{Judge, index, show_tick};
use super::link::Link;
use super::partition::{blank_disk, blank_superblock};
use super::queue::Queue;
use super::random::Random;
use super::seed::Ending;
use super::theme::Theme;
use super::watch::Watch;
use super::witness::Witness;
use lockstep_ctl::decide::event::{PeerBeat, StepId, Verb};
use lockstep_ctl::decide::monitor::Found;
use lockstep_ctl::decide::node::{HostAction, PeerState};
use lockstep_ctl::decide::settings::MonitorIndex;
use lockstep_ctl::decide::step::EngineCommand;
use lockstep_engine::limits::Times;
use lockstep_engine::replica::event::OpId;
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{
    BootId, Digest, InSyncMark, Members, NodeId, Session, Span, Status, Tick,
};
use std::cell::RefCell;

thread_local! {
    /// What was said in this thread, for a run that ends in a panic.
    pub static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Things that happen.
#[derive(Debug)]
pub enum What {
    /// The service manager starts an engine.
    EngineStart { node: NodeId },
    /// The deadline of a replica.
    EngineWake { node: NodeId, run: u64 },
    /// A loop turn that was put off.
    EnginePoll { node: NodeId, run: u64 },
    /// The storage ended a request.
    IoDone { node: NodeId, io: u64 },
    /// A buffer was hashed.
    Digests { node: NodeId, run: u64, op: OpId, digests: Box<[Digest]> },
    /// A side hears of the new session.
    LinkUp { node: NodeId, run: u64, session: Session },
    /// A side hears of the end of a session.
    LinkDown { node: NodeId, run: u64, session: Session },
    /// A frame arrives.
    Frame { to: NodeId, session: Session, flow: usize },
    /// An attempt to connect.
    Dial,
    /// The service manager starts a daemon.
    DaemonStart { node: NodeId },
    /// The deadline of a decider.
    DaemonWake { node: NodeId, run: u64 },
    /// Daemon and engine find each other.
    Connect { node: NodeId, run: u64, engine: u64 },
    /// The admin socket closed.
    EngineGone { node: NodeId, run: u64, engine: u64 },
    /// A status line.
    Status { node: NodeId, engine: u64, status: Box<Status> },
    /// A mark line.
    KeepMark { node: NodeId, engine: u64, mark: Option<InSyncMark> },
    /// A command for the engine.
    Command { node: NodeId, run: u64, engine: u64, step: StepId, command: EngineCommand },
    /// The engine's reply.
    EngineReply { node: NodeId, run: u64, step: StepId, refused: Option<String> },
    /// A request reaches the arbiter.
    Land { request: u64 },
    /// An answer of the arbiter, or the time-out.
    ArbiterReply { node: NodeId, run: u64, step: StepId, reply: Reply },
    /// Time to send a heartbeat.
    BeatTick { node: NodeId, run: u64 },
    /// A heartbeat arrives.
    Beat { to: NodeId, beat: PeerBeat, state: Box<PeerState>, sent: Tick, run: u64 },
    /// The answer to a heartbeat arrives.
    BeatAnswer { to: NodeId, run: u64, sent: Tick },
    /// An effect on a resource ends.
    HandDone { node: NodeId, resource: usize, name: u64 },
    /// A probe of a monitor ends.
    Probed { node: NodeId, run: u64, monitor: MonitorIndex, id: StepId, found: Found },
    /// A monitor's script ends.
    Scripted { node: NodeId, run: u64, monitor: MonitorIndex, id: StepId },
    /// The lease is stored for the next daemon.
    LeaseKept { node: NodeId, run: u64 },
    /// A host does as it was told.
    HostEnds { node: NodeId, boot: BootId, action: HostAction },
    /// A client does something.
    ClientTick { node: NodeId, run: u64 },
    /// A host boots.
    PowerOn { node: NodeId },
    /// An operator does something.
    Operator { node: NodeId, verb: Verb },
    /// The operator looks at the cluster.
    OperatorTick,
    /// A fault.
    Chaos,
    /// A fault of a theme.
    Fault { fault: Fault, length: Span },
    /// A fault ends.
    Undo(Fault),
}

impl What {
    /// The host whose processes see it; a frozen host sees it later.
    fn host(&self) -> Option<NodeId> {
        match self {
            What::EngineStart { node }
            | What::EngineWake { node, .. }
            | What::EnginePoll { node, .. }
            | What::IoDone { node, .. }
            | What::Digests { node, .. }
            | What::LinkUp { node, .. }
            | What::LinkDown { node, .. }
            | What::DaemonStart { node }
            | What::DaemonWake { node, .. }
            | What::Connect { node, .. }
            | What::EngineGone { node, .. }
            | What::Status { node, .. }
            | What::KeepMark { node, .. }
            | What::Command { node, .. }
            | What::EngineReply { node, .. }
            | What::ArbiterReply { node, .. }
            | What::BeatTick { node, .. }
            | What::HandDone { node, .. }
            | What::Probed { node, .. }
            | What::Scripted { node, .. }
            | What::LeaseKept { node, .. }
            | What::HostEnds { node, .. }
            | What::ClientTick { node, .. }
            | What::Operator { node, .. } => Some(*node),
            What::Frame { to, .. } | What::Beat { to, .. } | What::BeatAnswer { to, .. } => {
                Some(*to)
            }
            What::Dial
            | What::Land { .. }
            | What::PowerOn { .. }
            | What::OperatorTick
            | What::Chaos
            | What::Fault { .. }
            | What::Undo(_) => None,
        }
    }
}

/// How a run is set up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Blocks of the volume.
    pub blocks: u64,
    /// Blocks that clients use.
    pub working: Vec<u64>,
    /// Entries of the intent table.
    pub intent_regions: u32,
    /// When the peer reports.
    pub ack: AckMode,
    /// Compare before sending in resyncs.
    pub sync_digests: bool,
    /// Times.
    pub times: Times,
    /// A region is retired this long after its last write.
    pub intent_idle: Span,
    /// Resync pieces in flight.
    pub sync_window: usize,
    /// Data devices have serials, as on EC2; otherwise they are files.
    pub serials: bool,
    /// The standby takes over by itself.
    pub auto_takeover: bool,
    /// How long nobody may serve before the operator acts.
    pub patience: Span,
    /// Delays are drawn, not fixed.
    pub jitter: bool,
    /// Clients run by themselves.
    pub clients: bool,
    /// What happens is written down.
    pub trace: bool,
    /// Sequences of faults that belong together come beside the random ones.
    pub theme: Option<Theme>,
    /// Odds in a thousand of each kind of fault, by its place in the list of faults.
    pub odds: Vec<u64>,
    /// Mean nanoseconds between faults.
    pub calm: u64,
    /// Daemons give kept marks back to engines; without it the superblock alone keeps them (R42).
    pub marks_kept: bool,
    /// Frames of this data flow take long now and then, while the others pass.
    pub lag: Option<usize>,
    /// The group, its resources and monitors; otherwise nodes know the mirror alone.
    pub group: Option<GroupPlan>,
}

/// Everything.
pub struct World {
    /// How it was set up.
    pub plan: Plan,
    /// What is to come.
    pub queue: Queue<What>,
    /// Chance.
    pub random: Random,
    /// The judge.
    pub judge: Judge,
    /// What was seen of the wire, the heartbeats and the requests to the arbiter.
    pub witness: Witness,
    /// What was seen of the group.
    pub watch: Watch,
    /// Hosts of a and b.
    pub hosts: [Host; 2],
    /// The link between the engines.
    pub link: Link,
    /// The arbiter.
    pub arbiter: Arbiter,
    /// Heartbeats that do not pass: index is the receiver.
    pub beats_cut: [bool; 2],
    /// A dial is scheduled.
    pub dialing: bool,
    /// Faults so far.
    pub faults: u64,
    /// What happened, for people.
    pub trace: Vec<String>,
    /// Next request, stamp and operator request.
    pub next_name: u64,
    /// No more faults.
    pub healed: bool,
    /// Since when.
    pub healed_at: Tick,
    /// What stood in the way of everything but force.
    pub cause: Option<String>,
    /// Last time that anything but the link changed between nodes and arbiter.
    pub network_since: Tick,
    /// How the run ends, as far as is known.
    pub ending: Ending,
    /// Since when nobody serves.
    pub idle_since: Tick,
}

impl World {
    /// Both hosts off, both disks blank.
    pub fn new(plan: Plan) -> World {
        let mut random = Random::new(plan.seed);
        let hosts = [NodeId::A, NodeId::B].map(|node| {
            let tag = random.wide();
            let serial = if plan.serials { format!("disk-{node}-0") } else { String::new() };
            let regions = plan.intent_regions;
            let superblock = blank_superblock(node, plan.blocks, regions, tag, &serial);
            let skew = if plan.jitter { random.within(1, 1_000_000_000_000) } else { 0 };
            Host { serial, ..Host::new(node, blank_disk(&superblock), skew) }
        });
        World {
            queue: Queue::new(Tick(0)),
            random,
            judge: Judge::new(plan.ack == AckMode::Received),
            witness: Witness::default(),
            watch: Watch::default(),
            hosts,
            link: Link::default(),
            arbiter: Arbiter::default(),
            beats_cut: [false; 2],
            dialing: false,
            faults: 0,
            trace: Vec::new(),
            next_name: 0,
            healed: false,
            healed_at: Tick(0),
            cause: None,
            network_since: Tick(0),
            ending: Ending::Equal,
            idle_since: Tick(0),
            plan,
        }
    }

    /// The current tick.
    pub fn now(&self) -> Tick {
        self.queue.now()
    }

    /// A host.
    pub fn host(&mut self, node: NodeId) -> &mut Host {
        &mut self.hosts[index(node)]
    }

    /// A name that was never used.
    pub fn name(&mut self) -> u64 {
        self.next_name += 1;
        self.next_name
    }

    /// A delay between two bounds in microseconds; the lower one when nothing is left to chance.
    pub fn delay_us(&mut self, low: u64, high: u64) -> Span {
        let us = if self.plan.jitter { self.random.within(low, high) } else { low };
        Span(us * 1_000)
    }

    /// Writes a line for people.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if self.plan.trace {
            let at = if self.plan.jitter { show_tick(self.now()) + " " } else { String::new() };
            let line = at + &line();
            SAID.with(|said| said.borrow_mut().push(line.clone()));
            self.trace.push(line);
        }
    }

    /// Lets everything happen until that tick. Stops early at a violation.
    pub fn run_until(&mut self, until: Tick) {
        while self.judge.violation.is_none() {
            let Some(what) = self.queue.next(until) else { return };
            self.judge.tell(self.queue.now());
            self.happen(what);
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Span) {
        self.run_until(self.now().after(span));
    }

    fn happen(&mut self, what: What) {
        if let Some(node) = what.host() {
            let host = self.host(node);
            let thaw = host.frozen_until;
            if thaw > self.now() {
                self.queue.at(thaw, what);
                return;
            }
        }
        match what {
            What::EngineStart { node } => self.engine_start(node),
            What::EngineWake { node, run } => self.engine_wake(node, run),
            What::EnginePoll { node, run } => self.engine_turn(node, run),
            What::IoDone { node, io } => self.io_done(node, io),
            What::Digests { node, run, op, digests } => self.digests(node, run, op, digests),
            What::LinkUp { node, run, session } => self.link_up(node, run, session),
            What::LinkDown { node, run, session } => self.link_down(node, run, session),
            What::Frame { to, session, flow } => self.frame(to, session, flow),
            What::Dial => self.dial(),
            What::DaemonStart { node } => self.daemon_start(node),
            What::DaemonWake { node, run } => self.daemon_wake(node, run),
            What::Connect { node, run, engine } => self.connect(node, run, engine),
            What::EngineGone { node, run, engine } => self.engine_gone(node, run, engine),
            What::Status { node, engine, status } => self.status(node, engine, status),
            What::KeepMark { node, engine, mark } => self.keep_mark(node, engine, mark),
            What::Command { node, run, engine, step, command } => {
                self.command(node, run, engine, step, command);
            }
            What::EngineReply { node, run, step, refused } => {
                self.engine_reply(node, run, step, refused);
            }
            What::Land { request } => self.land(request),
            What::ArbiterReply { node, run, step, reply } => {
                self.arbiter_reply(node, run, step, reply);
            }
            What::BeatTick { node, run } => self.beat_tick(node, run),
            What::Beat { to, beat, state, sent, run } => self.beat(to, beat, *state, sent, run),
            What::BeatAnswer { to, run, sent } => self.beat_answer(to, run, sent),
            What::HandDone { node, resource, name } => self.hand_done(node, resource, name),
            What::Probed { node, run, monitor, id, found } => {
                self.probed(node, run, monitor, id, found);
            }
            What::Scripted { node, run, monitor, id } => self.scripted(node, run, monitor, id),
            What::LeaseKept { node, run } => self.lease_kept(node, run),
            What::HostEnds { node, boot, action } => self.host_ends(node, boot, action),
            What::ClientTick { node, run } => self.client_tick(node, run),
            What::PowerOn { node } => self.power_on(node),
            What::Operator { node, verb } => self.operator(node, verb),
            What::OperatorTick => self.operator_tick(),
            What::Chaos => self.chaos(),
            What::Fault { fault, length } => self.themed(fault, length),
            What::Undo(fault) => self.undo(fault),
        }
    }

    /// A host boots: new boot id, processes start.
    pub fn power_on(&mut self, node: NodeId) {
        let boot = BootId(self.random.wide());
        let engine_in = self.delay_us(1_000, 400_000);
        let daemon_in = self.delay_us(500, 400_000);
        let peer = node.peer();
        let host = self.host(node);
        if host.power {
            return;
        }
        host.power = true;
        host.boot = boot;
        host.mark = None;
        host.frozen_until = Tick(0);
        self.queue.after(engine_in, What::EngineStart { node });
        self.queue.after(daemon_in, What::DaemonStart { node });
        self.say(|| format!("{node}: power on"));
        self.reset_session_of(peer);
    }

    /// A host loses power.
    pub fn power_off(&mut self, node: NodeId) {
        if !self.host(node).power {
            return;
        }
        self.say(|| format!("{node}: power off"));
        self.forget_engine(node);
        let mut random = Random::new(self.random.word());
        let host = self.host(node);
        host.daemon = None;
        host.power = false;
        host.mark = None;
        host.frozen_until = Tick(0);
        host.disk.power_loss(&mut random);
        self.lose_hands(node);
        self.judge.power_lost(node);
        self.check_marks("after a power loss");
    }

    /// P4 in the state that two crashes at this moment would leave.
    pub fn check_marks(&mut self, when: &str) {
        let [a, b] = &self.hosts;
        if a.rotted || b.rotted || a.content_lost || b.content_lost {
            return;
        }
        let (Some(left), Some(right)) =
            (super::partition::marked(&a.disk), super::partition::marked(&b.disk))
        else {
            return;
        };
        let marked = |block| left(block) || right(block);
        self.judge.differing_are_marked([&a.disk, &b.disk], &marked, when);
    }

    /// Members in the arbiter's record.
    pub fn members(&self) -> Members {
        self.judge.members()
    }

    /// Whether this node accepts clients.
    pub fn serves(&self, node: NodeId) -> bool {
        self.hosts[index(node)].engine.as_ref().is_some_and(|engine| engine.open)
    }
}
