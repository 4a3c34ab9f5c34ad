//! The simulated shell of a daemon: admin socket, arbiter and operator on the one side, the
//! production decider on the other. Decides nothing itself.

use super::arbiter::{Arbiter, Reply, Request, Want};
use super::brain::Brain;
use super::client::STEADY;
use super::group::G;
use super::host::Daemon;
use super::judge::{Judge, index};
use super::partition::{CLUSTER, GROUP, VOLUME};
use super::seed::Ending;
use super::world::{What, World};
use lockstep_ctl::decide::Settings;
use lockstep_ctl::decide::event::{Event, PeerBeat, RequestId, StepId, Verb};
use lockstep_ctl::decide::node::{self, PeerState, Step as NodeStep};
use lockstep_ctl::decide::record::Record;
use lockstep_ctl::decide::step::{EngineCommand, Step};
use lockstep_engine::replica::event::{CmdId, Command, Event as Told};
use lockstep_engine::units::{
    DiskState, InSyncMark, Members, NodeId, Span, Status, Tick, VolumeRecord,
};
use std::collections::{BTreeMap, BTreeSet};

/// Wake-ups at one tick that count as a decider that spins.
const SPINS_MAX: u32 = 200;
/// One way over the admin socket.
const ADMIN: Span = Span(150_000);

impl World {
    /// Starts the daemon.
    pub fn daemon_start(&mut self, node: NodeId) {
        let now = self.now();
        let mut entropy = [0; 32];
        for chunk in entropy.chunks_mut(8) {
            chunk.copy_from_slice(&self.random.word().to_le_bytes());
        }
        let (times, auto_takeover) = (self.plan.times, self.plan.auto_takeover);
        let group = self.plan.group.clone();
        let host = self.host(node);
        if !host.power || host.daemon.is_some() || !host.wants_daemon {
            return;
        }
        let local = host.local(now);
        let settings = Settings {
            node,
            cluster: CLUSTER,
            group: GROUP,
            volumes: vec![VOLUME],
            boot: host.boot,
            times,
            entropy,
            heartbeats_from: local,
            auto_takeover,
        };
        let brain = Brain::open(settings, group.as_ref(), host, local);
        let run = host.next_run();
        host.daemon = Some(Daemon {
            run,
            since: now,
            brain,
            announced: PeerState::default(),
            engine: None,
            answering: true,
            wake_at: None,
            asking: BTreeSet::new(),
            operator: BTreeMap::new(),
            spins: 0,
        });
        let engine = host.engine.as_ref().map(|engine| engine.run);
        self.say(|| format!("{node}: daemon started"));
        if let Some(engine) = engine {
            self.queue.after(Span(ADMIN.0 * 2), What::Connect { node, run, engine });
        }
        self.queue.after(ADMIN, What::BeatTick { node, run });
        self.daemon_turn(node);
    }

    /// SIGKILL of the daemon, and a later restart unless the service manager is told not to.
    pub fn kill_daemon(&mut self, node: NodeId, restart: Option<Span>) {
        if self.host(node).daemon.take().is_some() {
            self.host(node).mark = None;
            self.orphan_hands(node);
            self.say(|| format!("{node}: daemon killed"));
        }
        if let Some(span) = restart {
            self.queue.after(span, What::DaemonStart { node });
        }
    }

    /// The deadline of a decider has come.
    pub fn daemon_wake(&mut self, node: NodeId, run: u64) {
        let now = self.now();
        let Some(daemon) = self.host(node).daemon.as_mut() else { return };
        if daemon.run != run || daemon.wake_at.is_some_and(|wake| wake > now) {
            return;
        }
        daemon.wake_at = None;
        self.hear(node, Event::Wake);
    }

    /// Tells the decider what happened and carries out what it asks for.
    pub fn hear(&mut self, node: NodeId, event: Event) {
        self.think(node, |brain, wall_ms, local| brain.handle(event, wall_ms, local));
    }

    /// Tells the whole node what happened and carries out what it asks for.
    pub fn hear_node(&mut self, node: NodeId, event: node::Event) {
        self.think(node, |brain, wall_ms, local| brain.tell(event, wall_ms, local));
    }

    /// Tells of a heartbeat of the peer.
    pub fn hear_peer(&mut self, node: NodeId, beat: PeerBeat, state: PeerState) {
        self.think(node, |brain, wall_ms, local| brain.hear_peer(beat, state, wall_ms, local));
    }

    fn think(&mut self, node: NodeId, tell: impl FnOnce(&mut Brain, u64, Tick)) {
        let now = self.now();
        let host = self.host(node);
        let local = host.local(now);
        let Some(daemon) = host.daemon.as_mut() else { return };
        tell(&mut daemon.brain, now.0 / 1_000_000, local);
        self.daemon_turn(node);
    }

    fn daemon_turn(&mut self, node: NodeId) {
        loop {
            let Some(daemon) = self.host(node).daemon.as_mut() else { return };
            let Some(step) = daemon.brain.poll_step() else { break };
            self.take_node_step(node, step);
        }
        self.keep_lease(node);
        self.announce(node);
        let now = self.now();
        let host = self.host(node);
        let deadline = host.daemon.as_ref().and_then(|daemon| daemon.brain.deadline());
        let at = deadline.map(|local| host.global(local).max(now));
        let (Some(daemon), Some(at)) = (host.daemon.as_mut(), at) else { return };
        daemon.spins = if at == now { daemon.spins + 1 } else { 0 };
        let (run, spins) = (daemon.run, daemon.spins);
        if daemon.wake_at.is_none_or(|wake| at < wake) {
            daemon.wake_at = Some(at);
            self.queue.at(at, What::DaemonWake { node, run });
        }
        if spins > SPINS_MAX {
            self.judge.violate(format!("node {node}: the deadline of the decider never moves on"));
        }
    }

    /// What is new of the node is told at once, as the daemon does.
    fn announce(&mut self, node: NodeId) {
        let Some(daemon) = self.host(node).daemon.as_mut() else { return };
        let Some(whole) = daemon.brain.node() else { return };
        let announced = whole.announce();
        if announced != daemon.announced {
            daemon.announced = announced;
            self.watch_announced(node);
            self.send_beat(node);
        }
    }

    fn take_node_step(&mut self, node: NodeId, step: NodeStep) {
        match step {
            NodeStep::Arbitration { group: _, step: Step::AnnounceRelease(version) } => {
                self.take_step(node, Step::AnnounceRelease(version));
                if self.plan.group.is_some() {
                    self.watch_release(node, version);
                    self.send_beat(node);
                }
            }
            NodeStep::Arbitration { group: _, step } => self.take_step(node, step),
            NodeStep::Resource { group: _, id, resource, act, deadline: _ } => {
                self.affect(node, id, resource, act);
            }
            NodeStep::Probe { monitor, id, deadline: _ } => self.probe(node, monitor, id),
            NodeStep::Script { monitor, id, deadline: _ } => self.script(node, monitor, id),
            NodeStep::Host { action, deadline: _ } => self.tell_host(node, action),
            NodeStep::Remember(memory) => self.host(node).notes.memory = memory,
            NodeStep::Reply { request, result } => {
                self.reply(node, request, result);
            }
            NodeStep::Progress { request: _, waiting } => {
                self.say(|| format!("{node}: waits for {waiting:?}"));
            }
            NodeStep::Note(note) => {
                self.watch_note(node, &note);
                self.say(|| format!("{node}: {note:?}"));
            }
        }
    }

    fn reply<E: std::fmt::Debug>(
        &mut self,
        node: NodeId,
        request: RequestId,
        result: Result<(), E>,
    ) {
        let daemon = self.host(node).daemon.as_mut();
        let verb = daemon.and_then(|daemon| daemon.operator.remove(&request));
        match verb {
            Some(verb) => self.say(|| format!("{node}: {verb}: {result:?}")),
            None => self.judge.violate(format!("node {node}: {request:?} replied twice")),
        }
    }

    fn take_step(&mut self, node: NodeId, step: Step) {
        match step {
            Step::Engine { id, volume: _, command } => {
                let Some(daemon) = self.host(node).daemon.as_ref() else { return };
                let (run, engine) = (daemon.run, daemon.engine);
                if let Some(engine) = engine {
                    let what = What::Command { node, run, engine, step: id, command };
                    self.queue.after(ADMIN, what);
                }
            }
            Step::Read { id } => self.ask(node, id, Want::Read),
            Step::Swap { id, expected, next } => self.ask(node, id, Want::Swap { expected, next }),
            Step::AnswerHeartbeats(answering) => {
                if let Some(daemon) = self.host(node).daemon.as_mut() {
                    daemon.answering = answering;
                }
            }
            Step::AnnounceRelease(version) => {
                self.witness.released(node, version);
                self.say(|| format!("{node}: announces release {version:?}"));
            }
            Step::Reply { request, result } => self.reply(node, request, result),
            Step::Progress { request: _, waiting } => {
                self.say(|| format!("{node}: waits for {waiting:?}"));
            }
            Step::Note(note) => self.say(|| format!("{node}: {note:?}")),
        }
    }

    fn ask(&mut self, node: NodeId, step: StepId, want: Want) {
        self.witness_request(node, &want);
        let attempt = self.plan.times.arbiter_attempt;
        let travel = self.delay_us(1_000, 20_000).plus(Span(self.arbiter.late[index(node)]));
        let Some(daemon) = self.host(node).daemon.as_mut() else { return };
        let run = daemon.run;
        daemon.asking.insert(step);
        let reply = Arbiter::timed_out(&want);
        let lose = &mut self.arbiter.lose_replies[index(node)];
        let lose_reply = *lose > 0;
        *lose = lose.saturating_sub(1);
        let request = self.arbiter.send(Request { node, run, step, want, lose_reply });
        self.queue.after(attempt, What::ArbiterReply { node, run, step, reply });
        self.queue.after(travel, What::Land { request });
    }

    /// A request reaches the arbiter, or what stands in its way.
    pub fn land(&mut self, request: u64) {
        let Some(node) = self.arbiter.sender(request) else { return };
        if self.arbiter.down || self.arbiter.cut[index(node)] {
            if self.plan.jitter && self.random.chance(500) {
                let later = self.delay_us(500_000, 8_000_000);
                self.queue.after(later, What::Land { request });
            } else {
                self.arbiter.drop_request(request);
            }
            return;
        }
        let before = self.arbiter.record.clone();
        let Some((sent, reply, changed)) = self.arbiter.land(request) else { return };
        if let Some(record) = changed {
            let living = self.hosts[index(node)].daemon.as_ref().is_some_and(|d| d.run == sent.run);
            self.watch_record(before.as_ref(), &record);
            self.record_changed(before.as_ref(), &record, living);
        }
        if sent.lose_reply {
            return;
        }
        let travel = self.delay_us(1_000, 20_000);
        let (run, step) = (sent.run, sent.step);
        self.queue.after(travel, What::ArbiterReply { node, run, step, reply });
    }

    fn record_changed(&mut self, before: Option<&Record>, record: &Record, living: bool) {
        if self.arbiter.is_rolled_back() {
            self.judge.violate(format!("v{} written to an older record", record.version.0));
        }
        let Some(seen) = record.for_volume(VOLUME) else {
            self.judge.violate("a record without the volume was stored".to_owned());
            return;
        };
        let old = before.and_then(|record| record.for_volume(VOLUME));
        let members = old.map_or(Members::NONE, |record| record.members);
        self.say(|| {
            let names: Vec<NodeId> = seen.members.into();
            let primary = seen.primary.map_or("none".to_owned(), |node| node.to_string());
            format!(
                "arbiter: v{} epoch {} primary {primary} members {}",
                seen.version.0,
                seen.epoch.0,
                names.iter().map(NodeId::to_string).collect::<Vec<_>>().join(","),
            )
        });
        for node in [NodeId::A, NodeId::B] {
            if seen.members.contains(node) && !members.contains(node) {
                let filled = self.judge.is_filled(&self.hosts[index(node)].disk);
                let filled = filled && self.is_proven(node, &seen);
                self.host(node).content_lost &= !filled;
            }
        }
        self.witness_record(&seen, members);
        let alone = self.peer_would_win(old.as_ref(), &seen);
        // A takeover that lands after its sender's power loss leaves a member without the mark,
        // which needs an operator.
        let owner = old.and_then(|old| old.primary);
        let taken = living && owner.is_some_and(|owner| seen.primary == Some(owner.peer()));
        let [a, b] = &self.hosts;
        let judge: &mut Judge = &mut self.judge;
        if seen.forced {
            self.ending = Ending::Forced;
            judge.forgive([&a.disk, &b.disk]);
        }
        let lost = [a.content_lost, b.content_lost];
        judge.record(&seen, members, [&a.disk, &b.disk], lost, alone || taken);
    }

    /// §1.2, `start` alone: a peer that lives, has the mark and reaches the arbiter takes over
    /// before the boot grace is over, so that nothing it holds may be missing where it lost.
    fn peer_would_win(&self, old: Option<&VolumeRecord>, new: &VolumeRecord) -> bool {
        let (Some(old), Some(node)) = (old, new.primary) else { return false };
        let started = new.epoch > old.epoch && old.primary == Some(node) && new.writer == node;
        let alone = old.members == Members::BOTH && new.members == Members::only(node);
        let now = self.now();
        let awake = |since: Tick| since.after(STEADY) <= now;
        let host = &self.hosts[index(node.peer())];
        let (Some(engine), Some(daemon)) = (&host.engine, &host.daemon) else { return false };
        let status = engine.replica.status();
        let ready = status.mark.is_some() && status.disk == DiskState::UpToDate;
        let told = daemon.engine == Some(engine.run) && awake(daemon.since) && awake(engine.since);
        let steady = told && awake(host.frozen_until) && awake(self.network_since);
        let quick = host.disk.faults.slow == 0 && awake(host.pace_since) && !host.hurt;
        let wants = self.plan.auto_takeover && self.would_take(node.peer());
        let peer = index(node.peer());
        let asks = !(self.arbiter.down || self.arbiter.cut[peer] || self.arbiter.late[peer] > 0);
        started && alone && ready && steady && quick && wants && asks
    }

    /// An answer of the arbiter, or the time-out; whichever is first counts.
    pub fn arbiter_reply(&mut self, node: NodeId, run: u64, step: StepId, reply: Reply) {
        let daemon = self.host(node).daemon.as_mut().filter(|daemon| daemon.run == run);
        let engine = daemon.as_ref().is_some_and(|daemon| daemon.engine.is_some());
        if daemon.is_some_and(|daemon| daemon.asking.remove(&step)) {
            if engine && self.arbiter.is_rolled_back() && matches!(reply, Reply::Read(_)) {
                self.witness.told_older(node, run);
            }
            let event = match reply {
                Reply::Read(result) => Event::ArbiterRead { id: step, result },
                Reply::Swap(result) => Event::ArbiterSwapped { id: step, result },
            };
            self.hear(node, event);
        }
    }

    /// Daemon and engine find each other.
    pub fn connect(&mut self, node: NodeId, run: u64, engine_run: u64) {
        let (suspend_max, kept) = (self.plan.times.suspend_max, self.plan.marks_kept);
        let host = self.host(node);
        let mark = host.mark.filter(|_| kept);
        let Some(daemon) = host.daemon.as_mut().filter(|daemon| daemon.run == run) else { return };
        let Some(engine) = host.engine.as_mut().filter(|e| e.run == engine_run) else { return };
        if daemon.engine == Some(engine_run) {
            return;
        }
        daemon.engine = Some(engine_run);
        let status = engine.replica.status();
        self.command_now(node, run, None, Command::Attend { suspend_max });
        if let Some(mark) = mark {
            self.command_now(node, run, None, Command::Mark { mark });
        }
        self.hear(node, Event::Engine(Box::new(status)));
    }

    /// The admin socket closed.
    pub fn engine_gone(&mut self, node: NodeId, run: u64, engine: u64) {
        let daemon = self.host(node).daemon.as_mut().filter(|daemon| daemon.run == run);
        if let Some(daemon) = daemon
            && daemon.engine == Some(engine)
        {
            daemon.engine = None;
            self.hear(node, Event::EngineGone { volume: VOLUME });
        }
    }

    /// A status line arrives.
    pub fn status(&mut self, node: NodeId, engine: u64, status: Box<Status>) {
        let host = self.host(node);
        if host.daemon.as_ref().is_some_and(|daemon| daemon.engine == Some(engine)) {
            if status.mark.is_some() {
                host.mark = status.mark;
                host.marked = status.mark;
            }
            self.hear(node, Event::Engine(status));
        }
    }

    /// A mark line arrives.
    pub fn keep_mark(&mut self, node: NodeId, engine: u64, mark: Option<InSyncMark>) {
        let host = self.host(node);
        if host.daemon.as_ref().is_some_and(|daemon| daemon.engine == Some(engine)) {
            host.mark = mark;
        }
    }

    /// A command arrives at the engine.
    pub fn command(
        &mut self,
        node: NodeId,
        run: u64,
        engine: u64,
        step: StepId,
        command: EngineCommand,
    ) {
        if self.host(node).engine.as_ref().is_none_or(|e| e.run != engine) {
            return;
        }
        let what = match command {
            EngineCommand::Learn(record) => Command::Learn { record },
            EngineCommand::Promote(record) => Command::Promote { record },
            EngineCommand::Demote => Command::Demote,
            EngineCommand::Fence => Command::Fence,
            EngineCommand::Attempt(attempt) => Command::Attempt { attempt },
            EngineCommand::PrepareTakeover => Command::PrepareTakeover,
            EngineCommand::CancelTakeover => Command::CancelTakeover,
            EngineCommand::Mark(_) if !self.plan.marks_kept => {
                let refused = Some("stale-mark".to_owned());
                let reply = What::EngineReply { node, run, step, refused };
                return self.queue.after(Span(0), reply);
            }
            EngineCommand::Mark(mark) => Command::Mark { mark },
        };
        self.command_now(node, run, Some(step), what);
    }

    /// Gives a command to the replica.
    pub fn command_now(&mut self, node: NodeId, run: u64, step: Option<StepId>, what: Command) {
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        let cmd = CmdId(engine.next_command);
        engine.next_command += 1;
        engine.commands.insert(cmd, (run, step));
        self.tell(node, Told::Command { cmd, what });
    }

    /// The engine's reply arrives.
    pub fn engine_reply(&mut self, node: NodeId, run: u64, step: StepId, refused: Option<String>) {
        if self.host(node).daemon.as_ref().is_some_and(|daemon| daemon.run == run) {
            self.hear(node, Event::EngineDone { id: step, refused });
        }
    }

    /// An operator asks the daemon of a node.
    pub fn operator(&mut self, node: NodeId, verb: Verb) {
        if self.plan.group.is_some() {
            return self.wish(node, node::Verb::Mirror(G, verb));
        }
        let request = RequestId(self.name());
        match self.host(node).daemon.as_mut() {
            Some(daemon) => {
                daemon.operator.insert(request, format!("{verb:?}"));
                self.hear(node, Event::Operator { request, verb });
            }
            None => self.say(|| format!("{node}: {verb:?}: no daemon")),
        }
    }

    /// An operator asks a whole node.
    pub fn wish(&mut self, node: NodeId, verb: node::Verb) {
        self.watch_wish(verb);
        let stopped = self.says_stopped(node);
        let request = RequestId(self.name());
        match self.host(node).daemon.as_mut() {
            Some(daemon) => {
                daemon.operator.insert(request, format!("{verb:?}"));
                self.hear_node(node, node::Event::Operator { request, verb });
                self.watch_stopped(node, stopped);
            }
            None => self.say(|| format!("{node}: {verb:?}: no daemon")),
        }
    }
}
