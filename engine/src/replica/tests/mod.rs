//! Two replicas in virtual time, without the rest of the world: what needs large volumes, or long
//! loads, or a count of what is on its way.

mod attempts;
mod bits;
mod grow;
mod outlived;
mod pace;
mod pair;
mod parted;
mod reborn;
mod repair;
mod resent;
mod set_back;
