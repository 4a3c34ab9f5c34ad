//! What the tests of effects share: a place for notes, scripts, loop devices, and waiting for
//! something that is seen rather than told.

use lockstep_ctl::act::clock;
use lockstep_ctl::act::resource::Context;
use lockstep_engine::units::{Span, Tick};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for something that takes a moment on a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The deadline so many milliseconds from now.
pub fn within(ms: u64) -> Tick {
    clock::now().after(Span::millis(ms))
}

/// Whether this is root; says that the test is skipped when it is not.
pub fn is_root() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        eprintln!("SKIPPED: mounts, control groups and addresses need root");
    }
    root
}

/// A folder for one test, with the notes of its resources in it.
pub struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Lab {
        Lab { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn context(&self, resource: &str) -> Context {
        Context {
            node: "a".to_owned(),
            group: "g".to_owned(),
            resource: resource.to_owned(),
            event: "start".to_owned(),
            runtime_dir: self.path("run"),
            state_dir: self.path("state"),
        }
    }

    /// An executable script.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path(name);
        // Written elsewhere first: a program that is open for writing can't be run.
        let fresh = self.path("fresh");
        fs::write(&fresh, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&fresh, &path).unwrap();
        path
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Text of a file; empty when it is not there.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What a test left running, and the empty groups.
        let group = lockstep_ctl::act::resource::control_group(&self.context("any"));
        let daemon = group.and_then(|group| Some(group.parent()?.parent()?.to_owned()));
        let Some(daemon) = daemon.filter(|daemon| daemon.exists()) else { return };
        let _ = fs::write(daemon.join("cgroup.kill"), "1");
        let empty = || {
            let events = fs::read_to_string(daemon.join("cgroup.events")).unwrap_or_default();
            !events.contains("populated 1")
        };
        let began = Instant::now();
        while !empty() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        remove_groups(&daemon);
    }
}

fn remove_groups(group: &Path) {
    for below in fs::read_dir(group).into_iter().flatten().filter_map(Result::ok) {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&below.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// Runs a program that must end well.
#[track_caller]
pub fn must(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    output
}

/// Waits until `seen` is true.
#[track_caller]
pub fn eventually(what: &str, seen: impl Fn() -> bool) {
    let began = Instant::now();
    while !seen() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process is there and not a zombie.
pub fn lives(pid: &str) -> bool {
    let pid = pid.trim().parse().expect("a process id");
    lockstep_ctl::act::host::process_started(pid).is_some()
}

/// A loop device over a file of its own; gone when it is dropped.
pub struct Loop {
    pub device: PathBuf,
}

impl Loop {
    pub fn new(lab: &Lab, name: &str, mib: u64) -> Loop {
        let path = lab.path(name);
        File::create(&path).unwrap().set_len(mib << 20).unwrap();
        let output = must("losetup", &["--find", "--show", path.to_str().unwrap()]);
        let device = String::from_utf8(output.stdout).unwrap();
        Loop { device: PathBuf::from(device.trim()) }
    }

    pub fn with_ext4(lab: &Lab, name: &str) -> Loop {
        let made = Loop::new(lab, name, 16);
        must("mkfs.ext4", &["-q", made.name()]);
        made
    }

    pub fn with_xfs(lab: &Lab, name: &str) -> Loop {
        let made = Loop::new(lab, name, 320);
        must("mkfs.xfs", &["-q", made.name()]);
        made
    }

    pub fn name(&self) -> &str {
        self.device.to_str().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let name = self.name();
        // A test that failed may have left it mounted anywhere.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for line in mounts.lines().filter(|line| line.starts_with(&format!("{name} "))) {
            let at = line.split(' ').nth(1).unwrap_or_default();
            let _ = Command::new("umount").args(["--lazy", at]).output();
        }
        let _ = Command::new("losetup").args(["--detach", name]).output();
    }
}

/// A program in the background; killed when it is dropped.
pub struct Background(Child);

impl Background {
    /// Runs a shell script in `folder`, and waits until it has said `ready`.
    pub fn shell(folder: &Path, script: &str) -> Background {
        use std::io::{BufRead, BufReader};
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Background(child)
    }

    pub fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
