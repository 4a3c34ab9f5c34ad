//! What a group tells of itself: to people, to the peer, and to the daemon that comes after.

use super::Group;
use super::event::{Loss, PeerGroup};
use super::state::{Power, State};
use crate::decide::settings::ResourceIndex;
use serde::{Deserialize, Serialize};

/// What outlives a restart of the daemon, within a boot of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// An operator has stopped the group.
    pub stopped: bool,
    /// It failed here for good.
    pub barred: bool,
    /// The cluster service was stopped here without passing it on.
    pub held_down: bool,
    /// Names of the resources that an operator has stopped one by one: places move with a change
    /// of the configuration.
    pub off: Vec<String>,
}

/// A snapshot of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// What people call it.
    pub name: String,
    /// What it does here.
    pub state: State,
    /// An operator has stopped it.
    pub stopped: bool,
    /// It failed here for good: nobody but an operator tries again.
    pub barred: bool,
    /// Why arbitration did not make this node the owner, the last time that it refused.
    pub refused: Option<String>,
    /// Why it was lost, the last time.
    pub last_loss: Option<Loss>,
    /// An operator's request under way.
    pub request: Option<u64>,
    /// Its resources, in order.
    pub resources: Vec<ResourceView>,
}

/// A snapshot of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceView {
    /// What people call it.
    pub name: String,
    /// unknown, off, on, starting or stopping (busy), half-on, unstoppable.
    pub power: &'static str,
    /// An operator has stopped it.
    pub stopped: bool,
    /// No attempt to start is left.
    pub given_up: bool,
    /// Starts that failed in a row.
    pub failed_starts: u32,
    /// Failovers that it has caused.
    pub failovers: u32,
    /// Last failure.
    pub failure: Option<String>,
}

impl Group {
    /// What is known, for `status`. Mirrors are shown as their engines: see the arbitration's view.
    pub fn view(&self) -> GroupView {
        let resources = self.settings.resources.iter().zip(&self.resources);
        GroupView {
            name: self.settings.name.clone(),
            state: self.state,
            stopped: self.stopped,
            barred: self.barred,
            refused: self.refused.as_ref().map(|why| format!("{why:?}")),
            last_loss: self.last_loss,
            request: self.asked.map(|asked| asked.request.0),
            resources: resources
                .enumerate()
                .map(|(index, (settings, resource))| ResourceView {
                    name: settings.name.clone(),
                    power: self.power_word(index),
                    stopped: !resource.wanted,
                    given_up: resource.given_up,
                    failed_starts: resource.failed_starts,
                    failovers: resource.failovers,
                    failure: resource.failure.clone(),
                })
                .collect(),
        }
    }

    fn power_word(&self, index: usize) -> &'static str {
        use super::event::Act;
        if self.is_mirror(index) {
            return if self.state.is_online() { "on" } else { "off" };
        }
        match self.resources[index].power {
            Power::Unknown => "unknown",
            Power::Off => "off",
            Power::On => "on",
            Power::HalfOn => "half-on",
            Power::Unstoppable => "unstoppable",
            Power::Busy(id) => match self.calls.get(&id).map(|call| call.act) {
                Some(Act::Check) => "checking",
                Some(Act::Start) => "starting",
                Some(Act::Kill) => "killing",
                Some(Act::Stop) | None => "stopping",
            },
        }
    }

    /// What a resource is.
    pub fn power_of(&self, index: ResourceIndex) -> Option<Power> {
        self.resources.get(index.0).map(|resource| resource.power)
    }

    /// Whether a resource is on here by right; a mirror is, while the group is online.
    pub fn is_active(&self, index: ResourceIndex) -> bool {
        let on = |resource: &super::Resource| resource.power == Power::On;
        let known = self.resources.get(index.0);
        let mirror = index.0 < self.resources.len() && self.is_mirror(index.0);
        self.state.is_online() && (mirror || known.is_some_and(on))
    }

    /// What the next heartbeat says of it.
    pub fn peer_group(&self) -> PeerGroup {
        PeerGroup {
            state: self.state,
            stopped: self.stopped,
            held_down: self.held_down,
            barred: self.barred || self.is_unfit(),
        }
    }

    /// What the next daemon of this boot has to know.
    pub fn memory(&self) -> Memory {
        let resources = self.settings.resources.iter().zip(&self.resources);
        let off = resources.filter(|(_, resource)| !resource.wanted);
        Memory {
            stopped: self.stopped,
            barred: self.barred,
            held_down: self.held_down,
            off: off.map(|(settings, _)| settings.name.clone()).collect(),
        }
    }
}
