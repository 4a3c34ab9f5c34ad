//! The shell: the only room where replica meets uring.

use crate::config::EngineConfig;
use crate::error::StartError;

/// Serves the volume until it is told to stop.
pub fn run(config: EngineConfig) -> Result<(), StartError> {
    drop(config);
    Err(StartError::NoDataPlane)
}
