//! Big-endian reading with a bound on every step.
//! Always: a read that would pass the end yields `None` and takes nothing.

/// Bytes still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string with its 32-bit length in front.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = ahead.u32()?;
        let text = ahead.take(usize::try_from(len).ok()?)?;
        *self = ahead;
        Some(text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Copies `part` into `whole` at `at`. The offsets are constants of the callers.
pub(super) fn put<const N: usize>(whole: &mut [u8], at: usize, part: [u8; N]) {
    whole[at..at + N].copy_from_slice(&part);
}
