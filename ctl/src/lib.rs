//! The control plane of Lockstep: the daemon that decides and acts, and the operator's verbs.

pub mod act;
pub mod config;
pub mod daemon;
pub mod decide;
pub mod exit;
pub mod status;
