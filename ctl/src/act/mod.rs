//! Effects: everything that touches the world on behalf of the decider. Each effect is idempotent
//! and ends within its own deadline; a result that comes too late may still take effect, and the
//! decider knows that (SAFETY R4).

pub mod arbiter;
pub mod aws;
pub mod clock;
pub mod engine;
pub mod events;
pub mod file;
pub mod heartbeat;
pub mod host;
pub mod installed;
pub mod keeper;
pub mod last;
pub mod launch;
pub mod mark;
pub mod peer;
pub mod probe;
pub mod resource;
pub mod signals;
pub mod suits;
pub mod work;
