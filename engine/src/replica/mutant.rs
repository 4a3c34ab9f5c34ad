//! Deliberate bugs, one line each at the rule they break, so that the judge of the simulator can
//! be shown to see. In an ordinary build `on` is a constant `false` and nothing of this remains.

/// A rule that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// R15: a write is answered when it is on the local disk only.
    AckBeforePeer,
    /// R16: intent is dropped when writes are acknowledged, not when they are flushed.
    ClearIntentOnAck,
    /// R19: overlapping writes may be in flight together.
    SkipOverlapLock,
    /// R22: regions with open intent are not taken as dirty after a crash.
    ForgetIntentOnCrash,
    /// R5: frames of an older epoch are carried out.
    AcceptOldEpoch,
    /// R20: frames of an earlier session are carried out.
    AcceptOldSession,
    /// R3: a node that is not a member may be promoted.
    PromoteNotMember,
    /// R27: the peer becomes a member while earlier writes are still on their way.
    GrowWithoutDrain,
    /// R42: acknowledgements of an earlier life of the peer's host count.
    KeepAcksOfDeadLife,
    /// R17: a flush is answered when the local disk alone is flushed.
    FlushLocallyOnly,
    /// R21: a data partition that was swapped or restored is trusted.
    TrustRestoredSnapshot,
    /// R43: a read does not wait for an overlapping write in flight.
    ReadThroughWrite,
    /// R41: after a crash, regions are read before they are reconciled.
    ReadBeforeReconcile,
    /// R6: the first solo write is answered before the record is durable.
    AckBeforeRecord,
    /// R13: reads go on after the lease.
    ReadWithoutLease,
    /// R26: a resync target does not persist that it is inconsistent.
    TargetStaysConsistent,
    /// R9: dirty bits are cleared when generations are equal.
    ClearBitsOnEqualGeneration,
    /// R8: solo writes are answered before the generation is adopted.
    AckBeforeAdoption,
    /// R15: writes start before the intent is durable.
    WriteBeforeIntent,
    /// R20: a new session starts while disk writes of the old one are in flight.
    GreetBeforeReaped,
    /// R4: an open attempt does not widen who must hold a write.
    IgnoreOpenAttempt,
}

impl Mutant {
    /// All of them.
    pub const ALL: &[Mutant] = &[
        Mutant::AckBeforePeer,
        Mutant::ClearIntentOnAck,
        Mutant::SkipOverlapLock,
        Mutant::ForgetIntentOnCrash,
        Mutant::AcceptOldEpoch,
        Mutant::AcceptOldSession,
        Mutant::PromoteNotMember,
        Mutant::GrowWithoutDrain,
        Mutant::KeepAcksOfDeadLife,
        Mutant::FlushLocallyOnly,
        Mutant::TrustRestoredSnapshot,
        Mutant::ReadThroughWrite,
        Mutant::ReadBeforeReconcile,
        Mutant::AckBeforeRecord,
        Mutant::ReadWithoutLease,
        Mutant::TargetStaysConsistent,
        Mutant::ClearBitsOnEqualGeneration,
        Mutant::AckBeforeAdoption,
        Mutant::WriteBeforeIntent,
        Mutant::GreetBeforeReaped,
        Mutant::IgnoreOpenAttempt,
    ];

    /// Whether the rule is broken in this thread.
    #[cfg(not(lockstep_mutants))]
    #[inline(always)]
    pub const fn on(self) -> bool {
        false
    }

    /// Whether the rule is broken in this thread.
    #[cfg(lockstep_mutants)]
    pub fn on(self) -> bool {
        ACTIVE.with(|active| active.get() == Some(self))
    }

    /// Breaks one rule in this thread, or none.
    #[cfg(lockstep_mutants)]
    pub fn set(mutant: Option<Mutant>) {
        ACTIVE.with(|active| active.set(mutant));
    }
}

#[cfg(lockstep_mutants)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}
