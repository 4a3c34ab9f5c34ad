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
    /// R10: a restarted engine is promoted without asking the arbiter.
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
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    impl Mutant {
        /// Whether the rule is broken in this thread.
        pub fn on(self) -> bool {
            ON.get() == Some(self)
        }
    }

    /// Breaks one rule in this thread, or none.
    pub fn set(mutant: Option<Mutant>) {
        ON.set(mutant);
    }
}

#[cfg(lockstep_mutants)]
pub use switch::set;
