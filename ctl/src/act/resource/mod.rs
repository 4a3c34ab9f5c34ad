//! Resources: what a group brings up and down on this host. Each effect is idempotent, ends within
//! the deadline that comes with the order, and says what it found.

pub mod spec;
