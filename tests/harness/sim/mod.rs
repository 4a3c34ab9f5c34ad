//! A seeded, single-threaded simulator of the whole system in virtual time. Two nodes, each the
//! production replica, on-disk format and wire code, with the production decider or, in a world
//! with a group, the whole production node; everything around them is simulated. See `disk`,
//! `link` and `hands` for the fault model, `judge`, `witness` and `watch` for what is checked,
//! `seed` for a run.

pub mod arbiter;
pub mod brain;
pub mod chaos;
pub mod client;
pub mod daemon;
pub mod disk;
pub mod group;
pub mod group_chaos;
pub mod group_operator;
pub mod group_story;
pub mod hands;
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
pub mod watch;
pub mod witness;
pub mod world;
