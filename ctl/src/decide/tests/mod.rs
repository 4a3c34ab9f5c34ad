//! Two deciders over toy engines, a toy link and an arbiter that delays, loses and reorders.

mod attempts;
mod chaos;
mod lease;
#[cfg(lockstep_mutants)]
mod mutants;
mod race;
mod release;
mod takeover;
pub(in crate::decide) mod toy;
mod verbs;
