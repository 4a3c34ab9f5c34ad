//! The daemon: the only `select!` loop of the control plane. It turns what the engine, the peer,
//! the arbiter, operators and the clock say into events, and the decider's steps into effects.
//! Always: the loop itself never waits for an effect. A restart of it changes nothing in the
//! engine; SIGTERM ends the daemon only.

pub mod control;
mod operators;
pub mod refusal;
mod report;
mod requests;
mod steps;

pub use operators::ListenError;

use crate::act::arbiter::directory::Directory;
use crate::act::arbiter::{Arbiter, PairView};
use crate::act::clock;
use crate::act::engine::{Engine, Heard, Link};
use crate::act::heartbeat::{Exchange, Opening, Pair, PathAddress, Paths};
use crate::act::host::{self, HostError};
use crate::act::launch::Launcher;
use crate::act::mark::MarkKeeper;
use crate::config::Config;
use crate::decide::event::{Event, ReadResult, RequestId, StepId, SwapResult};
use crate::decide::{Decider, Settings};
use control::Tell;
use lockstep_engine::config::{KeyFileError, read_key};
use lockstep_engine::units::{Span, Status, Tick, Version};
use operators::{Operators, Request};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// Arbiter calls of the decider whose results may wait for the loop.
const ARBITER_ENDS_MAX: usize = 64;
/// Pause between two probes of a healthy arbiter (R11).
const PROBE_HEALTHY: Span = Span::millis(5_000);
/// Pause between two probes of an arbiter that does not answer.
const PROBE_TROUBLED: Span = Span::millis(500);
/// What the key of heartbeats is derived for.
const HEARTBEAT_PURPOSE: &str = "heartbeats";
/// Longest sleep of the loop; it wakes earlier for the decider's deadline.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Why the daemon did not start.
#[derive(Debug)]
pub enum DaemonError {
    /// The host lacks something.
    Host(HostError),
    /// The cluster key can't be used.
    Key(KeyFileError),
    /// No operators.
    Listen(ListenError),
    /// The runtime can't be built.
    Runtime { cause: std::io::Error },
    /// A directory can't be made.
    Directory { path: PathBuf, cause: std::io::Error },
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonError::Host(error) => error.fmt(f),
            DaemonError::Key(error) => error.fmt(f),
            DaemonError::Listen(error) => error.fmt(f),
            DaemonError::Runtime { cause } => {
                write!(f, "event loop: {cause}; raise the limits of open files")
            }
            DaemonError::Directory { path, cause } => {
                write!(f, "{}: {cause}; create it or correct the configuration", path.display())
            }
        }
    }
}

impl std::error::Error for DaemonError {}

/// How an arbiter call of the decider ended.
#[derive(Debug)]
enum ArbiterEnd {
    Read { id: StepId, result: ReadResult },
    Swapped { id: StepId, result: SwapResult },
}

/// The daemon's state between two turns of the loop.
pub struct Daemon {
    config: Config,
    decider: Decider,
    engine: Engine,
    exchange: Exchange,
    paths: Paths,
    arbiter: Arc<dyn Arbiter>,
    arbiter_ends: mpsc::Sender<ArbiterEnd>,
    next_probe: Tick,
    launcher: Option<Launcher>,
    /// Build and configuration digest of the engine while it is connected.
    build: Option<(String, String)>,
    status: Option<Box<Status>>,
    /// Highest record version that the engine has persisted, kept while it restarts.
    floor: Option<Version>,
    requests: HashMap<RequestId, mpsc::Sender<Tell>>,
    watchers: Vec<mpsc::Sender<Tell>>,
    last_request: u64,
    /// A step could not be handed to the engine; the decider is told on the next turn.
    lost_steps: bool,
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// It could not start.
pub fn run(config: Config) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| DaemonError::Runtime { cause })?;
    runtime.block_on(async {
        let stop = |kind| signal(kind).map_err(|cause| DaemonError::Runtime { cause });
        let (term, int) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
        let operators = Operators::listen(&config.runtime_dir, &config.daemon_socket)
            .map_err(DaemonError::Listen)?;
        let (ends, arbiter_ends) = mpsc::channel(ARBITER_ENDS_MAX);
        let mut daemon = Daemon::start(config, ends).await?;
        daemon.turn(operators, arbiter_ends, term, int).await;
        Ok(())
    })
}

impl Daemon {
    async fn start(
        config: Config,
        arbiter_ends: mpsc::Sender<ArbiterEnd>,
    ) -> Result<Daemon, DaemonError> {
        let made = std::fs::create_dir_all(&config.state_dir);
        made.map_err(|cause| DaemonError::Directory { path: config.state_dir.clone(), cause })?;
        let key = read_key(&config.key_file).map_err(DaemonError::Key)?;
        let key = key.for_purpose(HEARTBEAT_PURPOSE).to_vec();
        let boot = match config.lab_boot_id {
            Some(boot) => boot,
            None => host::boot_id().map_err(DaemonError::Host)?,
        };
        let fresh = || host::nonce().map_err(DaemonError::Host);
        let (life, proof, seed) = (fresh()?, fresh()?, (fresh()?, fresh()?));
        let (bind, peer) = (config.heartbeat.bind, config.heartbeat.peer);
        let paths = Paths::open(&[PathAddress { bind, peer }]);
        let exchange = Exchange::new(Opening {
            pair: Pair { cluster: config.cluster.id, node: config.node },
            key,
            boot,
            life,
            next_life: || host::nonce().ok(),
            paths: 1,
            groups: vec![config.group.id],
        });
        let mut entropy = [0; 32];
        entropy[..16].copy_from_slice(&seed.0.0.to_le_bytes());
        entropy[16..].copy_from_slice(&seed.1.0.to_le_bytes());
        let now = clock::now();
        let settings = Settings {
            node: config.node,
            cluster: config.cluster.id,
            group: config.group.id,
            volume: config.volume.id,
            boot,
            times: config.times,
            entropy,
            heartbeats_from: now,
            auto_takeover: config.auto_takeover,
        };
        let mark_file = config.runtime_dir.join(format!("mark-{}", config.volume.id));
        let engine = Engine::connect(Link {
            socket: config.engine_socket.clone(),
            suspend_max_ms: config.times.suspend_max.map(Span::as_millis),
            marks: MarkKeeper::open(mark_file, boot),
        });
        let launcher = config.spawn_engine.then(|| launcher(&config));
        tracing::info!(
            node = %config.node, volume = config.volume.name, %boot, "daemon started"
        );
        Ok(Daemon {
            decider: Decider::new(settings, now),
            engine,
            exchange,
            paths,
            arbiter: Arc::new(Directory::new(config.place(), proof)),
            arbiter_ends,
            next_probe: now,
            launcher,
            build: None,
            status: None,
            floor: None,
            requests: HashMap::new(),
            watchers: Vec::new(),
            last_request: 0,
            lost_steps: false,
            config,
        })
    }

    /// The loop.
    async fn turn(
        &mut self,
        mut operators: Operators,
        mut arbiter_ends: mpsc::Receiver<ArbiterEnd>,
        mut term: Signal,
        mut int: Signal,
    ) {
        let mut beats = interval(Duration::from_nanos(self.config.heartbeat.interval.0));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.pump();
        loop {
            let sleep = self.decider.deadline().map_or(SLEEP_MAX, clock::until).min(SLEEP_MAX);
            tokio::select! {
                heard = self.engine.heard.recv() => match heard {
                    Some(heard) => self.heard(heard),
                    None => return tracing::error!("the engine's connection task ended"),
                },
                (path, raw) = self.paths.receive() => self.datagram(path, &raw),
                end = arbiter_ends.recv() => match end {
                    Some(ArbiterEnd::Read { id, result }) => {
                        self.event(Event::ArbiterRead { id, result });
                    }
                    Some(ArbiterEnd::Swapped { id, result }) => {
                        self.event(Event::ArbiterSwapped { id, result });
                    }
                    None => {}
                },
                request = operators.next() => match request {
                    Some(request) => self.asked(request),
                    None => return tracing::error!("the operators' socket is gone"),
                },
                _ = beats.tick() => self.tick(),
                () = tokio::time::sleep(sleep) => self.event(Event::Wake),
                _ = term.recv() => return tracing::info!("SIGTERM: the daemon ends"),
                _ = int.recv() => return tracing::info!("SIGINT: the daemon ends"),
            }
            if std::mem::take(&mut self.lost_steps) {
                self.event(Event::EngineGone);
            }
            self.tell_arbiter();
        }
    }

    fn asked(&mut self, request: Request) {
        self.request(request);
    }

    /// Takes what the engine says.
    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Connected { build, config_digest } => {
                tracing::info!(build, config_digest, "engine connected");
                self.build = Some((build, config_digest));
            }
            Heard::Event(event) => {
                match &event {
                    Event::Engine(status) => {
                        let version = status.record.map_or(Version(0), |record| record.version);
                        self.floor = self.floor.max(Some(version));
                        self.status = Some(status.clone());
                    }
                    Event::EngineGone => {
                        if self.build.take().is_some() {
                            tracing::warn!("engine gone");
                        }
                        self.status = None;
                    }
                    _ => {}
                }
                self.event(event);
            }
        }
    }

    fn datagram(&mut self, path: usize, raw: &[u8]) {
        let heard = self.exchange.handle(raw, path, clock::now());
        if let Some(reply) = heard.reply {
            self.paths.send(&reply);
        }
        // The store is asked by the steps that follow: it must know the peer of this packet.
        self.tell_arbiter();
        for (_, event) in heard.events {
            self.event(event);
        }
    }

    /// Sends one heartbeat.
    fn beat(&mut self) {
        let proof = self.arbiter.health().own_nonce;
        self.tell_peer(|telling| telling.proof = proof);
        let packet = self.exchange.packet(clock::now());
        self.paths.send(&packet);
    }

    /// What is done once per heartbeat interval.
    fn tick(&mut self) {
        let now = clock::now();
        self.beat();
        // The runtime's clock stands still while the host sleeps; the decider's does not.
        if self.decider.deadline().is_some_and(|deadline| deadline <= now) {
            self.event(Event::Wake);
        }
        if let (Some(launcher), None) = (&mut self.launcher, &self.build) {
            launcher.tend(now);
        }
        self.probe(now);
        self.show_watchers();
    }

    /// Looks now and then whether the arbiter answers, so that its loss is an alarm before it is
    /// needed (R11). The result only shows in the store's health.
    fn probe(&mut self, now: Tick) {
        if now < self.next_probe {
            return;
        }
        let healthy = self.arbiter.health();
        let fine = healthy.tried && healthy.trouble.is_none();
        self.next_probe = now.after(if fine { PROBE_HEALTHY } else { PROBE_TROUBLED });
        let call = self.arbiter.read();
        tokio::spawn(async move {
            call.await;
        });
    }

    fn tell_arbiter(&self) {
        self.arbiter.tell(PairView {
            peer_heard: self.peer_heard(clock::now()),
            peer_nonce: self.exchange.peer_group(self.config.group.id).and_then(|beat| beat.proof),
            floor: self.floor,
        });
    }
}

/// The launcher of the configured engine, which is installed next to this executable.
fn launcher(config: &Config) -> Launcher {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|dir| dir.join("lockstep-engine")));
    let program = config.engine_program.clone().or(beside);
    let program = program.unwrap_or_else(|| PathBuf::from("lockstep-engine"));
    Launcher::new(program, config.engine_config.clone(), config.runtime_dir.clone())
}
