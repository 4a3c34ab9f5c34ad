//! The control plane of Lockstep.

pub mod act;
pub mod decide;
