//! Effects on real things: file systems on loop devices, programs that misbehave, addresses in
//! network namespaces, probes. Whatever needs root says so and is skipped without it.

// Helpers of tests may end in a panic, as tests do.
#![allow(clippy::unwrap_used)]

#[path = "effects/addresses.rs"]
mod addresses;
#[path = "effects/file_systems.rs"]
mod file_systems;
#[path = "effects/holders.rs"]
mod holders;
#[path = "effects/kit.rs"]
mod kit;
#[path = "effects/probes.rs"]
mod probes;
#[path = "effects/programs.rs"]
mod programs;
#[path = "effects/units.rs"]
mod units;
