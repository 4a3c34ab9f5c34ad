//! A soak of real processes: a client whose whole history is judged as in the simulator, and faults
//! that a seed chooses. Needs root, for network namespaces.

pub mod fault;
pub mod history;
