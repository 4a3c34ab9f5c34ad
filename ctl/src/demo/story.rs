//! What happens in the demo, in order. It only watches statuses and asks daemons for verbs, as an
//! operator would; it decides nothing.

use super::compare;
use super::ledger::Wrong;
use super::load::Load;
use super::process::Processes;
use super::report::{DemoReport, EventReport};
use super::timeline::Timeline;
use super::world::{World, WorldError};
use crate::api::control::Verb;
use crate::cli::client::{self, CallError};
use crate::status::words::{age, bytes};
use crate::status::{Colour, Report};
use lockstep_engine::units::{LinkState, Mirror, NodeId, Role, Status};
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
    /// The load thread can't be started.
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
            StoryError::Load { cause } => write!(f, "client thread: {cause}"),
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
    let mut story = Story { world, timeline, report: DemoReport::default() };
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

impl Story<'_> {
    fn id(index: usize) -> NodeId {
        if index == A { NodeId::A } else { NodeId::B }
    }

    /// Watches a node until `seen` says so. A daemon that is about to listen is waited for.
    fn watch<T>(
        &self,
        node: usize,
        doing: &'static str,
        mut seen: impl FnMut(&Report) -> Option<T>,
    ) -> Result<T, StoryError> {
        let socket = self.world.nodes[node].socket();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match client::watch(&socket, Some(left), &mut seen) {
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

    /// Asks a node for a verb.
    fn ask(&self, node: usize, doing: &'static str, verb: Verb) -> Result<Duration, StoryError> {
        let socket = self.world.nodes[node].socket();
        let task = self.timeline.task(doing);
        client::call(&socket, verb, Some(PATIENCE), |message| task.show(0, 1, message))
            .map_err(|cause| StoryError::Call { node: Self::id(node), doing, cause })?;
        Ok(task.end())
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
        self.timeline.event(&format!("in sync again after {}", age(ms(took))));
        Ok(sent)
    }

    /// Starts everything; node a serves. Gives the bytes that differ.
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
        self.timeline.event("both nodes have met");
        let differed =
            compare::differing(&self.world).map_err(|cause| StoryError::Compare { cause })?;
        self.ask(A, "create", Verb::Create { both_blank: false })?;
        self.ask(A, "start", Verb::Start { without_peer: false })?;
        self.timeline.event(&format!("created; node a serves, {} differ", bytes(differed)));
        Ok(differed)
    }

    fn calm(&self, load: &Load) {
        thread::sleep(CALM);
        let seen = load.seen();
        self.timeline.event(&format!("{} writes acknowledged so far", seen.writes));
    }

    /// The event's line in the table.
    fn happened(&mut self, event: &str, load: &Load, resync: Option<(u64, u64)>) {
        let pause = load.seen().longest;
        self.timeline.event(&format!("{event}: the client waited {} at most", age(ms(pause))));
        self.report.events.push(EventReport {
            event: event.to_owned(),
            longest_pause_ms: Some(ms(pause)),
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
            differed_bytes: Some(differed),
            resynced_bytes: Some(sent),
        });
        load.resume();
        self.calm(load);
        Ok(())
    }

    fn first_sync(&mut self, load: &Load, differed: u64) -> Result<(), StoryError> {
        self.timeline.event("the client writes, reads back and checks; first sync meanwhile");
        load.mark();
        let sent = self.wait_in_sync(A)?;
        self.happened("first sync", load, Some((differed, sent)));
        self.calm(load);
        Ok(())
    }

    fn standby_dies(&mut self, load: &Load) -> Result<(), StoryError> {
        load.mark();
        self.world.nodes[B].kill()?;
        self.timeline.event("node b (standby) killed");
        self.wait_alone(A)?;
        self.calm(load);
        self.happened("standby killed", load, None);
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
        load.mark();
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
        load.mark();
        self.world.nodes[A].kill()?;
        self.timeline.event("node a (primary) killed under load");
        let took = self.ask(B, "takeover", Verb::Takeover)?;
        self.timeline.event(&format!("node b has taken over after {}", age(ms(took))));
        self.watch(B, "node b to serve", |report| {
            (status(report)?.role == Role::Primary).then_some(())
        })?;
        self.wait_client(load, B)?;
        self.happened("primary killed, takeover", load, None);
        self.check(load, B)?;
        self.calm(load);
        let differed = self.differing(load)?;
        self.world.nodes[A].start()?;
        self.timeline.event(&format!("node a started again, {} differ", bytes(differed)));
        self.resynced("old primary returned", load, B, differed)
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
