//! The demo's processes end with the demo, whether it is asked to stop or killed.
//! Always: what a failed test leaves is ended by its own pid.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use harness::bins;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Two engines, two daemons, and the program of the group on one node.
const PROCESSES: usize = 5;
/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(40);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Command lines of the processes that work in `dir`, by pid, without those that have ended.
fn in_dir(dir: &Path) -> BTreeMap<i32, String> {
    let dir = format!("{}/", dir.display());
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_string_lossy().parse::<i32>().ok());
    let line = |pid: i32| {
        // A process may end between two looks; a zombie has no command line.
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        line.contains(&dir).then_some((pid, line))
    };
    pids.filter_map(line).collect()
}

fn wait(what: &str, mut seen: impl FnMut() -> bool) {
    let from = Instant::now();
    while !seen() {
        assert!(from.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(LOOK);
    }
}

/// A demo with its directory, and nothing of it when dropped.
struct Demo {
    child: Child,
    dir: tempfile::TempDir,
}

impl Demo {
    fn start() -> Demo {
        let lockstep = bins::find().unwrap().lockstep;
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(lockstep)
            .args(["demo", "--json", "--keep"])
            .arg(dir.path().join("d"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("told")).unwrap())
            .spawn()
            .unwrap();
        let demo = Demo { child, dir };
        wait("engines, daemons and a program run", || demo.running().len() == PROCESSES);
        demo
    }

    /// Engines, daemons and programs of this demo.
    fn running(&self) -> BTreeMap<i32, String> {
        let mut found = in_dir(&self.dir.path().join("d"));
        let own = [" run --config ", " daemon --node ", " demo-service run "];
        found.retain(|_, line| own.iter().any(|word| line.contains(word)));
        found
    }

    fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn all_gone(&self) {
        wait("its processes are gone", || in_dir(&self.dir.path().join("d")).is_empty());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", fs::read_to_string(self.dir.path().join("told")).unwrap_or_default());
        }
        // Each may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in in_dir(self.dir.path()).into_keys().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn a_killed_demo_takes_its_processes_with_it() {
    let mut demo = Demo::start();
    demo.tell(Signal::KILL);
    demo.child.wait().unwrap();
    demo.all_gone();
}

#[test]
fn a_demo_that_is_asked_to_stop_ends_its_processes_first() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut demo = Demo::start();
        demo.tell(signal);
        assert_eq!(demo.child.wait().unwrap().code(), Some(1), "{signal:?}");
        assert_eq!(in_dir(&demo.dir.path().join("d")), BTreeMap::new(), "{signal:?}");
    }
}
