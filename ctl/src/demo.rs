//! `lockstep demo`: a failover on one machine, without root and without kernel modules. Two nodes
//! in a temporary directory, a client that remembers every acknowledged write, and the accidents.
//! Always: it ends only the processes that it started, by their handles; the directory stays when
//! something went wrong.

mod compare;
pub mod ledger;
pub mod load;
mod process;
pub mod relay;
mod report;
mod story;
mod timeline;
mod world;

use crate::cli::show;
use crate::exit::Exit;
use clap::Args;
use report::DemoReport;
use std::path::{Path, PathBuf};
use timeline::Timeline;

/// Arguments of the demo.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Print the result as JSON; the timeline goes to stderr
    #[arg(long)]
    json: bool,
    /// Work in this new directory and keep it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Where the demo works, and whether it is removed afterwards.
enum Place {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Place::Kept(path) => path,
            Place::Temporary(dir) => dir.path(),
        }
    }
}

fn place(keep: Option<&Path>) -> std::io::Result<Place> {
    match keep {
        Some(path) => {
            std::fs::create_dir(path)?;
            Ok(Place::Kept(path.canonicalize()?))
        }
        None => Ok(Place::Temporary(tempfile::Builder::new().prefix("lockstep-demo-").tempdir()?)),
    }
}

/// Plays the demo.
pub fn run(args: &DemoArgs) -> Exit {
    let place = match place(args.keep.as_deref()) {
        Ok(place) => place,
        Err(cause) => {
            let named = args.keep.clone().unwrap_or_else(std::env::temp_dir);
            show::error(&format!("{}: {cause}; choose a new --keep directory", named.display()));
            return Exit::Usage;
        }
    };
    let timeline = Timeline::new(args.json);
    let played = story::play(place.path(), &timeline);
    let good = matches!(&played, Ok(report) if report.good());
    match played {
        Ok(report) => tell(&report, args.json),
        Err(error) => show::error(&error.to_string()),
    }
    match (good, place) {
        (true, Place::Kept(path)) => {
            show::progress(&format!("kept: {}", path.display()));
        }
        (true, Place::Temporary(dir)) => {
            if let Err(cause) = dir.close() {
                show::error(&format!("temporary directory: {cause}; remove it by hand"));
            }
        }
        (false, Place::Kept(path)) => {
            show::error(&format!("demo failed; logs and disks are in {}", path.display()));
        }
        (false, Place::Temporary(dir)) => {
            let path = dir.keep();
            show::error(&format!("demo failed; logs and disks are in {}", path.display()));
        }
    }
    if good { Exit::Ok } else { Exit::Failed }
}

fn tell(report: &DemoReport, json: bool) {
    if !json {
        return show::result(&report.table());
    }
    match serde_json::to_string_pretty(report) {
        Ok(text) => show::result(&text),
        Err(cause) => show::error(&format!("result: {cause}; this is a defect, report it")),
    }
}
