//! What happens in the demo, in order. It causes accidents, watches statuses, and asks for one
//! verb: whose data counts at the beginning. It decides nothing: where the group runs is the
//! daemons' business alone.

use super::compare;
use super::file::{GROUP, MIRROR, SERVICE};
use super::ledger::Wrong;
use super::load::Load;
use super::process::Processes;
use super::report::{DemoReport, EventReport, Screen, pause};
use super::service::Watch;
use super::timeline::Timeline;
use super::world::{World, WorldError};
use crate::api::control::Verb;
use crate::cli::client::{self, CallError};
use crate::status::cluster::{ClusterReport, GroupReport};
use crate::status::cluster_render::render;
use crate::status::words::bytes;
use crate::status::{Colour, Report};
use lockstep_engine::units::{LinkState, Mirror, NodeId, Status};
use lockstep_nbd::client::ClientError;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Exported bytes of the demo's volume.
const SIZE: u64 = 256 << 20;
/// Blocks that the load works on: 64 MiB.
const LOAD_BLOCKS: usize = 16_384;
/// Where node a holds data before the pair is made: beyond the blocks of the load.
const OLD: Range<u64> = 128 << 20..160 << 20;
/// Seed of the load.
const SEED: u64 = 0x10c_57e9;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(40);
/// Time that the load runs undisturbed between two events.
const CALM: Duration = Duration::from_secs(2);

/// Why the story broke off.
#[derive(Debug)]
pub enum StoryError {
    /// The world.
    World(WorldError),
    /// A daemon.
    Call { node: NodeId, doing: &'static str, cause: CallError },
    /// The client could not read everything back.
    Check { cause: ClientError },
    /// The load did not come to rest, so nothing could be compared.
    Restless,
    /// A thread can't be started.
    Load { cause: io::Error },
    /// The data files can't be compared.
    Compare { cause: io::Error },
}

impl fmt::Display for StoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoryError::World(error) => error.fmt(f),
            StoryError::Call { node, doing, cause } => {
                write!(f, "node {node}, while waiting for {doing}: {cause}")
            }
            StoryError::Check { cause } => write!(f, "reading everything back: {cause}"),
            StoryError::Restless => write!(
                f,
                "client: its requests are not answered within {} s; see the status above",
                PATIENCE.as_secs()
            ),
            StoryError::Load { cause } => write!(f, "threads of the demo: {cause}"),
            StoryError::Compare { cause } => write!(f, "data files: {cause}"),
        }
    }
}

impl std::error::Error for StoryError {}

impl From<WorldError> for StoryError {
    fn from(error: WorldError) -> StoryError {
        StoryError::World(error)
    }
}

const A: usize = 0;
const B: usize = 1;

/// The demo while it runs.
struct Story<'a> {
    world: World,
    timeline: &'a Timeline,
    report: DemoReport,
    service: Watch,
}

/// Plays the whole story in `dir`.
///
/// # Errors
/// It could not be played to its end; what was lost shows in the report, not here.
pub fn play(
    dir: &Path,
    timeline: &Timeline,
    processes: &Processes,
) -> Result<DemoReport, StoryError> {
    let world = World::make(dir, SIZE, processes)?;
    compare::fill(&world.nodes[A].data(), OLD).map_err(|cause| StoryError::Compare { cause })?;
    timeline.event(&format!(
        "two nodes with {} each formatted; node a holds {} already",
        bytes(SIZE),
        bytes(OLD.end - OLD.start)
    ));
    let service = Watch::start(world.services()).map_err(|cause| StoryError::Load { cause })?;
    let mut story = Story { world, timeline, report: DemoReport::default(), service };
    let differed = story.begin()?;
    let servers = story.world.servers();
    let load =
        Load::start(servers, LOAD_BLOCKS, SEED).map_err(|cause| StoryError::Load { cause })?;
    story.first_sync(&load, differed)?;
    story.standby_dies(&load)?;
    story.link_is_cut(&load)?;
    story.primary_dies(&load)?;
    story.end(load)
}

/// Engine status in a report.
fn status(report: &Report) -> Option<&Status> {
    report.engine.as_ref()?.status.as_ref()
}

fn in_sync(report: &Report) -> bool {
    report.summary.colour == Colour::Green
        && status(report).is_some_and(|status| status.mirror == Mirror::InSync)
}

/// The group, once it is up on the node that reports.
fn up(report: &ClusterReport) -> Option<&GroupReport> {
    let group = report.groups.first()?;
    let on = group.resources.iter().all(|one| one.power == "on");
    (on && group.runs_on == Some(report.node)).then_some(group)
}

impl Story<'_> {
    fn id(index: usize) -> NodeId {
        if index == A { NodeId::A } else { NodeId::B }
    }

    /// Asks a node until it answers: a daemon that is about to listen is waited for.
    fn patiently<T>(
        &self,
        node: usize,
        doing: &'static str,
        mut ask: impl FnMut(&Path, Option<Duration>) -> Result<T, CallError>,
    ) -> Result<T, StoryError> {
        let socket = self.world.nodes[node].socket();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match ask(&socket, Some(left)) {
                Err(CallError::Unreachable { .. } | CallError::Lost { .. }) if !left.is_zero() => {
                    thread::park_timeout(Duration::from_millis(50));
                }
                Err(cause) => {
                    return Err(StoryError::Call { node: Self::id(node), doing, cause });
                }
                Ok(result) => return Ok(result),
            }
        }
    }

    /// Watches a node's mirror until `seen` says so.
    fn watch<T>(
        &self,
        node: usize,
        doing: &'static str,
        mut seen: impl FnMut(&Report) -> Option<T>,
    ) -> Result<T, StoryError> {
        self.patiently(node, doing, |socket, left| client::watch(socket, left, &mut seen))
    }

    /// Watches the cluster, as a node sees it, until `seen` says so.
    fn watch_cluster(
        &self,
        node: usize,
        doing: &'static str,
        seen: impl Fn(&ClusterReport) -> bool,
    ) -> Result<(), StoryError> {
        let mut seen = |report: &ClusterReport| seen(report).then_some(());
        self.patiently(node, doing, |socket, left| client::watch_cluster(socket, left, &mut seen))
    }

    /// Waits until the group is up on `node` with all that belongs to it; the time it took.
    fn wait_up(&self, node: usize, doing: &'static str) -> Result<Duration, StoryError> {
        let began = Instant::now();
        let task = self.timeline.task(doing);
        self.watch_cluster(node, doing, |report| {
            let state = report.groups.first().map_or("", |group| group.state.as_str());
            task.show(0, 0, state);
            up(report).is_some()
        })?;
        Ok(began.elapsed())
    }

    /// Waits until the group is up on `node`, either node could be lost, and no monitor has
    /// anything to say.
    fn wait_safe(&self, node: usize) -> Result<(), StoryError> {
        self.watch_cluster(node, "it to be safe to lose a node", |report| {
            let quiet = ["fine", "unknown"];
            let fine = report.monitors.iter().all(|one| quiet.contains(&one.health.as_str()));
            let safe = report.safe && report.alarms.is_empty() && fine;
            safe && up(report).is_some_and(|one| one.may_move)
        })
    }

    /// Shows what `lockstep status` shows on `node` now.
    fn screen(&mut self, moment: &str, node: usize) -> Result<(), StoryError> {
        let status =
            self.patiently(node, "its status", |socket, left| client::cluster(socket, left))?;
        let text: Vec<String> = render(&status).lines().map(str::to_owned).collect();
        let id = Self::id(node);
        self.timeline.screen(&format!("{moment}: `lockstep status` on node {id} shows"), &text);
        let at_ms = ms(self.timeline.elapsed());
        self.report.screens.push(Screen {
            moment: moment.to_owned(),
            at_ms,
            node: id,
            text,
            status,
        });
        Ok(())
    }

    /// Waits until `node`, the primary, is in sync; gives the bytes that the resync sent.
    fn wait_in_sync(&self, node: usize) -> Result<u64, StoryError> {
        let task = self.timeline.task("resync");
        let mut sent = 0;
        let mut last = String::new();
        self.watch(node, "the resync", |report| {
            let status = status(report)?;
            sent = status.sync_sent_bytes;
            task.show(
                status.sync_done_blocks,
                status.sync_total_blocks,
                &format!("{} sent", bytes(status.sync_sent_bytes)),
            );
            report.summary.mirror.clone_into(&mut last);
            in_sync(report).then_some(())
        })?;
        let took = task.end();
        self.timeline.event(&format!("in sync after {}", pause(ms(took))));
        Ok(sent)
    }

    /// Starts everything; the group comes up on node a by itself. Gives the bytes that differ.
    fn begin(&mut self) -> Result<u64, StoryError> {
        for node in &mut self.world.nodes {
            node.start()?;
        }
        for node in [A, B] {
            self.watch(node, "both nodes to meet", |report| {
                let met = status(report).is_some_and(|status| status.link == LinkState::Up);
                (met && report.arbiter.tried && report.arbiter.trouble.is_none()).then_some(())
            })?;
        }
        self.timeline.event("an engine and a daemon run on each node, and have met");
        let differed =
            compare::differing(&self.world).map_err(|cause| StoryError::Compare { cause })?;
        let doing = "whose data counts";
        let create = Verb::Create { both_blank: false };
        let socket = self.world.nodes[A].socket();
        client::call(&socket, create, Some(PATIENCE), |_| {})
            .map_err(|cause| StoryError::Call { node: NodeId::A, doing, cause })?;
        self.timeline.event(&format!(
            "`lockstep mirror create`, the only verb of the demo: the data of node a counts, {} \
             differ on b",
            bytes(differed)
        ));
        let took = self.wait_up(A, "the group to come up")?;
        self.timeline.event(&format!(
            "group {GROUP} came up on node a by itself within {}: {MIRROR}, {SERVICE}",
            pause(ms(took))
        ));
        Ok(differed)
    }

    fn calm(&self, load: &Load) {
        thread::sleep(CALM);
        let seen = load.seen();
        self.timeline.event(&format!("{} writes acknowledged so far", seen.writes));
    }

    /// Measures pauses of the client and of the group's program anew.
    fn mark(&self, load: &Load) {
        load.mark();
        self.service.mark();
    }

    /// The event's line in the table.
    fn happened(&mut self, event: &str, load: &Load, resync: Option<(u64, u64)>) {
        let (waited, away) = (ms(load.seen().longest), ms(self.service.seen().longest));
        let waited_text = pause(waited);
        self.timeline.event(&format!("{event}: the client waited {waited_text} at most"));
        self.report.events.push(EventReport {
            event: event.to_owned(),
            longest_pause_ms: Some(waited),
            service_away_ms: Some(away),
            differed_bytes: resync.map(|(differed, _)| differed),
            resynced_bytes: resync.map(|(_, sent)| sent),
        });
    }

    /// Bytes that differ now. The load rests until `resynced`, so that nothing but them has to be
    /// sent.
    fn differing(&self, load: &Load) -> Result<u64, StoryError> {
        if !load.pause(PATIENCE) {
            return Err(StoryError::Restless);
        }
        compare::differing(&self.world).map_err(|cause| StoryError::Compare { cause })
    }

    /// Waits until `node` is in sync; the load goes on then.
    fn resynced(
        &mut self,
        event: &str,
        load: &Load,
        node: usize,
        differed: u64,
    ) -> Result<(), StoryError> {
        let sent = self.wait_in_sync(node)?;
        self.timeline.event(&format!("{event}: {} sent", bytes(sent)));
        self.report.events.push(EventReport {
            event: event.to_owned(),
            longest_pause_ms: None,
            service_away_ms: None,
            differed_bytes: Some(differed),
            resynced_bytes: Some(sent),
        });
        load.resume();
        self.calm(load);
        Ok(())
    }

    fn first_sync(&mut self, load: &Load, differed: u64) -> Result<(), StoryError> {
        self.timeline.event("the client writes, reads back and checks; first sync meanwhile");
        self.mark(load);
        let sent = self.wait_in_sync(A)?;
        self.calm(load);
        self.happened("first sync", load, Some((differed, sent)));
        self.wait_safe(A)?;
        self.screen("steady state", A)
    }

    fn standby_dies(&mut self, load: &Load) -> Result<(), StoryError> {
        self.mark(load);
        self.world.nodes[B].kill()?;
        self.timeline.event("node b (standby) killed: SIGKILL to its engine and its daemon");
        self.wait_alone(A)?;
        self.watch_cluster(A, "the silence of node b", |report| !report.peer.heard)?;
        self.happened("standby killed", load, None);
        self.screen("standby down", A)?;
        self.calm(load);
        let differed = self.differing(load)?;
        self.world.nodes[B].start()?;
        self.timeline.event(&format!("node b started again, {} differ", bytes(differed)));
        self.resynced("standby returned", load, A, differed)
    }

    /// Waits until `node` serves on its own copy.
    fn wait_alone(&self, node: usize) -> Result<(), StoryError> {
        self.watch(node, "the decision to go on alone", |report| {
            (status(report)?.mirror == Mirror::Solo).then_some(())
        })?;
        self.timeline.event(&format!("node {} goes on alone", Self::id(node)));
        Ok(())
    }

    fn link_is_cut(&mut self, load: &Load) -> Result<(), StoryError> {
        self.mark(load);
        self.world.cable.cut();
        self.timeline.event("all paths between the nodes cut");
        self.wait_alone(A)?;
        self.calm(load);
        self.happened("link cut", load, None);
        let differed = self.differing(load)?;
        self.world.cable.heal();
        self.timeline.event(&format!("paths healed, {} differ", bytes(differed)));
        self.resynced("link healed", load, A, differed)
    }

    fn primary_dies(&mut self, load: &Load) -> Result<(), StoryError> {
        self.wait_safe(A)?;
        self.mark(load);
        let killed = Instant::now();
        self.world.nodes[A].kill()?;
        self.timeline.event(
            "node a (primary) killed under load: engine, daemon and program; nobody is asked for \
             anything",
        );
        self.wait_up(B, "failover")?;
        let took = ms(killed.elapsed());
        self.report.failover_ms = Some(took);
        self.timeline.event(&format!(
            "node b has taken over by itself {} after the kill: {MIRROR} and {SERVICE} are on",
            pause(took)
        ));
        self.wait_client(load, B)?;
        self.happened("primary killed, failover", load, None);
        self.screen("after the failover", B)?;
        self.check(load, B)?;
        self.calm(load);
        let differed = self.differing(load)?;
        self.world.nodes[A].start()?;
        self.timeline.event(&format!("node a started again, {} differ", bytes(differed)));
        self.resynced("old primary returned", load, B, differed)?;
        self.wait_safe(B)?;
        self.screen("rejoined", B)
    }

    /// Waits until the client has an acknowledgement from `node`.
    fn wait_client(&self, load: &Load, node: usize) -> Result<(), StoryError> {
        let (before, deadline) = (load.seen().writes, Instant::now() + PATIENCE);
        loop {
            let seen = load.seen();
            if seen.server == Some(node) && seen.writes > before {
                self.timeline.event(&format!("the client goes on at node {}", Self::id(node)));
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(StoryError::Restless);
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Reads every block back from `node` while the load rests.
    fn check(&self, load: &Load, node: usize) -> Result<(), StoryError> {
        if !load.pause(PATIENCE) {
            return Err(StoryError::Restless);
        }
        let task = self.timeline.task("checking every acknowledged write");
        let checked = load
            .check_all(node, |done, total| task.show(done, total, "reading back"))
            .map_err(|cause| StoryError::Check { cause })?;
        drop(task);
        let wrong = load.seen().wrong.len();
        self.timeline.event(&format!("{checked} blocks read back, {wrong} wrong"));
        load.resume();
        Ok(())
    }

    fn end(mut self, load: Load) -> Result<DemoReport, StoryError> {
        self.check(&load, B)?;
        if !load.pause(PATIENCE) {
            return Err(StoryError::Restless);
        }
        let seen = load.end();
        self.report.service_on_both = self.service.seen().both;
        self.watch(B, "the last blocks to be equal", |report| {
            (in_sync(report) && status(report)?.dirty_blocks == 0).then_some(())
        })?;
        self.report.differing_bytes =
            compare::differing(&self.world).map_err(|cause| StoryError::Compare { cause })?;
        for node in &mut self.world.nodes {
            node.kill()?;
        }
        let lost = |wrong: &&Wrong| matches!(wrong, Wrong::Lost { .. });
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.report.writes_lost = count(seen.wrong.iter().filter(lost).count());
        self.report.blocks_corrupt = count(seen.wrong.len()) - self.report.writes_lost;
        self.report.writes_acknowledged = seen.writes;
        self.report.blocks_checked = seen.reads;
        self.report.seconds = self.timeline.elapsed().as_secs();
        Ok(self.report)
    }
}

/// Whole milliseconds.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
