//! What decides in a simulated daemon: a decider for the mirror alone, or the whole node. Both are
//! production code; the shell around them does not know which it has, but for what only a whole
//! node asks for.

use super::group::{G, GroupPlan};
use super::host::Host;
use lockstep_ctl::decide::event::{Event, PeerBeat};
use lockstep_ctl::decide::node::{self, KeptLease, Node, PeerState, Step};
use lockstep_ctl::decide::{Decider, Settings};
use lockstep_engine::units::Tick;

/// What decides.
pub enum Brain {
    /// For the mirror alone.
    Plain(Box<Decider>),
    /// For the node: arbitration, group, monitors.
    Whole(Box<Node>),
}

impl Brain {
    /// Opens it as a daemon that starts on `host` does.
    pub fn open(arbitration: Settings, group: Option<&GroupPlan>, host: &Host, now: Tick) -> Brain {
        let Some(plan) = group else {
            return Brain::Plain(Box::new(Decider::new(arbitration, now)));
        };
        let most = now.after(arbitration.times.lease);
        let settings = node::Settings {
            node: arbitration.node,
            boot: arbitration.boot,
            times: arbitration.times,
            heartbeats_from: arbitration.heartbeats_from,
            groups: vec![(plan.settings.clone(), arbitration)],
            monitors: plan.monitors.clone(),
            observe_only: false,
            memory: host.notes.memory.clone(),
            kept: vec![KeptLease {
                until: host.notes.kept.map(|until| until.min(most)),
                engine_listens: host.engine.is_some(),
            }],
        };
        Brain::Whole(Box::new(Node::new(settings, now)))
    }

    /// Tells what happened to arbitration: anything but heartbeats and operators.
    pub fn handle(&mut self, event: Event, wall_ms: u64, now: Tick) {
        match self {
            Brain::Plain(decider) => decider.handle(event, wall_ms, now),
            Brain::Whole(node) => {
                node.handle(node::Event::Arbitration { group: G, event }, wall_ms, now);
            }
        }
    }

    /// Tells of a heartbeat.
    pub fn hear_peer(&mut self, beat: PeerBeat, state: PeerState, wall_ms: u64, now: Tick) {
        match self {
            Brain::Plain(decider) => decider.handle(Event::Heartbeat(beat), wall_ms, now),
            Brain::Whole(node) => {
                node.handle(node::Event::Peer { state, beats: vec![beat] }, wall_ms, now);
            }
        }
    }

    /// The next thing to do.
    pub fn poll_step(&mut self) -> Option<Step> {
        match self {
            Brain::Plain(decider) => {
                decider.poll_step().map(|step| Step::Arbitration { group: G, step })
            }
            Brain::Whole(node) => node.poll_step(),
        }
    }

    /// When to wake it.
    pub fn deadline(&self) -> Option<Tick> {
        match self {
            Brain::Plain(decider) => decider.deadline(),
            Brain::Whole(node) => node.deadline(),
        }
    }

    /// What a heartbeat says.
    pub fn beat(&self) -> PeerBeat {
        match self {
            Brain::Plain(decider) => decider.beat(),
            Brain::Whole(node) => node.beat(G).expect("there is a group"),
        }
    }

    /// What a heartbeat says beside that.
    pub fn announce(&self) -> PeerState {
        self.node().map(Node::announce).unwrap_or_default()
    }

    /// The arbitration inside.
    pub fn decider(&self) -> &Decider {
        match self {
            Brain::Plain(decider) => decider,
            Brain::Whole(node) => node.decider(G).expect("there is a group"),
        }
    }

    /// The whole node, if it is one.
    pub fn node(&self) -> Option<&Node> {
        match self {
            Brain::Plain(_) => None,
            Brain::Whole(node) => Some(node),
        }
    }

    /// Tells a whole node something; a decider for the mirror alone has no ear for it.
    pub fn tell(&mut self, event: node::Event, wall_ms: u64, now: Tick) {
        if let Brain::Whole(node) = self {
            node.handle(event, wall_ms, now);
        }
    }
}
