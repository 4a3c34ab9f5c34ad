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

impl Keepers {
    /// Opens one for each group without volumes; what they say comes as ends.
    ///
    /// # Errors
    /// The host gives no random number.
    pub fn open(
        view: &NodeView,
        boot: BootId,
        ends: &mpsc::Sender<End>,
    ) -> Result<Keepers, DaemonError> {
        let mut keepers = Keepers::default();
        for (index, group) in view.groups.iter().enumerate() {
            if !group.settings.volumes.is_empty() {
                continue;
            }
            let (place, id) = (GroupIndex(index), group.settings.id);
            let path = path_of(view, id);
            let start = StartId(host::nonce().map_err(DaemonError::Host)?.0);
            let opened = keeper::read(&path);
            let opened = opened.map(|kept| Keeper::open(view.node, id, (boot, start), kept));
            let commands = opened.map_err(|error| error.to_string()).map(|keeper| {
                let (commands, mut heard) = Commands::start(keeper, path);
                let ends = ends.clone();
                tokio::spawn(async move {
                    while let Some(event) = heard.recv().await {
                        if ends.send(End::Kept { group: place, event }).await.is_err() {
                            return;
                        }
                    }
                });
                commands
            });
            if let Err(trouble) = &commands {
                tracing::error!(group = group.settings.name, trouble, "no keeper");
            }
            keepers.0.insert(place, Slot { group: id, commands, floor: None });
        }
        Ok(keepers)
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
