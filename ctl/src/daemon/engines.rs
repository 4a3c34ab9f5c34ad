//! The engines of this node, one for each volume: connection, process, last status.

use super::apply::reload::Former;
use super::shown::Shown;
use super::{Daemon, DaemonError};
use crate::act::engine::{Engine, Heard, Link};
use crate::act::file;
use crate::act::launch::Launcher;
use crate::act::mark::MarkKeeper;
use crate::config::cluster::{EngineView, NodeView};
use crate::decide::event::{Event as Of, StepId};
use crate::decide::node::Event;
use crate::decide::settings::GroupIndex;
use crate::decide::step::EngineCommand;
use lockstep_engine::units::{BootId, Span, Status, Tick, Version, VolumeId};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// One engine.
pub(super) struct Slot {
    /// Group whose record speaks for its volume.
    pub group: GroupIndex,
    pub engine: Engine,
    pub launcher: Option<Launcher>,
    /// Build and configuration digest of the engine while it is connected.
    pub build: Option<(String, String)>,
    pub status: Option<Box<Status>>,
    /// What earlier statuses have told; it outlives a restart of the engine.
    pub shown: Shown,
    /// The same, for whoever waits until the engine has spoken.
    pub told: watch::Sender<Option<Box<Status>>>,
    /// Highest record version that it has persisted, kept while it restarts.
    pub floor: Option<Version>,
    /// It was told to end, so that it runs with another configuration.
    pub renewing: bool,
}

/// Connects to every engine; what they say arrives with their place. Launchers of a former daemon
/// know the processes that are its children; what it has shown of an engine stays.
pub(super) fn open(
    view: &NodeView,
    boot: BootId,
    told: &mpsc::Sender<(usize, Heard)>,
    former: &mut Former,
) -> Result<Vec<Slot>, DaemonError> {
    let one = |(place, engine): (usize, &EngineView)| {
        if !engine.text.is_empty() {
            let failed = |cause| DaemonError::Directory { path: engine.path.clone(), cause };
            render(&engine.path, &engine.text).map_err(failed)?;
        }
        let (id, name) = (engine.config.volume.id, &engine.config.volume.name);
        let link = Link {
            volume: id,
            socket: engine.config.admin.clone(),
            suspend_max_ms: view.times.suspend_max.map(Span::as_millis),
            // Found out and fenced before a lease ends that was extended when it began to hang.
            patience: Duration::from_nanos(view.times.lease.0 / 2),
            marks: MarkKeeper::open(view.run_dir.join(format!("mark-{id}")), boot),
        };
        let (connection, mut heard) = Engine::connect(link);
        let told = told.clone();
        tokio::spawn(async move {
            while let Some(heard) = heard.recv().await {
                if told.send((place, heard)).await.is_err() {
                    return;
                }
            }
        });
        let holds = |group: &crate::config::cluster::Group| group.settings.volumes.contains(&id);
        let group = view.groups.iter().position(holds).unwrap_or(usize::MAX);
        Ok(Slot {
            group: GroupIndex(group),
            engine: connection,
            launcher: view.engine_process.spawn.then(|| {
                former.launchers.remove(name).unwrap_or_else(|| launcher(view, engine, name))
            }),
            build: None,
            status: None,
            shown: former.shown.remove(name).unwrap_or_default(),
            told: watch::Sender::new(None),
            floor: None,
            renewing: false,
        })
    };
    view.engines.iter().enumerate().map(one).collect()
}

/// Writes the engine's file when it is not the same already.
fn render(path: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    file::replace_synced(path, text.as_bytes())
}

/// The launcher of an engine, whose program is installed next to this executable.
fn launcher(view: &NodeView, engine: &EngineView, name: &str) -> Launcher {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|dir| dir.join("lockstep-engine")));
    let program = view.engine_process.program.clone().or(beside);
    let program = program.unwrap_or_else(|| PathBuf::from("lockstep-engine"));
    // Each engine's notes are its own, however many there are: another volume may join it.
    let notes = view.run_dir.join(name);
    Launcher::new(program, engine.path.clone(), notes)
        .in_lab(view.lab_boot_id)
        .adopting(&view.run_dir)
}

impl Daemon {
    /// Takes what an engine says.
    pub(super) fn heard(&mut self, place: usize, heard: Heard) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        match heard {
            Heard::Connected { build, config_digest } => {
                let volume = &self.view.engines[place].config.volume.name;
                tracing::info!(volume, build, config_digest, "engine connected");
                let expected = &self.view.engines[place].digest;
                if !expected.is_empty() && *expected != config_digest {
                    tracing::warn!(
                        volume,
                        found = config_digest,
                        expected,
                        "the engine runs with another configuration: restart it"
                    );
                }
                slot.renewing = false;
                slot.build = Some((build, config_digest));
            }
            Heard::Event(Of::EngineGone { .. }) => self.engine_gone(place),
            Heard::Event(event) => {
                if let Of::Engine(status) = &event {
                    let version = status.record.map_or(Version(0), |record| record.version);
                    slot.floor = slot.floor.max(Some(version));
                    slot.status = Some(Box::new(slot.shown.take(status)));
                    slot.told.send_replace(slot.status.clone());
                }
                let group = slot.group;
                self.event(Event::Arbitration { group, event });
            }
        }
    }

    pub(super) fn engine_gone(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let group = slot.group;
        slot.status = None;
        slot.told.send_replace(None);
        let known = slot.build.take().is_some();
        let volume = &self.view.engines[place].config.volume;
        let (volume, name) = (volume.id, volume.name.clone());
        if known {
            self.engine_lost(&name);
        }
        self.event(Event::Arbitration { group, event: Of::EngineGone { volume } });
    }

    /// Starts engines that should be there.
    pub(super) fn tend_engines(&mut self, now: Tick) {
        for slot in &mut self.slots {
            if let (Some(launcher), None) = (&mut slot.launcher, &slot.build) {
                launcher.tend(now);
            }
        }
    }

    /// The engines of a group's volumes, with their places.
    pub(super) fn slots_of(&self, group: GroupIndex) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().enumerate().filter(move |(_, slot)| slot.group == group)
    }

    /// Hands a command to the engine of a volume, or to the keeper of a group that has none.
    pub(super) fn command(
        &mut self,
        group: GroupIndex,
        id: StepId,
        volume: VolumeId,
        command: EngineCommand,
    ) {
        let place = self.view.engines.iter().position(|engine| engine.config.volume.id == volume);
        let place = place.filter(|place| self.slots[*place].group == group);
        if let Some(place) = place {
            if self.slots[place].engine.step(id, &command).is_err() {
                // The queue to the engine is full: it hangs. Its steps are lost.
                tracing::error!(?command, "the engine takes no commands");
                self.lost_steps.push(place);
            }
        } else if !self.keepers.command(group, id, command) {
            self.lost_keepers.push(group);
        }
    }
}
