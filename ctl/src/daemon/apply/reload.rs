//! One daemon takes over from another within the process. Always: what the old one had under way
//! has ended, and its connections to the engines are closed, before the new one looks at anything;
//! engines, resources and the peer notice no more than of a restart, and less, since heartbeats go
//! on. When the new one can't be opened, the old one is opened again.

use super::super::start::{self, Channels};
use super::super::{Daemon, DaemonError, Ears};
use super::{Applying, Next, Phase, Telling, WATCH_MAX};
use crate::act::clock;
use crate::act::events::{Diary, Weight};
use crate::act::heartbeat::{Exchange, Paths};
use crate::act::launch::Launcher;
use crate::act::peer::{Asked, Caller, Listener, Lives};
use crate::api::control::{Refusal, Tell};
use crate::config::cluster::NodeView;
use crate::daemon::keepers::Keepers;
use crate::daemon::shown::Shown;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// The old daemon's connections close within this; an engine takes more than one anyway.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// What goes over to the next daemon.
pub(in crate::daemon) struct Former {
    /// Its words with the peer, where the ways to it stay the same.
    pub talk: Option<Talk>,
    pub diary: Option<Diary>,
    /// By name of the volume.
    pub launchers: HashMap<String, Launcher>,
    pub watchers: Vec<(mpsc::Sender<Tell>, usize)>,
    /// By name of the volume.
    pub shown: HashMap<String, Shown>,
    /// They go on meanwhile.
    pub keepers: Keepers,
}

impl Former {
    /// There was none.
    pub(in crate::daemon) fn none() -> Former {
        Former {
            talk: None,
            diary: None,
            launchers: HashMap::new(),
            watchers: Vec::new(),
            shown: HashMap::new(),
            keepers: Keepers::default(),
        }
    }
}

/// Everything between the daemons.
pub(in crate::daemon) struct Talk {
    pub exchange: Exchange,
    pub paths: Paths,
    pub lives: watch::Sender<Lives>,
    pub listener: Listener,
    pub caller: Caller,
}

impl Daemon {
    /// Ends, and keeps what the next daemon can use.
    fn dismantle(self, new: &NodeView) -> (Former, Applying, NodeView) {
        let Daemon {
            view,
            slots,
            exchange,
            paths,
            lives,
            listener,
            caller,
            diary,
            watchers,
            keepers,
            applying,
            ..
        } = self;
        let ways = |view: &NodeView| {
            let links: Vec<_> = view.heartbeat.links.iter().map(|l| (l.bind, l.peer)).collect();
            (links, view.cluster.id, view.key_file.clone())
        };
        let same = ways(&view) == ways(new);
        let names = |view: &NodeView| -> Vec<String> {
            view.engines.iter().map(|engine| engine.config.volume.name.clone()).collect()
        };
        let old_names = names(&view);
        let same_engines = old_names == names(new);
        let kept = |(_, place): &(mpsc::Sender<Tell>, usize)| {
            same_engines || *place == super::super::requests::CLUSTER
        };
        let shown = old_names.iter().zip(&slots);
        let shown = shown.map(|(name, slot)| (name.clone(), slot.shown)).collect();
        let launchers = old_names.into_iter().zip(slots).filter_map(|(name, slot)| {
            let started = view.engine_process == new.engine_process;
            slot.launcher.filter(|_| started).map(|launcher| (name, launcher))
        });
        let former = Former {
            talk: same.then_some(Talk { exchange, paths, lives, listener, caller }),
            diary: Some(diary),
            launchers: launchers.collect(),
            watchers: watchers.into_iter().filter(kept).collect(),
            shown,
            keepers,
        };
        (former, applying, view)
    }
}

/// Opens a daemon with the file that is settled, and gives it with what it hears by.
///
/// # Errors
/// Neither the new daemon nor the old one could be opened.
pub(in crate::daemon) async fn reload(
    mut daemon: Daemon,
    ears: Ears,
    asked: &mpsc::Sender<Asked>,
) -> Result<(Daemon, Ears), DaemonError> {
    let phase = std::mem::replace(&mut daemon.applying.phase, Phase::Idle);
    let Phase::Settling { next, .. } = phase else { return Ok((daemon, ears)) };
    let Next { text, cluster, record, telling } = *next;
    let new = cluster.node(daemon.view.node);
    let (mut former, mut applying, old) = daemon.dismantle(&new);
    let asks = close(ears).await;
    let (channels, ears) = Channels::open(asked, asks);
    let before = applying.source.clone();
    applying.unfit = None;
    if let Some(source) = &mut applying.source {
        (source.text, source.cluster) = (text, cluster);
    }
    let version = record.version;
    match start::start(new, applying, &channels, &mut former) {
        Ok(mut daemon) => {
            let node = daemon.view.node;
            let message = format!("node {node} runs version {version} of cluster.toml");
            daemon.tell(Weight::Info, "config-taken-over", None, message);
            daemon.write_down_what_runs();
            if let Some(telling) = telling {
                let until = clock::now().after(WATCH_MAX);
                daemon.applying.phase = Phase::Watching { telling, until };
            }
            Ok((daemon, ears))
        }
        Err(error) => {
            let mut applying = Applying::new(before);
            let node = old.node;
            let message = format!(
                "node {node} has version {version} of cluster.toml and can't run it: {error}; it \
                 goes on with the one before; mend it, and apply again or restart the daemon"
            );
            applying.unfit = Some(message.clone());
            let daemon = start::start(old, applying, &channels, &mut former)?;
            daemon.tell(Weight::Alarm, "config-refused", None, message.clone());
            if let Some(Telling { tell, .. }) = telling {
                let refusal = Refusal { code: "config-refused".to_owned(), message };
                let _ = tell.try_send(Tell::Refused(refusal));
            }
            Ok((daemon, ears))
        }
    }
}

/// Opens the daemon anew as it is: what its deciders know is no more.
///
/// # Errors
/// It could not be opened.
pub(in crate::daemon) async fn reopen(
    daemon: Daemon,
    ears: Ears,
    asked: &mpsc::Sender<Asked>,
) -> Result<(Daemon, Ears), DaemonError> {
    let view = daemon.view.clone();
    let (mut former, applying, view) = daemon.dismantle(&view);
    let asks = close(ears).await;
    let (channels, ears) = Channels::open(asked, asks);
    let daemon = start::start(view, applying, &channels, &mut former)?;
    Ok((daemon, ears))
}

/// Waits until the tasks of the old daemon have let go of the engines.
async fn close(ears: Ears) -> mpsc::Receiver<Asked> {
    let Ears { told, mut heard, asks, .. } = ears;
    drop(told);
    let closed = timeout(CLOSE_MAX, async { while heard.recv().await.is_some() {} }).await;
    if closed.is_err() {
        tracing::warn!("connections to the engines are still open; they are opened anew");
    }
    asks
}

impl Daemon {
    /// From here on a restart of the daemon has nothing of an older file to take down.
    pub(in crate::daemon) fn write_down_what_runs(&self) {
        let Some(source) = &self.applying.source else { return };
        if self.applying.is_moving() {
            return;
        }
        if let Err(error) = source.installed.took_over(&source.text, source.boot) {
            tracing::warn!(%error, "what runs is not written down");
        }
    }
}
