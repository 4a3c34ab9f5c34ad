//! The control plane of Lockstep: the daemon that decides and acts, and the operator's verbs.

pub mod act;
pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod decide;
pub mod demo;
pub mod doctor;
pub mod exit;
pub mod status;
