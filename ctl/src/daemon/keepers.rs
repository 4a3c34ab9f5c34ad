//! The keepers of the groups without volumes. Each speaks like an engine, in the events of its
//! group.

use super::{Daemon, DaemonError, End};
use crate::act::host;
use crate::act::keeper::{self, Commands};
use crate::config::cluster::NodeView;
use crate::decide::event::{Event as Of, StepId};
use crate::decide::keeper::{Keeper, seat_of};
use crate::decide::node::Event;
use crate::decide::settings::GroupIndex;
use crate::decide::step::EngineCommand;
use lockstep_engine::units::{BootId, GroupId, StartId, Version};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// The keepers, by group.
#[derive(Default)]
pub(super) struct Keepers(BTreeMap<GroupIndex, Slot>);

struct Slot {
    group: GroupId,
    /// Or why there is none.
    commands: Result<Commands, String>,
    /// Highest record version that it has stored.
    floor: Option<Version>,
}

/// Where a keeper's file is: a boot does not take it away.
fn path_of(view: &NodeView, group: GroupId) -> PathBuf {
    view.state_dir.join("keepers").join(format!("{group}.json"))
}

/// A new life for each keeper that may be opened, by group.
///
/// # Errors
/// The host gives no random number.
pub(super) fn starts(view: &NodeView) -> Result<Vec<StartId>, DaemonError> {
    let fresh = |_| host::nonce().map(|nonce| StartId(nonce.0)).map_err(DaemonError::Host);
    view.groups.iter().map(fresh).collect()
}

impl Keepers {
    /// Opens one for each group without volumes, or goes on with that of the former daemon, which
    /// knows what it has promised in this life; what they say comes as ends.
    pub fn open(
        view: &NodeView,
        (boot, starts): (BootId, Vec<StartId>),
        ends: &mpsc::Sender<End>,
        former: &mut Keepers,
    ) -> Keepers {
        let mut former: Vec<Slot> = std::mem::take(&mut former.0).into_values().collect();
        let mut keepers = Keepers::default();
        for ((index, group), start) in view.groups.iter().enumerate().zip(starts) {
            if !group.settings.volumes.is_empty() {
                continue;
            }
            let (place, id) = (GroupIndex(index), group.settings.id);
            let known = former.iter().position(|slot| slot.group == id && slot.commands.is_ok());
            let known = known.map(|at| former.swap_remove(at));
            let floor = known.as_ref().and_then(|slot| slot.floor);
            let opened = match known.map(|slot| slot.commands) {
                Some(Ok(commands)) => match commands.listen() {
                    Ok(heard) => Ok((commands, heard)),
                    Err(error) => Err(format!("group {}: keeper: {error}", group.settings.name)),
                },
                _ => {
                    let path = path_of(view, id);
                    let kept = keeper::read(&path).map_err(|error| error.to_string());
                    kept.map(|kept| {
                        Commands::start(Keeper::open(view.node, id, (boot, start), kept), path)
                    })
                }
            };
            let commands = opened.map(|(commands, heard)| {
                tokio::spawn(pass_on(place, heard, ends.clone()));
                commands
            });
            if let Err(trouble) = &commands {
                tracing::error!(group = group.settings.name, trouble, "no keeper");
            }
            keepers.0.insert(place, Slot { group: id, commands, floor });
        }
        keepers
    }

    /// Hands a command over; false when it is lost.
    pub fn command(&self, group: GroupIndex, id: StepId, command: EngineCommand) -> bool {
        match self.0.get(&group).map(|slot| &slot.commands) {
            Some(Ok(commands)) => commands.step(id, command).is_ok(),
            _ => true, // Nobody who has said anything yet: its decider waits for it.
        }
    }

    /// Highest record version that the keeper of a group has stored.
    pub fn floor(&self, group: GroupIndex) -> Option<Version> {
        self.0.get(&group)?.floor
    }

    /// Why the keeper of a group does not work.
    pub fn trouble(&self, group: GroupIndex) -> Option<&str> {
        self.0.get(&group)?.commands.as_ref().err().map(String::as_str)
    }
}

/// Tells the loop what a keeper says, until one of both is gone.
async fn pass_on(group: GroupIndex, mut heard: mpsc::Receiver<Of>, ends: mpsc::Sender<End>) {
    while let Some(event) = heard.recv().await {
        if ends.send(End::Kept { group, event }).await.is_err() {
            return;
        }
    }
}

impl Daemon {
    /// Takes what a keeper says.
    pub(super) fn kept(&mut self, group: GroupIndex, event: Of) {
        if let (Of::Engine(status), Some(slot)) = (&event, self.keepers.0.get_mut(&group)) {
            slot.floor = slot.floor.max(status.record.map(|record| record.version));
        }
        self.event(Event::Arbitration { group, event });
    }

    /// The disk of a keeper hangs: its steps are lost.
    pub(super) fn keeper_hangs(&mut self, group: GroupIndex) {
        let Some(slot) = self.keepers.0.get(&group) else { return };
        let volume = seat_of(slot.group);
        tracing::error!(group = %slot.group, "the keeper takes no commands: its disk hangs");
        self.event(Event::Arbitration { group, event: Of::EngineGone { volume } });
    }
}
