//! The shell: the only room where replica meets uring. One thread runs everything but digests.
//! Always: the replica decides, the lanes carry out; a panic ends the process with a message, for
//! a half-known state must not go on answering.

pub mod admin_lane;
mod bufs;
mod client_lane;
mod clock;
mod device_lane;
mod digest;
mod disk_lane;
mod hub;
mod listen;
mod metrics;
mod notes;
mod outbox;
mod peer_lane;
mod poll;
mod port;
mod privileges;
mod reactor;
mod recovery;
#[cfg(test)]
mod rig;
mod start;

use crate::config::EngineConfig;
use crate::error::StartError;

/// Serves the volume until a stop signal or `Shutdown` of the daemon has been carried out.
///
/// # Errors
/// What kept the engine from starting, or the ring from going on. Nothing is half done then.
pub fn run(config: EngineConfig) -> Result<(), StartError> {
    log_to_stderr();
    abort_on_panic();
    let mut reactor = start::start(&config)?;
    reactor.serve()
}

fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("LOCKSTEP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    if logger.with_target(false).with_ansi(ansi).try_init().is_err() {
        tracing::debug!("a logger is installed already");
    }
}

fn abort_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        tracing::error!("this is a bug of the engine; the process ends so that nothing goes wrong");
        std::process::abort();
    }));
}
