//! Probes: one look at what a monitor watches. Each ends within the deadline of its order and
//! changes nothing.

pub mod spec;
