//! Cluster decisions, pure: told what happened, asked what to do, asked when to be woken.
//! Imports the words of `lockstep_engine::units` and the times of `limits`, nothing that acts.

pub mod arbitration;
pub mod event;
pub mod group;
mod ids;
pub mod keeper;
pub mod monitor;
pub mod mutant;
pub mod node;
pub mod record;
pub mod settings;
pub mod step;
pub mod transition;

pub use arbitration::{ArbiterView, AttemptView, Decider, EvidenceView, Settings, View};

#[cfg(test)]
mod tests;
