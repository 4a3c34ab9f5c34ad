//! How fast a resync may go beside client work (R28). Told how long clients waited and how much
//! they made dirty; says a rate and a window. Looks at both every `TURN`.
//! Always: without client work nothing but the cap bounds it; with client work it goes down to the
//! floor and no further, stays above the rate at which blocks become dirty, and is set free for as
//! long as what is left does not reach a new low.

use crate::limits::{PIECE_BYTES_MAX, SYNC_OPS_BUSY, SYNC_PACE_TURN};
use crate::units::{Span, Tick};

/// Clients count as working for this long after their last request: few requests are no reason to
/// let each of them wait behind a full window.
const CALM: Span = Span::millis(2_000);
/// What is left must reach a new low within this.
const GROUND: Span = Span::millis(1_000);
/// Bytes a second that a turn adds at least.
const STEP: u64 = 1 << 20;
/// Pieces that a late wake-up may make up for, as time.
const CREDIT: Span = Span::millis(2);

/// Bounds of the controller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes a second, whatever clients feel.
    pub floor: u64,
    /// Bytes a second at most; the floor gives way to it.
    pub cap: Option<u64>,
    /// What clients may wait on average.
    pub target: Span,
}

/// What one turn has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    answers: u64,
    waited_ns: u64,
    /// Bytes that clients made dirty, or dirty again.
    dirtied: u64,
    /// Bytes whose pieces were started.
    started: u64,
}

/// The controller.
#[derive(Debug)]
pub(super) struct Pace {
    bounds: Bounds,
    /// Bytes a second while clients work; kept over calm times.
    rate: u64,
    turn_began: Tick,
    seen: Seen,
    /// Clients have had work since, and nothing was answered since.
    waiting_since: Option<Tick>,
    worked_at: Option<Tick>,
    loaded: bool,
    /// Bytes a second that become dirty.
    dirty_rate: u64,
    /// The least that was left, and when that was found.
    low: u64,
    low_at: Tick,
    losing: bool,
    /// A floor of its own after ground was lost: twice what was too slow, and fading.
    ground: u64,
}

/// Bytes a second of `bytes` in `span`.
fn per_second(bytes: u64, span: Span) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / u128::from(span.0.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// Time that `bytes` take at `rate` bytes a second.
fn time_of(bytes: u64, rate: u64) -> Span {
    Span(bytes.saturating_mul(1_000_000_000) / rate.max(1))
}

impl Pace {
    pub fn new(bounds: Bounds, now: Tick) -> Pace {
        Pace {
            bounds,
            rate: bounds.floor,
            turn_began: now,
            seen: Seen::default(),
            waiting_since: None,
            worked_at: None,
            loaded: false,
            dirty_rate: 0,
            low: u64::MAX,
            low_at: now,
            losing: false,
            ground: 0,
        }
    }

    /// A resync begins: nothing is known of its ground.
    pub fn begin(&mut self, now: Tick) {
        (self.low, self.low_at, self.losing, self.ground) = (u64::MAX, now, false, 0);
        (self.turn_began, self.seen) = (now, Seen::default());
    }

    /// A client request was answered.
    pub fn answered(&mut self, waited: Span, now: Tick) {
        self.seen.answers += 1;
        self.seen.waited_ns = self.seen.waited_ns.saturating_add(waited.0);
        self.waiting_since = Some(now);
    }

    /// Clients made so many bytes dirty, or undid so many that were made equal.
    pub fn dirtied(&mut self, bytes: u64) {
        self.seen.dirtied += bytes;
    }

    /// A piece was started. Yields when the next one may, given when this one might have.
    pub fn started(&mut self, bytes: u64, due: Tick, now: Tick) -> Tick {
        self.seen.started += bytes;
        let earliest = Tick(now.0.saturating_sub(CREDIT.0));
        self.rate().map_or(due, |rate| due.max(earliest).after(time_of(bytes, rate)))
    }

    /// Looks at what happened, when it is time. `busy` says that clients have work under way,
    /// `left` how many blocks are not equal yet.
    pub fn look(&mut self, busy: bool, left: u64, now: Tick) {
        if busy {
            self.worked_at = Some(now);
            self.waiting_since.get_or_insert(now);
        } else {
            self.waiting_since = None;
        }
        self.loaded = self.worked_at.is_some_and(|at| now.since(at) < CALM);
        self.watch_ground(left, now);
        let span = now.since(self.turn_began);
        if span < SYNC_PACE_TURN {
            return;
        }
        let seen = std::mem::take(&mut self.seen);
        self.turn_began = now;
        self.ground -= self.ground / 64;
        self.dirty_rate = self.dirty_rate / 2 + per_second(seen.dirtied, span) / 2;
        if self.loaded {
            self.adapt(&seen, span, now);
        }
    }

    /// One step: towards the target from above by as much as it is missed, at most by half; from
    /// below by an eighth, as long as the rate is made use of.
    fn adapt(&mut self, seen: &Seen, span: Span, now: Tick) {
        let waited = match self.waiting_since {
            _ if seen.answers > 0 => seen.waited_ns / seen.answers,
            // Nothing was answered in a whole turn: they wait at least since the last answer.
            Some(since) if now.since(since) >= SYNC_PACE_TURN => now.since(since).0,
            _ => return,
        };
        let target = self.bounds.target.0.max(1);
        if waited > target {
            let wanted = u128::from(self.rate) * u128::from(target) / u128::from(waited);
            let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
            self.rate = wanted.max(self.rate / 2).max(self.bounds.floor);
        } else if per_second(seen.started, span) >= self.rate / 2 {
            self.rate = self.rate.saturating_add(self.rate / 8).saturating_add(STEP);
        }
        self.rate = self.rate.min(self.bounds.cap.unwrap_or(u64::MAX));
    }

    fn watch_ground(&mut self, left: u64, now: Tick) {
        if left < self.low {
            (self.low, self.low_at, self.losing) = (left, now, false);
        } else if now.since(self.low_at) >= GROUND && !self.losing {
            self.ground = self.rate.max(self.least()).saturating_mul(2);
            self.losing = true;
        }
    }

    /// Whether clients matter now.
    fn is_bound(&self) -> bool {
        self.loaded && !self.losing
    }

    /// The least rate: the floor, a quarter more than becomes dirty, or what lost ground asks for.
    fn least(&self) -> u64 {
        self.bounds.floor.max(self.ground).max(self.dirty_rate.saturating_add(self.dirty_rate / 4))
    }

    /// Bytes a second that may be started now; `None` is no bound.
    pub fn rate(&self) -> Option<u64> {
        let bound = self.is_bound().then(|| self.rate.max(self.least()));
        bound.into_iter().chain(self.bounds.cap).min()
    }

    /// Pieces that may be in flight, of `most`: what the rate needs in twice the target. At the
    /// least rate as many as that takes, however slow the disks are.
    pub fn window(&self, most: usize) -> usize {
        if !self.is_bound() || self.rate <= self.least() {
            return most;
        }
        let bytes = u128::from(self.rate) * u128::from(self.bounds.target.0) * 2 / 1_000_000_000;
        let pieces = usize::try_from(bytes / u128::from(PIECE_BYTES_MAX)).unwrap_or(usize::MAX);
        pieces.saturating_add(SYNC_OPS_BUSY).min(most)
    }
}
