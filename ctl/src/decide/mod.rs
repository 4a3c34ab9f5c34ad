//! Cluster decisions, pure: told what happened, asked what to do, asked when to be woken.
//! Imports the words of `lockstep_engine::units` and the times of `limits`, nothing that acts.

pub mod arbitration;
pub mod event;
pub mod record;
pub mod step;

pub use arbitration::{ArbiterView, AttemptView, Decider, EvidenceView, Settings, View};
