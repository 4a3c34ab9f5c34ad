//! Themes: short sequences of faults that belong together, aimed at one rule each, with moments
//! drawn at random. They come beside the random faults of a seed, which rarely meet that closely.

use super::chaos::Fault;
use super::random::Random;
use super::world::{What, World};
use lockstep_engine::units::{NodeId, Span};

/// What a seed is about, beside its random faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Theme {
    /// The primary is cut off from everything, and comes back (R13).
    IsolatedPrimary,
    /// The standby is power-cycled, then the primary is lost (R42).
    RebornStandby,
    /// The primary's engine restarts, then the primary is lost before all is reconciled (R41).
    LostAfterRestart,
    /// The standby's disk is slow while sessions come and go (R20).
    SlowStandby,
    /// The primary reboots at once while the standby's disk still works on its writes (R20, R42).
    QuickReboot,
    /// The primary reboots while nothing passes between the nodes (§1.2).
    RebootAlone,
    /// Conditional writes land late while daemons are restarted (R4).
    LateWrites,
    /// A node dies while it is resynced, or its source does (R26, R27).
    DeadInResync,
    /// Ownership goes there and back; frames of before come late (R5).
    BackAndForth,
}

const ALL: [Theme; 9] = [
    Theme::IsolatedPrimary,
    Theme::RebornStandby,
    Theme::LostAfterRestart,
    Theme::SlowStandby,
    Theme::QuickReboot,
    Theme::RebootAlone,
    Theme::LateWrites,
    Theme::DeadInResync,
    Theme::BackAndForth,
];

impl Theme {
    /// Half of the seeds have one.
    pub fn random(random: &mut Random) -> Option<Theme> {
        random.chance(500).then(|| ALL[random.index(ALL.len())])
    }
}

impl World {
    /// Plays the theme of this seed once, around the node that serves.
    pub fn play_theme(&mut self) {
        let serving = [NodeId::A, NodeId::B].into_iter().find(|node| self.serves(*node));
        let (Some(theme), Some(primary)) = (self.plan.theme, serving) else { return };
        let standby = primary.peer();
        let mut soon = |low: u64, high: u64| self.delay_us(low * 1_000, high * 1_000);
        let long = soon(12_000, 25_000);
        let steps: Vec<(Span, Fault, Span)> = match theme {
            Theme::IsolatedPrimary => vec![(Span(0), Fault::Isolate(primary), long)],
            Theme::RebornStandby => vec![
                (Span(0), Fault::Power(standby), soon(1, 3_000)),
                (soon(1, 5_000), Fault::Isolate(primary), long),
            ],
            Theme::LostAfterRestart => vec![
                (Span(0), Fault::SlowDisk(standby), long),
                (soon(1, 3_000), Fault::KillEngine(primary), soon(1, 300)),
                (soon(3_100, 9_000), Fault::Power(primary), long),
            ],
            Theme::SlowStandby => vec![
                (Span(0), Fault::SlowDisk(standby), soon(5_000, 9_000)),
                (soon(1, 3_000), Fault::BreakLink, Span(0)),
                (soon(3_000, 6_000), Fault::BreakLink, Span(0)),
                (soon(3_000, 6_000), Fault::OldFrame(standby), Span(0)),
            ],
            Theme::QuickReboot => vec![
                (Span(0), Fault::SlowDisk(standby), soon(3_000, 6_000)),
                (soon(100, 3_000), Fault::Power(primary), soon(1, 200)),
            ],
            Theme::RebootAlone => vec![
                (Span(0), Fault::CutAll, long),
                (soon(1, 300), Fault::Power(primary), soon(1, 400)),
            ],
            Theme::LateWrites => vec![
                (Span(0), Fault::ArbiterLate(primary), soon(3_000, 9_000)),
                (soon(0, 500), Fault::CutLink, soon(1_000, 5_000)),
                (soon(1_500, 4_000), Fault::KillDaemon(primary), soon(1, 2_000)),
                (soon(2_000, 6_000), Fault::Power(standby), soon(1, 3_000)),
            ],
            Theme::DeadInResync => vec![
                (Span(0), Fault::CutLink, soon(2_000, 4_000)),
                (soon(2_000, 5_000), Fault::Power(primary), soon(1, 4_000)),
                (soon(5_000, 9_000), Fault::Power(standby), soon(1, 4_000)),
            ],
            Theme::BackAndForth => vec![
                (Span(0), Fault::Move, Span(0)),
                (soon(300, 2_000), Fault::OldFrame(primary), Span(0)),
                (soon(2_000, 4_000), Fault::Move, Span(0)),
                (soon(4_000, 5_000), Fault::OldFrame(standby), Span(0)),
                (soon(4_000, 6_000), Fault::OldFrame(standby), Span(0)),
            ],
        };
        for (after, fault, length) in steps {
            self.queue.after(after, What::Fault { fault, length });
        }
    }

    /// A fault of a theme, unless everything has been healed since.
    pub fn themed(&mut self, fault: Fault, length: Span) {
        if !self.healed {
            self.faults += 1;
            self.check_marks("at a fault");
            self.inject(fault, Some(length));
        }
    }
}
