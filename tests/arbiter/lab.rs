//! A store of a test: what the races need of it, whatever kind it is.

use crate::words::{PROOF_A, PROOF_B, heard};
use lockstep_ctl::act::arbiter::Arbiter;
use lockstep_ctl::decide::event::ReadResult;
use lockstep_engine::units::NodeId;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Deadline of calls that are to succeed.
pub const AMPLE: Duration = Duration::from_secs(10);

/// A store, empty at first, and two nodes that can reach it.
pub trait Lab {
    /// The directory below which each node keeps its own files.
    fn state(&self) -> &Path;

    /// A handle as a daemon of `node` makes it at its start, with the files of `state`.
    fn handle_with(
        &self,
        state: &Path,
        node: NodeId,
        own: u128,
        deadline: Duration,
    ) -> Arc<dyn Arbiter>;

    /// The same with the files of this store.
    fn handle(&self, node: NodeId, own: u128, deadline: Duration) -> Arc<dyn Arbiter> {
        self.handle_with(self.state(), node, own, deadline)
    }

    /// Puts these bytes where the record belongs, past all rules.
    fn plant(&self, bytes: &[u8]);

    /// Takes the record away, past all rules.
    fn delete(&self);
}

/// What can happen to a store that is a process behind a network.
pub trait Faults: Lab {
    /// The next write takes effect, and its answer is lost: the connection breaks, or falls silent.
    fn lose_next_answer(&self, silent: bool);

    /// The next write is kept on its way until `release`, whatever its sender does meanwhile.
    fn hold_next_write(&self);

    /// Whether a write is held.
    fn is_held(&self) -> bool;

    /// Lets what is held arrive, and waits until the store has answered it.
    fn release(&self);

    /// Kills the store and starts it again.
    fn restart(&mut self);

    /// Stands the store still, or lets it go on.
    fn freeze(&self, frozen: bool);
}

/// Two handles that have proved each other. The first calls leave the proofs.
pub async fn proved(lab: &dyn Lab) -> (Arc<dyn Arbiter>, Arc<dyn Arbiter>) {
    proved_as(lab, [PROOF_A, PROOF_B], AMPLE).await
}

/// The same, with another deadline.
pub async fn proved_within(
    lab: &dyn Lab,
    deadline: Duration,
) -> (Arc<dyn Arbiter>, Arc<dyn Arbiter>) {
    proved_as(lab, [PROOF_A, PROOF_B], deadline).await
}

/// The same, with other proofs: the first one becomes the pair's id.
pub async fn proved_as(
    lab: &dyn Lab,
    [own_a, own_b]: [u128; 2],
    deadline: Duration,
) -> (Arc<dyn Arbiter>, Arc<dyn Arbiter>) {
    let a = lab.handle(NodeId::A, own_a, deadline);
    let b = lab.handle(NodeId::B, own_b, deadline);
    for store in [&a, &b] {
        assert_eq!(store.read().await, ReadResult::Failed, "nothing is believed unproved");
    }
    a.tell(heard(own_b));
    b.tell(heard(own_a));
    for store in [&a, &b] {
        assert_eq!(store.read().await, ReadResult::Absent, "{:?}", store.health());
    }
    (a, b)
}
