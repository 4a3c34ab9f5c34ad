//! Making a range zeroes with whatever the device can do: deallocate, zero in place, or write.
//! Always: with `fua` the last step is a sync; a refused way is not tried again on this device.

use super::super::bufs::LARGE_BYTES;
use crate::replica::event::DiskError;
use crate::units::Extent;
use crate::uring::buffers::Lease;
use crate::uring::{File, Op, Zeroing};

/// Ways that the device has refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Support {
    no_punch: bool,
    no_keep: bool,
}

/// One zeroing under way.
#[derive(Debug)]
pub struct Zero {
    at: Extent,
    fua: bool,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Deallocating. Leaves for `Sync` or the end; refused, for `Keep`.
    Punch,
    /// Zeroing in place. Leaves for `Sync` or the end; refused, for `Write`.
    Keep,
    /// Writing zeroes, so many bytes done. Leaves for `Sync` or the end.
    Write { done: u32 },
    /// Making it stable. Leaves for the end.
    Sync,
}

/// What comes after a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Another op.
    Again,
    /// The end.
    Over(Result<(), DiskError>),
}

impl Zero {
    /// The best way that the device has not refused yet.
    pub fn new(at: Extent, punch: bool, fua: bool, support: &Support) -> Zero {
        let step = if punch && !support.no_punch {
            Step::Punch
        } else if !support.no_keep {
            Step::Keep
        } else {
            Step::Write { done: 0 }
        };
        Zero { at, fua, step }
    }

    /// The op of the present step.
    pub fn op(&self, data: &File, zeroes: &Lease) -> Op {
        let (file, at, len) = (data.clone(), self.at.offset, u64::from(self.at.len));
        match self.step {
            Step::Punch => Op::Zero { file, at, len, how: Zeroing::Punch },
            Step::Keep => Op::Zero { file, at, len, how: Zeroing::Keep },
            Step::Write { done } => {
                let len = (self.at.len - done).min(large());
                let (at, bytes) = (at + u64::from(done), zeroes.clone());
                Op::Write { file, at, bytes, from: 0, len, dsync: false }
            }
            Step::Sync => Op::Sync { file },
        }
    }

    /// The present step ended.
    pub fn step(&mut self, result: Result<u32, DiskError>, support: &mut Support) -> Next {
        let refused = matches!(result, Err(DiskError { errno }) if cannot(errno));
        self.step = match (self.step, result) {
            (Step::Punch, Err(_)) if refused => {
                support.no_punch = true;
                if support.no_keep { Step::Write { done: 0 } } else { Step::Keep }
            }
            (Step::Keep, Err(_)) if refused => {
                support.no_keep = true;
                Step::Write { done: 0 }
            }
            (_, Err(error)) => return Next::Over(Err(error)),
            (Step::Write { .. }, Ok(0)) => {
                return Next::Over(Err(DiskError { errno: libc::EIO }));
            }
            (Step::Write { done }, Ok(moved)) if done + moved < self.at.len => {
                Step::Write { done: done + moved }
            }
            (Step::Sync, Ok(_)) => return Next::Over(Ok(())),
            (_, Ok(_)) if self.fua => Step::Sync,
            (_, Ok(_)) => return Next::Over(Ok(())),
        };
        Next::Again
    }
}

fn large() -> u32 {
    u32::try_from(LARGE_BYTES).expect("a slot has some hundred KiB")
}

fn cannot(errno: i32) -> bool {
    matches!(errno, libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Result<u32, DiskError> = Err(DiskError { errno: libc::EOPNOTSUPP });

    #[test]
    fn a_device_that_can_do_nothing_is_written_to() {
        let mut support = Support::default();
        let at = Extent::new(4096, 512 << 10);
        let mut zero = Zero::new(at, true, true, &support);
        assert_eq!(zero.step(NO, &mut support), Next::Again);
        assert_eq!(zero.step(NO, &mut support), Next::Again);
        assert_eq!(zero.step, Step::Write { done: 0 });
        assert_eq!(zero.step(Ok(256 << 10), &mut support), Next::Again);
        assert_eq!(zero.step(Ok(256 << 10), &mut support), Next::Again);
        assert_eq!(zero.step, Step::Sync);
        assert_eq!(zero.step(Ok(0), &mut support), Next::Over(Ok(())));
        assert_eq!(Zero::new(at, true, false, &support).step, Step::Write { done: 0 });
    }

    #[test]
    fn an_error_is_not_a_refusal() {
        let mut support = Support::default();
        let mut zero = Zero::new(Extent::new(0, 4096), false, false, &support);
        let broken = Err(DiskError { errno: libc::EIO });
        assert_eq!(
            zero.step(broken, &mut support),
            Next::Over(Err(DiskError { errno: libc::EIO }))
        );
        assert_eq!(Zero::new(Extent::new(0, 4096), false, false, &support).step, Step::Keep);
    }
}
