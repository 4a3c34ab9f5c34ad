//! Which pieces of a resync are compared before they are sent (R24).
//! Always: what is not compared is sent, so a wrong guess costs bandwidth and nothing else.
//!
//! Comparing makes both nodes read and hash what the target is about to overwrite. That pays where
//! most blocks are equal, as after a crash, when whole regions count as dirty. It is waste where
//! every block differs, as with the exact bits of a long absence. What was found last decides.

/// Pieces sent without a look after one that differed in every block, at most.
const BLIND_MAX: u32 = 15;

/// What the last comparisons came to.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    run: u32,
    blind: u32,
}

impl Sampling {
    /// Whether to compare the piece that starts now.
    pub fn compares(&mut self) -> bool {
        let compares = self.blind == 0;
        self.blind = self.blind.saturating_sub(1);
        compares
    }

    /// A comparison ended; `nothing_equal` says that every block differed.
    pub fn found(&mut self, nothing_equal: bool) {
        self.run = if nothing_equal { (self.run * 2).clamp(1, BLIND_MAX) } else { 0 };
        self.blind = self.run;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_equal_block_brings_comparing_back() {
        let mut sampling = Sampling::default();
        assert!(sampling.compares());
        sampling.found(true);
        assert!(!sampling.compares());
        assert!(sampling.compares());
        sampling.found(true);
        sampling.found(false);
        assert!((0..100).all(|_| sampling.compares()));
    }

    #[test]
    fn where_nothing_is_equal_few_are_compared() {
        let mut sampling = Sampling::default();
        let mut compared = 0;
        for _ in 0..1_600 {
            if sampling.compares() {
                compared += 1;
                sampling.found(true);
            }
        }
        assert!((100..=105).contains(&compared), "{compared}");
    }
}
