//! Entry point of the engine process.

use clap::{Parser, Subcommand};
use lockstep_engine::config::{EngineConfig, key_exposed};
use lockstep_engine::offline::{self, Permission};
use lockstep_engine::{error::StartError, node};
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The data plane of one mirrored volume.
#[derive(Parser)]
#[command(name = "lockstep-engine", version = lockstep_nbd::VERSION)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// Exit code of `inspect` where something is damaged, or nothing is there: as `lockstep` says that
/// something needs attention.
const DAMAGED: u8 = 4;

/// For scripts.
const INSPECT_CODES: &str = "Exit codes:\n  0  sound\n  1  can't be read\n  2  command line is \
                             wrong\n  4  damaged, or never formatted";

#[derive(Subcommand)]
enum Verb {
    /// Serve the volume.
    Run {
        /// Engine configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Prepare both partitions of this node: a fresh copy that must be filled whole.
    Format {
        /// Engine configuration.
        #[arg(long)]
        config: PathBuf,
        /// Overwrite whatever is there.
        #[arg(long)]
        force: bool,
        /// Keep a file system on the data partition that ends before the last 1 MiB.
        #[arg(long)]
        adopt: bool,
    },
    /// Explain a cluster partition, or one page of it. Never writes.
    #[command(after_help = INSPECT_CODES)]
    Inspect {
        /// Partition or file.
        path: PathBuf,
        /// Only this page.
        #[arg(long)]
        page: Option<u64>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let (done, config) = match Cli::parse().verb {
        Verb::Run { config } => (run(&config), Some(config)),
        Verb::Format { config, force, adopt } => {
            (format(&config, Permission { force, adopt }), Some(config))
        }
        Verb::Inspect { path, page, json } => (inspect(&path, page, json), None),
    };
    done.unwrap_or_else(|message| {
        // The next command needs the same configuration.
        let message = match config {
            Some(config) => with_config(&message, &config),
            None => message,
        };
        eprintln!("lockstep-engine: {message}");
        ExitCode::FAILURE
    })
}

/// The message with the configuration in the commands that it names.
fn with_config(message: &str, config: &Path) -> String {
    let named = format!("`lockstep-engine format --config {}", config.display());
    message.replace("`lockstep-engine format", &named)
}

fn told(error: impl Display) -> String {
    error.to_string()
}

fn run(config: &Path) -> Result<ExitCode, String> {
    let config = EngineConfig::load(config).map_err(StartError::Config).map_err(told)?;
    node::run(config).map_err(told)?;
    Ok(ExitCode::SUCCESS)
}

fn format(config: &Path, permission: Permission) -> Result<ExitCode, String> {
    let config = EngineConfig::load(config).map_err(told)?;
    let mut waiting =
        |path: &Path| eprintln!("{}: waiting for the previous engine to drain", path.display());
    let made = offline::format(&config, permission, &mut waiting).map_err(told)?;
    if let Some(exposed) = key_exposed(&config.link.key_file) {
        eprintln!("{exposed}");
    }
    for path in &made.buffered {
        eprintln!("{}: no direct I/O here; for labs only", path.display());
    }
    println!(
        "volume {} ({}), node {}: {} bytes exported, {} bytes of metadata, pair tag {}",
        config.volume.name, config.volume.id, config.node, made.size, made.metadata, made.pair_tag
    );
    Ok(ExitCode::SUCCESS)
}

fn inspect(path: &Path, page: Option<u64>, json: bool) -> Result<ExitCode, String> {
    let found = offline::inspect(path, page, json).map_err(told)?;
    // A reader that has seen enough (`| head`) is no failure worth a trace.
    std::io::stdout().write_all(found.text.as_bytes()).map_err(told)?;
    Ok(if found.sound { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}
