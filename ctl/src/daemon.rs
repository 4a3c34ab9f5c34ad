//! The daemon: the only `select!` loop of the control plane. It turns what engines, the peer, the
//! arbiter, operators, effects and the clock say into events, and the node's steps into effects.
//! Always: the loop itself never waits for an effect. A restart of it changes nothing in the
//! engines and nothing in the groups; SIGTERM ends the daemon only.

mod apply;
mod cloud;
mod discard;
mod effects;
mod engines;
mod forced;
mod heartbeats;
mod keepers;
mod lease;
mod legacy;
mod notes;
pub mod refusal;
mod registers;
mod report;
mod requests;
mod shown;
mod start;
mod steps;
mod words;

pub use apply::{Source, SourceError, this_node};
pub use legacy::view_of;
pub use start::DaemonError;

use crate::act::arbiter::{Arbiter, Trouble};
use crate::act::clock;
use crate::act::engine::Heard;
use crate::act::events::Diary;
use crate::act::heartbeat::{Exchange, Paths};
use crate::act::last::Hand;
use crate::act::peer::{Asked, Caller, Listener, Lives};
use crate::api::control::Tell;
use crate::api::{Api, Opening};
use crate::config::cluster::NodeView;
use crate::decide::event::{ReadResult, RequestId, StepId, SwapResult};
use crate::decide::group::Outcome;
use crate::decide::monitor::Found;
use crate::decide::node::{Event, Node, PeerState};
use crate::decide::settings::{GroupIndex, MonitorIndex};
use apply::reload::{Former, reload, reopen};
use apply::{Applying, Done};
use discard::Discarding;
use effects::Effects;
use engines::Slot;
use keepers::Keepers;
use lockstep_engine::units::{BootId, Span, Tick};
use sd_notify::NotifyState;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// Ends of effects, words of engines, and asks of the peer that may wait for the loop.
const ENDS_MAX: usize = 256;
/// Pause between two probes of a healthy arbiter (R11).
const PROBE_HEALTHY: Span = Span::millis(5_000);
/// Pause between two probes of an arbiter that does not answer.
const PROBE_TROUBLED: Span = Span::millis(500);
/// Longest sleep of the loop; it wakes earlier for the node's deadline.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// How something that the loop did not wait for has ended.
#[derive(Debug)]
enum End {
    Read { group: GroupIndex, id: StepId, result: ReadResult },
    Swapped { group: GroupIndex, id: StepId, result: SwapResult },
    Resource { group: GroupIndex, id: StepId, outcome: Outcome },
    Probed { monitor: MonitorIndex, id: StepId, found: Found, began: Tick },
    Scripted { monitor: MonitorIndex, id: StepId },
    Kept { group: GroupIndex, event: crate::decide::event::Event },
    HostFailed { cause: String },
    Config(Done),
    ForcedStop { group: GroupIndex, failed: Option<String> },
    Discard { group: GroupIndex, asker: requests::Asker, stage: discard::Stage },
}

/// The store of one group's record.
struct Store {
    arbiter: Arc<dyn Arbiter>,
    /// The same, where the pair itself is the store.
    own: Option<registers::Own>,
    next_probe: Tick,
    /// Whether its trouble has been told.
    troubled: bool,
    /// Whether it has been told that both nodes went on alone.
    split: bool,
}

/// The daemon's state between two turns of the loop.
pub struct Daemon {
    view: NodeView,
    node: Node,
    slots: Vec<Slot>,
    keepers: Keepers,
    stores: Vec<Store>,
    leases: lease::LeaseKeeper,
    exchange: Exchange,
    paths: Paths,
    /// Both daemons' lives, for calls between them.
    lives: watch::Sender<Lives>,
    listener: Listener,
    caller: Caller,
    /// What is late or silent has been told.
    late: heartbeats::Late,
    /// What the last heartbeats said of this node.
    announced: PeerState,
    /// Of the configuration that both nodes must share; zero when there is none to compare.
    digest: u128,
    applying: Applying,
    discarding: Discarding,
    outside: registers::Outside,
    boot: BootId,
    ends: mpsc::Sender<End>,
    effects: Effects,
    hand: Hand,
    diary: Diary,
    requests: HashMap<RequestId, (mpsc::Sender<Tell>, GroupIndex)>,
    watchers: Vec<(mpsc::Sender<Tell>, usize)>,
    /// Engines whose steps could not be handed over; the node is told on the next turn.
    lost_steps: Vec<usize>,
    /// What operators want could not be stored the last time.
    memory_fails: bool,
    /// Groups whose keepers' steps could not be handed over.
    lost_keepers: Vec<GroupIndex>,
}

/// What the loop hears by, beside sockets and signals.
struct Ears {
    /// Kept open, so that a node without engines hears nothing rather than the end.
    told: mpsc::Sender<(usize, Heard)>,
    heard: mpsc::Receiver<(usize, Heard)>,
    ended: mpsc::Receiver<End>,
    asks: mpsc::Receiver<Asked>,
}

/// Why the loop was left.
enum Left {
    /// The process ends.
    End,
    /// A daemon with another configuration is to take over.
    Reload,
    /// A daemon that knows nothing of the past is to take over.
    Reopen,
}

/// Runs the daemon until SIGTERM or SIGINT. `source` is the file that both nodes share; in a lab
/// there may be none.
///
/// # Errors
/// It could not start.
pub fn run(view: NodeView, source: Option<Source>) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| DaemonError::Runtime { cause })?;
    runtime.block_on(async {
        let stop = |kind| signal(kind).map_err(|cause| DaemonError::Runtime { cause });
        let (mut term, mut int) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
        let host = &view.hosts[usize::from(view.node.to_byte() - 1)].name;
        let short = host.split('.').next().unwrap_or_default();
        let mut api = Api::open(&Opening {
            run_dir: &view.run_dir,
            socket: &view.daemon_socket,
            tcp: view.api.as_ref(),
            names: [host.as_str(), short].map(str::to_owned).to_vec(),
        })
        .map_err(DaemonError::Listen)?;
        let (asked, asks) = mpsc::channel(ENDS_MAX);
        let (channels, mut ears) = start::Channels::open(&asked, asks);
        let applying = Applying::new(source);
        let mut daemon = start::start(view, applying, &channels, &mut Former::none())?;
        if let Some(trouble) = api.trouble() {
            daemon.api_refused(trouble);
        }
        daemon.write_down_what_runs();
        // It outlives this daemon: the next one keeps the diary, and answers what is under way.
        api.serve(daemon.diary.reader()).map_err(DaemonError::Listen)?;
        loop {
            match daemon.turn(&mut api, &mut ears, &mut term, &mut int).await {
                Left::End => return Ok(()),
                Left::Reload => (daemon, ears) = reload(daemon, ears, &asked).await?,
                Left::Reopen => (daemon, ears) = reopen(daemon, ears, &asked).await?,
            }
        }
    })
}

/// Leaves the loop because of a defect.
fn end(why: &str) -> Left {
    tracing::error!("{why}");
    Left::End
}

/// Tells the service manager, where there is one. What it does not hear, its own watchdog acts on.
fn tell_manager(states: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(states) {
        tracing::debug!(%cause, "the service manager was not told");
    }
}

impl Daemon {
    /// The loop.
    async fn turn(
        &mut self,
        api: &mut Api,
        ears: &mut Ears,
        term: &mut Signal,
        int: &mut Signal,
    ) -> Left {
        let mut beats = interval(Duration::from_nanos(self.view.heartbeat.interval.0));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.pump();
        tell_manager(&[NotifyState::Ready]);
        loop {
            let sleep = self.node.deadline().map_or(SLEEP_MAX, clock::until).min(SLEEP_MAX);
            tokio::select! {
                heard = ears.heard.recv() => match heard {
                    Some((place, heard)) => self.heard(place, heard),
                    None => return end("the engines' connection tasks ended"),
                },
                (path, raw) = self.paths.receive() => self.datagram(path, &raw),
                end_of = ears.ended.recv() => match end_of {
                    Some(end) => self.ended(end),
                    None => return end("the ends of effects are not heard any more"),
                },
                asked = ears.asks.recv() => match asked {
                    Some(asked) => self.asked(asked),
                    None => return end("calls of the other daemon are not heard any more"),
                },
                request = api.next() => match request {
                    Some(request) => self.request(request),
                    None => return end("the API is gone"),
                },
                _ = beats.tick() => self.tick(),
                () = tokio::time::sleep(sleep) => self.event(Event::Wake),
                _ = term.recv() => {
                    tracing::info!("SIGTERM: the daemon ends");
                    return Left::End;
                }
                _ = int.recv() => {
                    tracing::info!("SIGINT: the daemon ends");
                    return Left::End;
                }
            }
            for place in std::mem::take(&mut self.lost_steps) {
                self.engine_gone(place);
            }
            for group in std::mem::take(&mut self.lost_keepers) {
                self.keeper_hangs(group);
            }
            self.tell_stores();
            if self.is_outlived(clock::now()) {
                return Left::Reopen;
            }
            if let Some(renewal) = api.renewed() {
                self.api_renewed(&renewal);
            }
            if self.config_turn() {
                return Left::Reload;
            }
        }
    }

    fn ended(&mut self, end: End) {
        use crate::decide::event::Event as Of;
        let event = match end {
            End::Read { group, id, result } => {
                Event::Arbitration { group, event: Of::ArbiterRead { id, result } }
            }
            End::Swapped { group, id, result } => {
                Event::Arbitration { group, event: Of::ArbiterSwapped { id, result } }
            }
            End::Resource { group, id, outcome } => Event::Resource { group, id, outcome },
            End::Probed { monitor, id, found, began } => {
                self.looked(monitor, &found, began);
                Event::Probed { monitor, id, found }
            }
            End::Scripted { monitor, id } => Event::Scripted { monitor, id },
            End::Kept { group, event } => return self.kept(group, event),
            End::HostFailed { cause } => Event::HostFailed { cause },
            End::ForcedStop { group, failed } => return self.stop_ended(group, failed),
            End::Config(done) => return self.config_done(done),
            End::Discard { group, asker, stage } => return self.discard_stage(group, asker, stage),
        };
        self.event(event);
    }

    /// What is done once per heartbeat interval.
    fn tick(&mut self) {
        let now = clock::now();
        tell_manager(&[NotifyState::Watchdog]);
        self.beat();
        // The runtime's clock stands still while the host sleeps; the node's does not.
        if self.node.deadline().is_some_and(|deadline| deadline <= now) {
            self.event(Event::Wake);
        }
        self.tend_engines(now);
        self.renew_engines(now);
        self.probe_stores(now);
        self.watch_paths(now);
        self.look_at_peer(now);
        self.show_watchers();
    }

    /// Looks now and then whether the arbiter answers, so that its loss is an alarm before it is
    /// needed (R11). The result only shows in the store's health.
    fn probe_stores(&mut self, now: Tick) {
        for index in 0..self.stores.len() {
            let store = &mut self.stores[index];
            if now < store.next_probe {
                continue;
            }
            let health = store.arbiter.health();
            let fine = health.tried && health.trouble.is_none();
            store.next_probe = now.after(if fine { PROBE_HEALTHY } else { PROBE_TROUBLED });
            let told = std::mem::replace(&mut store.troubled, !fine);
            let split = matches!(health.trouble, Some(Trouble::SplitBrain { .. }));
            let news = std::mem::replace(&mut store.split, split) != split;
            let call = store.arbiter.read();
            tokio::spawn(async move {
                call.await;
            });
            match &health.trouble {
                Some(trouble) if split && news => self.records_parted(index, trouble),
                Some(trouble) if !told => self.store_troubled(index, &health.store, trouble),
                None if told && health.tried => self.store_healthy(index, &health.store),
                _ => {}
            }
        }
    }
}
