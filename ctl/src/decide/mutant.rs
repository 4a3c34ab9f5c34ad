//! Deliberate bugs, one per rule, so that tests can show that they would find them. Each is asked
//! for in one line at the rule that it breaks. In ordinary builds none can be switched on.

/// A rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// R4: a read that still shows the old version closes an attempt.
    CloseAttemptByReading,
    /// R4: the request is sent before the attempt is stored.
    SwapBeforeAttemptStored,
    /// R4: a lost reply counts as a lost race.
    UnknownCountsAsLost,
    /// R1: the engine is told of a shrink before it is won.
    LoosenBeforeShrink,
    /// R1: members grow without the engine's word that both copies are equal.
    GrowWithoutNeed,
    /// §1.2: silence of one channel, or of none, is evidence.
    TakeoverWithoutEvidence,
    /// R42: the in-sync mark is not asked for.
    TakeoverWithoutMark,
    /// R13: the takeover does not wait for the old primary's lease.
    TakeoverBeforeLease,
    /// R13: heartbeats are answered while a takeover is prepared.
    AnswerWhileTakingOver,
    /// R13: the end of the lease is not acted on.
    NoFastFence,
    /// R3: a node that is not a member promotes.
    PromoteNotMember,
    /// R10: a restarted engine is promoted without asking the arbiter. The lease (R13) hides most
    /// of it; an arbiter that was set back shows it.
    PromoteWithoutRead,
    /// R42: the owner resumes in silence after its host rebooted.
    ResumeAfterReboot,
    /// §1.2: a restarted daemon lets its engine serve what an earlier one may have released.
    ResumeWhatWasReleased,
    /// §1.2: `start` alone does not wait for the boot grace.
    StartWithoutGrace,
    /// §3.1: a record that was rolled back is believed.
    BelieveRollback,
    /// §1.1: `move` passes ownership on before the engine is demoted.
    MoveBeforeDemote,
    /// R13: an owner with two members serves without a sign of its peer. Alone it does no harm that
    /// shows: a restarted engine is promoted after a fresh read only (R10), which sees a takeover,
    /// and one in service is fenced. With `PromoteWithoutRead` two nodes serve; both rules stay.
    ServeWithoutLease,
    /// A resource comes on before the engine under its mirror serves here.
    StartBeforePromotion,
    /// §1.1: the group is passed on before its resources are down.
    PassWhileOn,
    /// A resource is stopped before those that need it.
    StopOutOfOrder,
    /// §1.2: a release is announced before the fast fence is confirmed.
    ReleaseBeforeFence,
    /// R13: a fence that is not confirmed in time counts as confirmed.
    PassUnconfirmedFence,
    /// R13: resources stay on at the end of the lease and without an engine that serves.
    OutliveLease,
    /// R13: a restarted daemon gives its group a whole lease more.
    LengthenLease,
    /// The group goes back to its preferred node before that is in sync.
    FailBackUnsynced,
    /// What an operator has stopped comes up by itself.
    StartWhatWasStopped,
    /// What arbitration has refused once is not tried again.
    ClaimOnce,
    /// A daemon that restarts in the middle of a stop brings up again what was stopped.
    AdoptWhatStops,
    /// An owner that was fenced and has released waits for ever, though nobody can take over.
    WaitAfterRelease,
}

impl Mutant {
    /// All of them.
    pub const ALL: &[Mutant] = &[
        Mutant::CloseAttemptByReading,
        Mutant::SwapBeforeAttemptStored,
        Mutant::UnknownCountsAsLost,
        Mutant::LoosenBeforeShrink,
        Mutant::GrowWithoutNeed,
        Mutant::TakeoverWithoutEvidence,
        Mutant::TakeoverWithoutMark,
        Mutant::TakeoverBeforeLease,
        Mutant::AnswerWhileTakingOver,
        Mutant::NoFastFence,
        Mutant::PromoteNotMember,
        Mutant::PromoteWithoutRead,
        Mutant::ResumeAfterReboot,
        Mutant::ResumeWhatWasReleased,
        Mutant::StartWithoutGrace,
        Mutant::BelieveRollback,
        Mutant::MoveBeforeDemote,
        Mutant::ServeWithoutLease,
        Mutant::StartBeforePromotion,
        Mutant::PassWhileOn,
        Mutant::StopOutOfOrder,
        Mutant::ReleaseBeforeFence,
        Mutant::PassUnconfirmedFence,
        Mutant::OutliveLease,
        Mutant::LengthenLease,
        Mutant::FailBackUnsynced,
        Mutant::StartWhatWasStopped,
        Mutant::ClaimOnce,
        Mutant::AdoptWhatStops,
        Mutant::WaitAfterRelease,
    ];
}

#[cfg(not(lockstep_mutants))]
impl Mutant {
    /// Whether the rule is broken: never.
    #[inline]
    pub const fn on(self) -> bool {
        false
    }
}

#[cfg(lockstep_mutants)]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        /// One bit for each broken rule.
        static ON: Cell<u64> = const { Cell::new(0) };
    }

    impl Mutant {
        /// Whether the rule is broken in this thread.
        pub fn on(self) -> bool {
            ON.get() & (1 << self as u32) != 0
        }
    }

    /// Breaks these rules in this thread, and no others.
    pub fn set(mutants: &[Mutant]) {
        ON.set(mutants.iter().fold(0, |mask, mutant| mask | 1 << *mutant as u32));
    }
}

#[cfg(lockstep_mutants)]
pub use switch::set;
