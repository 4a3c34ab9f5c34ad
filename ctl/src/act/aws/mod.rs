//! AWS: addresses that move between the nodes, and how AWS is reached.
//! Always: what is to be done is decided from what was seen, apart from the calls, so that it is
//! tested without the SDK; a call that changes something is made only when the record names this
//! node, read right before (SAFETY R4: EC2 compares nothing). The SDK is behind `lockstep-aws`, and
//! only in a build with the feature `aws`.

#[cfg(feature = "aws")]
mod aside;
pub mod cloud;
pub mod eip;
#[cfg(test)]
mod fake;
pub mod moves;
pub mod plan;
pub mod policy;
#[cfg(feature = "aws")]
mod real;
pub mod retry;
pub mod vip;
pub mod zone;

#[cfg(feature = "aws")]
pub(super) use aside::aside;
#[cfg(feature = "aws")]
pub(super) use real::within;
#[cfg(feature = "aws")]
pub use real::{Real, RealWay, leaf, settings};
