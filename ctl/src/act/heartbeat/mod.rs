//! Authenticated heartbeats between the daemons, over UDP: signs of life, and answers that extend
//! leases (SAFETY R13). `packet` has the bytes, `exchange` the pure state, `paths` the sockets.

pub mod exchange;
pub mod packet;
pub mod paths;

pub use exchange::{Dropped, Exchange, Heard, Opening, Telling};
pub use packet::{GroupBeat, Pair};
pub use paths::{PathAddress, Paths};
