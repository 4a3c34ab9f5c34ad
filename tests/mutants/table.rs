//! Which story or seed finds which bug, and what the judge then says.

/// Where a bug shows.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// A seed of the simulator.
    Seed(u64),
    /// A story of `tests/scenarios`.
    Story(&'static str),
}

/// A bug that the judge finds.
pub struct Found {
    /// Its name.
    pub name: &'static str,
    /// Where it shows.
    pub how: How,
    /// How the violation begins.
    pub property: &'static str,
}

/// A bug that shows only when another rule is broken too.
pub struct Masked {
    /// Its name.
    pub name: &'static str,
    /// The rules that mask it.
    pub by: &'static [&'static str],
    /// The story in which all of them together show.
    pub story: &'static str,
    /// How the violation begins.
    pub property: &'static str,
}

const fn seed(name: &'static str, seed: u64, property: &'static str) -> Found {
    Found { name, how: How::Seed(seed), property }
}

const fn story(name: &'static str, story: &'static str, property: &'static str) -> Found {
    Found { name, how: How::Story(story), property }
}

/// Every bug that the judge finds by itself: those of the mirror, of the decider, of groups.
pub const FOUND: &[Found] = &[
    story("AckBeforePeer", "asymmetric-link", "P1 (acknowledged"),
    story("ClearIntentOnAck", "primary-loses-the-peers-data", "P4"),
    seed("SkipOverlapLock", 2, "node a: overlapping writes on one disk"),
    story("ForgetIntentOnCrash", "survivor-reconciles-first", "R43 (read)"),
    seed("AcceptOldEpoch", 2, "P7"),
    story("AcceptOldSession", "old-frames-are-refused", "P7"),
    seed("PromoteNotMember", 13, "P3"),
    seed("GrowWithoutDrain", 152, "P1 (became a member"),
    story("KeepAcksOfDeadLife", "b-reboots-faster-than-any-time-out", "P1 (flush answered"),
    story("FlushLocallyOnly", "write-read-flush", "P1 (flush answered"),
    seed("TrustRestoredSnapshot", 40, "P1 (at the end)"),
    seed("ReadThroughWrite", 10, "P1 (took over"),
    story("ReadBeforeReconcile", "a-reads-and-dies-before-reconciling", "P1 (took over"),
    seed("AckBeforeRecord", 10, "R6: stores that the peer is a member"),
    seed("ReadWithoutLease", 530, "R43 (read)"),
    story("TargetStaysConsistent", "target-dies-in-the-middle", "R26"),
    story("ClearBitsOnEqualGeneration", "missed-end-of-resync", "P1 (became a member"),
    story("AckBeforeAdoption", "generation-change-is-a-barrier", "R8"),
    story("WriteBeforeIntent", "no-answer-before-the-generation-is-durable", "P4"),
    seed("GreetBeforeReaped", 36, "P7"),
    seed("IgnoreOpenAttempt", 14, "R4: stores an open attempt"),
    story("PongWhileTakingOver", "takeover-lands-late", "R13: node b answers a ping"),
    story("SuspendForever", "daemon-a-away-nothing-decides", "P6"),
    story("ServeWhenReplaced", "a-learns-that-b-took-over", "R14"),
    story("ForgetHeardLife", "snapshot-restored-on-b-long-after", "P3"),
    seed("RetireBeforeBitmap", 1, "P4"),
    story("TrustDamagedBitmap", "bitmap-page-rots", "P1 (became a member"),
    seed("GrowWithoutTighten", 18, "P1 (acknowledged"),
    seed("GrowWithoutFlush", 21, "P1 (became a member"),
    story("GrowBeforePersisted", "grow-with-write-in-flight", "R27"),
    story("IgnoreSyncWindow", "primary-loses-the-peers-data", "R29"),
    story("WaitForeverForReports", "b-reports-nothing", "P6"),
    story("KeepReportsOfDeadEngine", "received-mode-b-loses-a-queued-write", "P1 (flush answered"),
    seed("CloseAttemptByReading", 50, "R4: node"),
    seed("SwapBeforeAttemptStored", 27, "P1 (became a member"),
    story("UnknownCountsAsLost", "move-lands-late", "R4: node a serves"),
    story("LoosenBeforeShrink", "b-crashes-a-goes-solo", "R1"),
    story("GrowWithoutNeed", "grow-with-write-in-flight", "R27"),
    story("TakeoverWithoutEvidence", "takeover-lands-late", "§1.2"),
    seed("TakeoverWithoutMark", 127, "P1 (flush answered"),
    story("TakeoverBeforeLease", "no-stale-reads-after-failover", "R13: node b sends its takeover"),
    story("AnswerWhileTakingOver", "takeover-lands-late", "R13: node b answers a heartbeat"),
    seed("NoFastFence", 18, "R13"),
    story("ResumeAfterReboot", "a-reboots-faster-than-any-time-out", "P7"),
    story("StartWithoutGrace", "a-boots-alone-while-b-takes-over", "P1 (took over"),
    story("BelieveRollback", "arbiter-is-set-back", "§3.1"),
    story("PromoteWithoutRead", "arbiter-is-set-back", "§3.1"),
    story("MoveBeforeDemote", "move-there-and-back", "§1.1"),
    story("StartBeforePromotion", "group-moves-there-and-back", "(b)"),
    story("StopOutOfOrder", "group-moves-there-and-back", "(b)"),
    story("PassWhileOn", "group-moves-there-and-back", "(a)"),
    story("ReleaseBeforeFence", "group-failed-disk", "(a)"),
    story("PassUnconfirmedFence", "group-fence-is-not-confirmed", "(a)"),
    story("OutliveLease", "group-fence-is-not-confirmed", "(a)"),
    story("LengthenLease", "group-restart-does-not-lengthen-a-lease", "(a)"),
    seed("FailBackUnsynced", 5, "(c)"),
    story("StartWhatWasStopped", "group-stop-goes-on-after-a-restart", "(d)"),
    story("AdoptWhatStops", "group-stop-goes-on-after-a-restart", "(d)"),
    story("ClaimOnce", "group-refused-once", "(c)"),
    story("WaitAfterRelease", "group-released-in-vain", "(c)"),
];

/// Every bug that another rule masks; both rules stay.
pub const MASKED: &[Masked] = &[Masked {
    name: "ServeWithoutLease",
    by: &["PromoteWithoutRead"],
    story: "engine-of-an-isolated-owner-returns",
    property: "R13: a accepts clients",
}];

/// Bugs that take a history which neither seeds nor stories have: a heartbeat that comes after its
/// sender has come back. The decider's own tests find them, with the same switch.
pub const FOUND_BY_THE_DECIDERS_TESTS: &[&str] = &["ResumeWhatWasReleased"];
