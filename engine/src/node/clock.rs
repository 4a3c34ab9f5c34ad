//! The only place that reads the clock: CLOCK_BOOTTIME, once per turn of the loop.

use crate::units::Tick;
use crate::uring::sys;

/// The present.
pub fn now() -> Tick {
    Tick(sys::boottime_ns())
}
