//! The decider's refusals and waits in words: object, cause and next move.

use crate::act::arbiter::Health;
use crate::api::control::Refusal;
use crate::decide::group;
use crate::decide::node;
use crate::decide::settings::ResourceIndex;
use crate::decide::step::{Refused, Waiting};
use crate::status::words::age;
use lockstep_engine::admin;
use lockstep_engine::units::{LinkState, Mirror, NodeId, Role, Span, Status};

/// A daemon that was not heard for so many intervals may be dead.
const HEARTBEATS_MISSED: u64 = 3;

/// Stable word of a refusal; the command line maps it to an exit code.
pub fn code(refused: &Refused) -> &str {
    match refused {
        Refused::NoRecord => "no-record",
        Refused::RecordExists => "record-exists",
        Refused::OtherPrimary => "other-primary",
        Refused::NotMember { .. } => "not-member",
        Refused::BadCopy => "bad-copy",
        Refused::NoMark => "no-mark",
        Refused::PeerAlive => "peer-alive",
        Refused::NotInSync => "not-in-sync",
        Refused::NotPrimary => "not-primary",
        Refused::AlreadyPrimary => "already-primary",
        Refused::OtherVolumes => "other-volumes",
        Refused::Lost => "lost",
        Refused::ArbiterAway => "arbiter-away",
        Refused::ArbiterRolledBack => "arbiter-rolled-back",
        Refused::EngineAway => "engine-away",
        Refused::Engine(word) => word,
        Refused::Busy => "busy",
    }
}

/// What a refusal is explained with.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Name of the group.
    pub group: &'a str,
    /// Names of its resources.
    pub resources: &'a [&'a str],
    /// Names of its volumes; empty when it has none.
    pub volume: &'a str,
    /// This node.
    pub node: NodeId,
    /// Since when this node is no member of the record, as wall clock.
    pub stale_since: Option<u64>,
    /// The store.
    pub arbiter: &'a Health,
    /// Why the engine does not run.
    pub engine_trouble: Option<&'a str>,
    /// What keeps the peer from taking anything over: "is suspended".
    pub peer: &'a str,
    /// Wall clock, to tell ages.
    pub wall_ms: u64,
}

impl Known<'_> {
    fn stale(&self, since: u64) -> String {
        let (node, peer) = (self.node, self.node.peer());
        format!(
            "the copy on node {node} is stale: node {peer} has the latest data, alone for {}; \
             bring node {peer} back if it is down, then this copy is resynced by itself",
            age(self.wall_ms.saturating_sub(since))
        )
    }

    fn arbiter(&self) -> String {
        match &self.arbiter.trouble {
            Some(trouble) => format!("nothing was changed; {}: {trouble}", self.arbiter.store),
            None => "the arbiter does not answer and nothing was changed; see `arbiter` in \
                     `lockstep mirror status`"
                .to_owned(),
        }
    }

    fn engine(&self) -> String {
        match self.engine_trouble {
            Some(trouble) => format!("the engine does not run: {trouble}"),
            None => "the engine does not run; start it (`lockstep-engine run`), or see its log if \
                     the daemon starts it"
                .to_owned(),
        }
    }
}

/// A refusal of the node as an operator reads it.
pub fn explain(refused: &node::Refused, known: &Known<'_>) -> Refusal {
    let node = known.node;
    let (code, message) = match refused {
        node::Refused::Group(group::Refused::Arbitration(why)) => {
            return of_arbitration(why, known);
        }
        node::Refused::Group(why) => return of_group(why, known),
        node::Refused::NoGroup => ("no-group", "there is no such group".to_owned()),
        node::Refused::NoMonitor => ("no-monitor", "there is no such monitor".to_owned()),
        node::Refused::GroupRuns => {
            ("group-runs", format!("group {}: its resources are up; stop it first", known.group))
        }
        node::Refused::Already => ("already", format!("node {node}: it is so already")),
        node::Refused::Busy => {
            ("busy", format!("node {node}: the cluster service is being stopped; wait for it"))
        }
        node::Refused::Stuck(_) => (
            "stuck",
            format!("node {node}: not every group could be brought down; see `lockstep status`"),
        ),
        node::Refused::NotStored { cause } => (
            "not-stored",
            format!(
                "{cause}: it is carried out, but a restart of the daemon forgets it; make the file \
                 writable and ask again"
            ),
        ),
    };
    Refusal { code: code.to_owned(), message }
}

fn of_group(why: &group::Refused, known: &Known<'_>) -> Refusal {
    let (node, peer) = (known.node, known.node.peer());
    let name = |resource: &ResourceIndex| known.resources.get(resource.0).copied().unwrap_or("");
    let (code, because) = match why {
        group::Refused::Arbitration(why) => return of_arbitration(why, known),
        group::Refused::Busy => {
            ("busy", "another request is under way; wait for it (`lockstep status`)".to_owned())
        }
        group::Refused::NotHere { owner: Some(owner) } if *owner == peer => {
            ("not-primary", format!("it runs on node {peer}; run this there"))
        }
        group::Refused::NotHere { .. } => {
            ("not-primary", format!("it does not run on node {node}; start it first"))
        }
        group::Refused::AlreadyUp => ("already-primary", format!("it is up on node {node}")),
        group::Refused::PeerNotReady => {
            ("peer-not-ready", format!("node {peer} {}; see `lockstep status` there", known.peer))
        }
        group::Refused::PeerBarred => (
            "peer-barred",
            format!("it failed on node {peer} for good; mend that and start it there once"),
        ),
        group::Refused::NotInSync => (
            "not-in-sync",
            format!(
                "node {peer} is not connected and in sync; wait for the resync to end \
                 (`lockstep mirror status`)"
            ),
        ),
        group::Refused::ClusterStopped => (
            "cluster-stopped",
            format!("node {node} takes no part; run `lockstep cluster start` first"),
        ),
        group::Refused::NoResource => ("no-resource", "there is no such resource".to_owned()),
        group::Refused::IsMirror => {
            ("is-mirror", "a mirror is started and stopped with its group".to_owned())
        }
        group::Refused::NeedsOther(other) => {
            ("needs-other", format!("{} must be on first", name(other)))
        }
        group::Refused::StartFailed { resource, cause } => {
            ("start-failed", format!("{} did not start: {cause}", name(resource)))
        }
        group::Refused::StopFailed { resource, cause } => (
            "stop-failed",
            format!(
                "{} did not stop, so the group stays here, where it may still run: {cause}",
                name(resource)
            ),
        ),
        group::Refused::Lost => ("lost", format!("node {peer} has it now; see `lockstep status`")),
    };
    Refusal { code: code.to_owned(), message: format!("group {}: {because}", known.group) }
}

/// A refusal of the arbitration as an operator reads it.
fn of_arbitration(refused: &Refused, known: &Known<'_>) -> Refusal {
    let (node, peer) = (known.node, known.node.peer());
    let because = match refused {
        Refused::NoRecord if known.volume.is_empty() => format!(
            "no record exists yet; it is made when both nodes have met, or by `lockstep group \
             start {} --without-peer`",
            known.group
        ),
        Refused::NoRecord => {
            "no record exists yet; run `lockstep mirror create` on one node".to_owned()
        }
        Refused::RecordExists => {
            "the mirror exists already; run `lockstep mirror status`".to_owned()
        }
        Refused::OtherPrimary if known.stale_since.is_some() => {
            known.stale(known.stale_since.unwrap_or(known.wall_ms))
        }
        Refused::OtherPrimary => format!(
            "node {peer} is primary in the record; run `lockstep mirror move` there, or \
             `lockstep mirror takeover` here if it is dead"
        ),
        Refused::NotMember { solo_since } => known.stale(*solo_since),
        Refused::BadCopy => format!(
            "the copy on node {node} is not whole or its disk failed; look at \
             `lockstep mirror status` and let it resync from node {peer}"
        ),
        Refused::NoMark => format!(
            "node {node} rebooted while node {peer} went on, so writes may be missing here; bring \
             node {peer} back, or run `lockstep mirror force-promote` and accept the loss"
        ),
        Refused::PeerAlive => {
            format!("node {peer} is alive; run `lockstep mirror move` there instead")
        }
        Refused::NotInSync => format!(
            "node {peer} is not connected and in sync; wait for the resync to end \
             (`lockstep mirror status`)"
        ),
        Refused::NotPrimary => {
            format!("node {node} is not primary; run this on the primary node")
        }
        Refused::AlreadyPrimary => format!("node {node} is primary already; nothing to do"),
        Refused::OtherVolumes => "its record has other volumes than cluster.toml; give it those, \
             or make a group of its own for a new volume"
            .to_owned(),
        Refused::Lost => format!(
            "node {peer} changed the record first and has won; this node follows it, run \
             `lockstep mirror status`"
        ),
        Refused::ArbiterAway => known.arbiter(),
        Refused::ArbiterRolledBack => "the arbiter holds an older record than this node has \
             seen: it was deleted or restored; bring the right one back"
            .to_owned(),
        Refused::EngineAway => known.engine(),
        Refused::Engine(word) => format!("the engine refused: {word}; see its log"),
        Refused::Busy => {
            "another request is under way; wait for it (`lockstep mirror status`)".to_owned()
        }
    };
    let object = match known.volume {
        "" => format!("group {}", known.group),
        volume => format!("volume {volume}"),
    };
    Refusal { code: code(refused).to_owned(), message: format!("{object}: {because}") }
}

/// Why nothing can be handed to a peer that was not heard for so long; `None` when it was heard
/// just now. `interval` is the time between two heartbeats.
pub fn unheard(peer: NodeId, silence: Option<Span>, interval: Span) -> Option<Refusal> {
    let fresh = Span(interval.0.saturating_mul(HEARTBEATS_MISSED));
    let last = match silence {
        Some(silence) if silence <= fresh => return None,
        Some(silence) => format!("the last heartbeat of its daemon came {} ago", age_of(silence)),
        None => "its daemon was not heard yet".to_owned(),
    };
    Some(Refusal {
        code: "peer-not-ready".to_owned(),
        message: format!(
            "node {peer}: {last}, one is due every {}; nothing is handed to a node that may be \
             dead: start its daemon or repair the network, then ask again",
            age_of(interval)
        ),
    })
}

fn age_of(span: Span) -> String {
    age(span.as_millis())
}

/// What stands against a verb that goes straight to the engine.
pub fn of_engine_verb(verb: &admin::Verb, volume: &str, status: &Status) -> Option<Refusal> {
    let admin::Verb::Verify { start: true } = verb else { return None };
    let (node, peer) = (status.node, status.node.peer());
    let (code, because) = match (status.role, status.link, status.mirror) {
        (Role::Secondary, ..) if status.peer_role == Some(Role::Primary) => {
            ("not-primary", format!("it runs on node {peer}; run `lockstep mirror verify` there"))
        }
        (Role::Secondary, ..) => (
            "not-primary",
            format!("it does not run on node {node}; only the node that serves compares"),
        ),
        (_, LinkState::Down | LinkState::Greeting, _) => {
            ("no-link", format!("node {peer} is not connected; look after it or the link to it"))
        }
        _ if status.verify_done_blocks.is_some() => (
            "busy",
            "a comparison runs already; wait for it, or end it with `lockstep mirror verify \
             --stop`"
                .to_owned(),
        ),
        (_, _, Mirror::InSync) => return None,
        _ => (
            "not-in-sync",
            "the copies are not in sync now, so there is nothing to compare; wait for the resync \
             to end (`lockstep mirror resync`)"
                .to_owned(),
        ),
    };
    Some(Refusal { code: code.to_owned(), message: format!("volume {volume}: {because}") })
}

/// What such a verb would do, for a dry run.
pub fn engine_step(verb: &admin::Verb, volume: &str) -> String {
    match verb {
        admin::Verb::Verify { start: true } => {
            format!("compare both copies of volume {volume}; what differs is repaired")
        }
        admin::Verb::Verify { start: false } => {
            format!("stop the comparison of volume {volume}, if one runs")
        }
        admin::Verb::PauseSync { paused: true } => format!("hold back resync of volume {volume}"),
        admin::Verb::PauseSync { paused: false } => {
            format!("let resync of volume {volume} go on")
        }
        other => format!("ask the engine of volume {volume}: {other:?}"),
    }
}

/// Stable word and sentence of a wait.
pub fn waiting(waiting: Waiting, node: NodeId, arbiter: &Health) -> (&'static str, String) {
    let peer = node.peer();
    match waiting {
        Waiting::Arbiter => match &arbiter.trouble {
            Some(trouble) => ("arbiter", format!("for the arbiter: {trouble}")),
            None => ("arbiter", "for the arbiter to answer".to_owned()),
        },
        Waiting::Engine => ("engine", "for the engine to carry out a command".to_owned()),
        Waiting::Evidence => ("evidence", format!("for node {peer} to be silent long enough")),
        Waiting::Lease => ("lease", format!("for the lease of node {peer} to be over")),
        Waiting::Reconcile => {
            ("reconcile", format!("for the last writes to be made equal with node {peer}"))
        }
        Waiting::BootGrace => {
            ("boot-grace", format!("for node {peer} to be heard, or the boot grace to pass"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::arbiter::Trouble;
    use lockstep_engine::units::VolumeId;

    fn told(refused: &Refused, stale_since: Option<u64>, arbiter: &Health) -> String {
        let known = Known {
            group: "db",
            resources: &[],
            volume: "db",
            node: NodeId::A,
            stale_since,
            arbiter,
            engine_trouble: Some("`data`: can't open /x"),
            peer: "is suspended",
            wall_ms: 100_000,
        };
        of_arbitration(refused, &known).message
    }

    #[test]
    fn an_arbiter_that_is_not_proved_yet_names_the_peers_daemon() {
        let health = Health { trouble: Some(Trouble::NeverProved), ..Health::default() };
        let message = told(&Refused::ArbiterAway, None, &health);
        assert!(message.contains("start the peer's daemon once"), "{message}");
        let (_, wait) = waiting(Waiting::Arbiter, NodeId::A, &health);
        assert!(wait.contains("start the peer's daemon once"), "{wait}");
    }

    #[test]
    fn a_stale_node_is_not_sent_to_a_takeover() {
        let message = told(&Refused::OtherPrimary, Some(90_000), &Health::default());
        assert!(message.contains("node b has the latest data, alone for 10 s"), "{message}");
        assert!(!message.contains("takeover"), "{message}");
        let member = told(&Refused::OtherPrimary, None, &Health::default());
        assert!(member.contains("takeover"), "{member}");
    }

    #[test]
    fn an_engine_that_is_away_is_quoted() {
        let message = told(&Refused::EngineAway, None, &Health::default());
        assert!(message.contains("can't open /x"), "{message}");
    }

    #[test]
    fn nothing_is_handed_to_a_node_whose_daemon_has_just_gone_silent() {
        let interval = Span::millis(500);
        assert_eq!(unheard(NodeId::B, Some(Span::millis(1_400)), interval), None);
        let told = unheard(NodeId::B, Some(Span::millis(2_000)), interval).unwrap().message;
        assert!(told.contains("the last heartbeat of its daemon came 2 s ago"), "{told}");
        assert!(told.contains("node b") && told.contains("start its daemon"), "{told}");
        assert!(unheard(NodeId::B, None, interval).unwrap().message.contains("not heard yet"));
    }

    #[test]
    fn a_comparison_is_refused_with_what_really_stands_against_it() {
        let serving = Status {
            role: Role::Primary,
            link: LinkState::Up,
            mirror: Mirror::InSync,
            ..Status::at_rest(VolumeId(5), NodeId::A)
        };
        let verify = admin::Verb::Verify { start: true };
        let told = |status: &Status| of_engine_verb(&verify, "db", status);
        assert_eq!(told(&serving), None);
        let standby =
            Status { role: Role::Secondary, peer_role: Some(Role::Primary), ..serving.clone() };
        let filling = Status { mirror: Mirror::SyncSource, ..serving.clone() };
        let away = Status { link: LinkState::Down, ..serving.clone() };
        let running = Status { verify_done_blocks: Some(3), ..serving };
        for (status, code, words) in [
            (standby, "not-primary", "it runs on node b; run `lockstep mirror verify` there"),
            (filling, "not-in-sync", "wait for the resync"),
            (away, "no-link", "node b is not connected"),
            (running, "busy", "runs already"),
        ] {
            let refusal = told(&status).unwrap();
            assert_eq!(refusal.code, code);
            assert!(refusal.message.contains(words), "{}", refusal.message);
        }
    }
}
