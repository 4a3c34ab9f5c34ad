//! A seeded, single-threaded simulator of the whole system in virtual time. Two nodes, each the
//! production replica, decider, on-disk format and wire code; everything around them is simulated.
//! See `disk` and `link` for the fault model, `judge` and `witness` for what is checked, `seed` for
//! a run.

pub mod arbiter;
pub mod chaos;
pub mod client;
pub mod daemon;
pub mod disk;
pub mod host;
pub mod judge;
pub mod link;
pub mod necessity;
pub mod node;
pub mod operator;
pub mod partition;
pub mod peers;
pub mod queue;
pub mod random;
pub mod register;
pub mod scenario;
pub mod seed;
pub mod theme;
pub mod witness;
pub mod world;
