//! One node's copy of a group's record, and what becomes of two that meet. Pure. Always: a copy
//! takes only what is known to have grown out of it; one version that was written twice is a
//! split, which nothing here ever mends: an operator discards one side.

use crate::decide::record::Record;
use lockstep_engine::units::{Nonce, Version};
use serde::{Deserialize, Serialize};

/// Versions whose nonces a copy remembers, the newest included.
pub const PAST_MAX: usize = 64;

/// A copy.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordCopy {
    /// The newest record, when there is one.
    pub record: Option<Record>,
    /// Versions up to that of the record with their nonces, oldest first.
    pub past: Vec<(Version, Nonce)>,
}

/// What two copies are to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Met {
    /// Equal.
    Same,
    /// Ours has grown into theirs.
    Older,
    /// Theirs has grown into ours.
    Newer,
    /// This version was written on each side apart; or so much was written since they met that
    /// nobody can tell.
    Split {
        /// The version.
        at: Version,
    },
}

impl RecordCopy {
    /// Version of the record; 0 when there is none.
    pub fn version(&self) -> Version {
        self.record.as_ref().map_or(Version(0), |record| record.version)
    }

    fn nonce(&self, version: Version) -> Option<Nonce> {
        self.past.iter().find(|(known, _)| *known == version).map(|(_, nonce)| *nonce)
    }

    /// What this copy is to the other one.
    pub fn meet(&self, other: &RecordCopy) -> Met {
        let (mine, theirs) = (self.version(), other.version());
        let both = mine.min(theirs);
        if both > Version(0)
            && (self.nonce(both).is_none() || self.nonce(both) != other.nonce(both))
        {
            let differs = |(version, nonce): &&(Version, Nonce)| {
                other.nonce(*version).is_some_and(|theirs| theirs != *nonce)
            };
            let at = self.past.iter().find(differs).map_or(both, |(version, _)| *version);
            return Met::Split { at };
        }
        match mine.cmp(&theirs) {
            std::cmp::Ordering::Equal => Met::Same,
            std::cmp::Ordering::Less => Met::Older,
            std::cmp::Ordering::Greater => Met::Newer,
        }
    }

    /// This copy with `next` on top, if its newest version is `expected`.
    pub fn swapped(&self, expected: Option<Version>, next: &Record) -> Option<RecordCopy> {
        let fits = self.record.as_ref().map(|record| record.version) == expected
            && next.version.0 == self.version().0 + 1;
        fits.then(|| {
            let mut past = self.past.clone();
            past.push((next.version, next.nonce));
            let surplus = past.len().saturating_sub(PAST_MAX);
            past.drain(..surplus);
            RecordCopy { record: Some(next.clone()), past }
        })
    }

    /// Whether that write is the newest here, or was once.
    pub fn holds(&self, written: &Record) -> bool {
        self.nonce(written.version) == Some(written.nonce)
    }

    /// Whether the parts belong together, as those of every copy that was made here.
    pub fn is_sound(&self) -> bool {
        let ends = self.past.last().map(|(version, nonce)| (*version, *nonce));
        let newest = self.record.as_ref().map(|record| (record.version, record.nonce));
        let ascending = self.past.windows(2).all(|two| two[0].0.0 + 1 == two[1].0.0);
        ends == newest && ascending && self.past.len() <= PAST_MAX
    }
}
