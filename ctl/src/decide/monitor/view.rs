//! What a monitor tells of itself to people. Never an input to a decision.

use super::{Monitor, Phase, Used};
use serde::Serialize;

/// What a monitor thinks of what it watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Not looked yet, or not now.
    Unknown,
    /// As it should be.
    Fine,
    /// Worth a look; never acts.
    Warning,
    /// Bad, but not often enough in a row to act.
    Doubtful,
    /// Bad: the recovery chain runs.
    Error,
}

/// A snapshot of a monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MonitorView {
    /// What people call it.
    pub name: String,
    /// What it thinks.
    pub health: Health,
    /// Why, when it is not fine.
    pub cause: Option<String>,
    /// What it does: idle, waiting, probing, scripting.
    pub phase: &'static str,
    /// Bad probes in a row.
    pub bad: u32,
    /// Bad probes that are forgiven.
    pub retries: u32,
    /// Links of the chain used since it was fine.
    pub used: Used,
    /// An operator wants no probes.
    pub suspended: bool,
    /// Fails on purpose.
    pub dummy: bool,
}

impl Monitor {
    /// What is known, for `status`.
    pub fn view(&self) -> MonitorView {
        MonitorView {
            name: self.settings.name.clone(),
            health: self.health,
            cause: self.cause.clone(),
            phase: match self.phase {
                Phase::Idle => "idle",
                Phase::Waiting { .. } => "waiting",
                Phase::Probing { .. } => "probing",
                Phase::Scripting { .. } => "scripting",
            },
            bad: self.bad,
            retries: self.settings.retries,
            used: self.used,
            suspended: self.suspended,
            dummy: self.dummy,
        }
    }

    /// Whether an error is so grave that this node should not be handed anything: its chain would
    /// end in stopping the node.
    pub fn spoils_node(&self) -> bool {
        use crate::decide::settings::FinalAction::{None, StopGroup};
        let grave = !matches!(self.settings.recovery.final_action, None | StopGroup);
        let about_node = self.settings.recovery.target.is_some() && grave;
        self.health == Health::Error && about_node
    }
}
