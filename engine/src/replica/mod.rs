//! The mirror state machine. Told what happened, asked what to do, asked when to be woken.

pub mod action;
pub mod event;
pub mod settings;
