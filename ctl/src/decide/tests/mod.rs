//! Two deciders over toy engines, a toy link and an arbiter that delays, loses and reorders.

mod attempts;
mod chaos;
pub(in crate::decide) mod engines;
mod lease;
#[cfg(lockstep_mutants)]
mod mutants;
mod race;
mod release;
mod seat;
mod shapes;
mod takeover;
pub(in crate::decide) mod toy;
mod two;
mod verbs;
