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
    /// R13: pings are answered while an own takeover is prepared or under way.
    PongWhileTakingOver,
    /// R14: answers are held without end while no decision comes.
    SuspendForever,
    /// R14: a primary that learns of another one goes on.
    ServeWhenReplaced,
    /// R21: what the peer remembers of this copy's life counter is not asked.
    ForgetHeardLife,
    /// R22: a region leaves the intent log before its bitmap page is durable.
    RetireBeforeBitmap,
    /// R23: the blocks of a damaged bitmap page count as equal.
    TrustDamagedBitmap,
    /// R27 (1): writes are answered by one node until the peer is a member.
    GrowWithoutTighten,
    /// R27 (3): the peer becomes a member without a flush.
    GrowWithoutFlush,
    /// R27 (4): the peer's word that it has stored its new state is not waited for.
    GrowBeforePersisted,
    /// R29: resync pieces in flight are bounded by nothing but the buffers.
    IgnoreSyncWindow,
    /// R30: a peer that answers pings and reports nothing is waited for.
    WaitForeverForReports,
    /// R42: in `received`, reports of an earlier engine of the peer count.
    KeepReportsOfDeadEngine,
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
        Mutant::PongWhileTakingOver,
        Mutant::SuspendForever,
        Mutant::ServeWhenReplaced,
        Mutant::ForgetHeardLife,
        Mutant::RetireBeforeBitmap,
        Mutant::TrustDamagedBitmap,
        Mutant::GrowWithoutTighten,
        Mutant::GrowWithoutFlush,
        Mutant::GrowBeforePersisted,
        Mutant::IgnoreSyncWindow,
        Mutant::WaitForeverForReports,
        Mutant::KeepReportsOfDeadEngine,
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
        ACTIVE.with(|active| active.get() & (1 << self as u32) != 0)
    }

    /// Breaks these rules in this thread, and no others.
    #[cfg(lockstep_mutants)]
    pub fn set(mutants: &[Mutant]) {
        let mask = mutants.iter().fold(0, |mask, mutant| mask | 1 << *mutant as u32);
        ACTIVE.with(|active| active.set(mask));
    }
}

#[cfg(lockstep_mutants)]
thread_local! {
    /// One bit for each broken rule.
    static ACTIVE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
