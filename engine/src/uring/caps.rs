//! What the kernel granted at start and what it refused: one line for the log.

use std::fmt;
use std::io;

/// Features asked for, with the answer.
#[derive(Debug, Default)]
pub struct Capabilities {
    asked: Vec<(&'static str, io::Result<()>)>,
}

impl Capabilities {
    pub(crate) fn note(&mut self, feature: &'static str, answer: io::Result<()>) {
        self.asked.push((feature, answer));
    }
    /// Whether the feature was granted.
    pub fn has(&self, feature: &str) -> bool {
        self.asked.iter().any(|(name, answer)| *name == feature && answer.is_ok())
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (feature, answer)) in self.asked.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match answer {
                Ok(()) => write!(f, "{comma}{feature} yes")?,
                Err(error) => write!(f, "{comma}{feature} refused ({error})")?,
            }
        }
        Ok(())
    }
}
