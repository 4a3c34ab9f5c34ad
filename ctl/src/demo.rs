//! `lockstep demo`: a failover on one machine, without root and without kernel modules. Two nodes
//! in a temporary directory with a group that the daemons keep up by themselves, a client that
//! remembers every acknowledged write, and the accidents.
//! Always: it ends only the processes that it started, by their handles, also when it is
//! interrupted; when it is killed they end with it. The directory stays when something went wrong
//! or the demo was killed, but not after an interrupt.

pub mod attend;
mod compare;
mod file;
pub mod ledger;
pub mod load;
mod net;
mod process;
pub mod relay;
mod report;
pub mod service;
mod story;
mod timeline;
mod world;

use crate::act::signals;
use crate::cli::show;
use crate::exit::Exit;
use clap::Args;
use process::Processes;
use report::DemoReport;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use story::StoryError;
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

/// How the story ended.
type Played = Result<DemoReport, StoryError>;

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
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(cause) => {
            show::error(&format!("/proc/self/exe: {cause}; is /proc mounted?"));
            return Exit::Failed;
        }
    };
    let processes = Processes::new(Some(own));
    let Some(played) = play(place.path(), args.json, &processes) else {
        return interrupted(place, &processes);
    };
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

/// Plays the story in a thread of its own. `None` when this process was asked to stop before its
/// end; the thread then ends with the process.
fn play(dir: &Path, json: bool, processes: &Processes) -> Option<Played> {
    let (ended, wait) = mpsc::channel();
    let (stopped, dir, processes) = (ended.clone(), dir.to_owned(), processes.clone());
    // The receiver is gone only when the other of the two came first.
    let stop = move || drop(stopped.send(None));
    let story = move || {
        let played = AssertUnwindSafe(|| story::play(&dir, &Timeline::new(json), &processes));
        // A panic has told itself; what it leaves behind is cleaned up like after an interrupt.
        let _ = ended.send(catch_unwind(played).ok());
    };
    let begun = signals::on_stop(stop)
        .and_then(|()| thread::Builder::new().name("story".to_owned()).spawn(story));
    match begun {
        Err(cause) => Some(Err(StoryError::Load { cause })),
        Ok(_) => wait.recv().ok().flatten(),
    }
}

/// Ends and removes all that the demo has made.
fn interrupted(place: Place, processes: &Processes) -> Exit {
    if let Err(cause) = processes.end_all() {
        show::error(&format!("a process can't be ended: {cause}; look for lockstep-engine"));
    }
    match place {
        Place::Kept(path) => {
            show::error(&format!("interrupted; its processes are ended, kept: {}", path.display()));
        }
        Place::Temporary(dir) => match dir.close() {
            Ok(()) => show::error("interrupted; its processes are ended, its directory is removed"),
            Err(cause) => {
                show::error(&format!("temporary directory: {cause}; remove it by hand"));
            }
        },
    }
    Exit::Failed
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
