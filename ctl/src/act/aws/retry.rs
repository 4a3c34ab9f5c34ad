//! Waits between attempts. Always: each is a random part of a bound that doubles, so that nodes
//! that were refused together do not come back together; none goes past the deadline.

use super::cloud::Right;
use crate::act::{clock, host};
use lockstep_engine::units::Span;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first bound.
const FIRST: Duration = Duration::from_millis(100);
/// The last one.
const MOST: Duration = Duration::from_secs(2);

/// A right that was read longer ago is read again: this process may have been stopped in between,
/// and another node may have the group since.
const FRESH: Span = Span::millis(500);

/// Whether the record names this node, as of a moment ago.
pub(super) async fn holds(right: &dyn Right) -> bool {
    loop {
        let asked = clock::now();
        if !right.holds().await {
            return false;
        }
        if clock::now().since(asked) < FRESH {
            return true;
        }
        // A store that is always so slow gives no right: the deadline of the effect ends this.
    }
}

/// Attempts of one thing until a deadline.
pub struct Attempts {
    until: Instant,
    bound: Duration,
}

impl Attempts {
    /// Attempts until then.
    pub fn until(until: Instant) -> Attempts {
        Attempts { until, bound: FIRST }
    }

    /// Waits before the next attempt; `false` when there is no time for one.
    pub async fn again(&mut self) -> bool {
        let wait = part(self.bound, host::nonce().map_or(u128::MAX, |nonce| nonce.0));
        self.bound = (self.bound * 2).min(MOST);
        if Instant::now() + wait >= self.until {
            return false;
        }
        sleep(wait).await;
        true
    }
}

/// Between a half and the whole of `bound`.
fn part(bound: Duration, random: u128) -> Duration {
    let share = u32::try_from(random % 1000).unwrap_or(999);
    bound / 2 + bound / 2 * share / 999
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_between_a_half_and_the_whole() {
        let bound = Duration::from_millis(100);
        assert_eq!(part(bound, 0), bound / 2);
        assert_eq!(part(bound, 999), bound);
        assert!(part(bound, 500) > bound / 2 && part(bound, 500) < bound);
    }

    #[tokio::test]
    async fn attempts_end_with_the_deadline() {
        let mut attempts = Attempts::until(Instant::now() + Duration::from_millis(500));
        let mut count = 0;
        while attempts.again().await {
            count += 1;
        }
        assert!((1..=5).contains(&count), "{count}");
    }
}
