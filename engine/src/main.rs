//! Entry point of the engine process.

use clap::{Parser, Subcommand};
use lockstep_engine::config::EngineConfig;
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
    let done = match Cli::parse().verb {
        Verb::Run { config } => run(&config),
        Verb::Format { config, force, adopt } => format(&config, Permission { force, adopt }),
        Verb::Inspect { path, page, json } => inspect(&path, page, json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("lockstep-engine: {message}");
            ExitCode::FAILURE
        }
    }
}

fn told(error: impl Display) -> String {
    error.to_string()
}

fn run(config: &Path) -> Result<(), String> {
    let config = EngineConfig::load(config).map_err(StartError::Config).map_err(told)?;
    node::run(config).map_err(told)
}

fn format(config: &Path, permission: Permission) -> Result<(), String> {
    let config = EngineConfig::load(config).map_err(told)?;
    let mut waiting =
        |path: &Path| eprintln!("{}: waiting for the previous engine to drain", path.display());
    let made = offline::format(&config, permission, &mut waiting).map_err(told)?;
    for path in &made.buffered {
        eprintln!("{}: no direct I/O here; for labs only", path.display());
    }
    println!(
        "volume {} ({}), node {}: {} bytes exported, {} bytes of metadata, pair tag {}",
        config.volume.name, config.volume.id, config.node, made.size, made.metadata, made.pair_tag
    );
    Ok(())
}

fn inspect(path: &Path, page: Option<u64>, json: bool) -> Result<(), String> {
    let text = offline::inspect(path, page, json).map_err(told)?;
    // A reader that has seen enough (`| head`) is no failure worth a trace.
    std::io::stdout().write_all(text.as_bytes()).map_err(told)
}
