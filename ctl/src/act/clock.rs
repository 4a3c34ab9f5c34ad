//! The only file of the control plane that reads a clock.
//! Ticks are CLOCK_BOOTTIME, as in the engine on the same host, so that both can be compared.

use lockstep_engine::units::Tick;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the host booted, time asleep included.
pub fn now() -> Tick {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Tick(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Milliseconds of the wall clock since 1970; for people only.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Time from now until `tick`; zero when it has passed.
pub fn until(tick: Tick) -> Duration {
    Duration::from_nanos(tick.since(now()).0)
}
