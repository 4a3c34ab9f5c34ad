//! Two network namespaces with two cables between them: one for the link, one for heartbeats.
//! Needs root. Always: the namespaces are gone when the value is dropped.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the pairs of this process.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The namespaces of a pair.
pub struct Spaces {
    /// Of node a, then of node b.
    pub names: [String; 2],
}

/// Runs `ip` with the words of `line`.
pub(crate) fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().expect("the ip command");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {line}: {said}");
}

/// Whether namespaces can be made here; says why not.
///
/// # Panics
/// This is root in continuous integration (`CI` is set) and they still can't be made.
pub fn may_make_spaces() -> bool {
    // Tests of one process may ask at the same time.
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    let name = format!("lsprobe{}-{count}", std::process::id());
    let made = Command::new("ip").args(["netns", "add", &name]).output();
    match made {
        Ok(output) if output.status.success() => {
            ip(&format!("netns del {name}"));
            true
        }
        refused => {
            eprintln!("SKIPPED: no network namespaces here: {refused:?}; run as root");
            let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
            assert!(!root || std::env::var_os("CI").is_none(), "not even for root: {refused:?}");
            false
        }
    }
}

impl Spaces {
    /// Makes both namespaces and joins them.
    pub(crate) fn make() -> Spaces {
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = |node: &str| format!("ls{}-{count}{node}", std::process::id());
        let spaces = Spaces { names: [name("a"), name("b")] };
        let [a, b] = &spaces.names;
        for space in [a, b] {
            ip(&format!("netns add {space}"));
            ip(&format!("-n {space} link set lo up"));
        }
        for (net, cable) in [(1, "wire"), (2, "beat")] {
            ip(&format!("link add name {cable} netns {a} type veth peer name {cable} netns {b}"));
            for (host, space) in [(1, a), (2, b)] {
                ip(&format!("-n {space} addr add 10.77.{net}.{host}/24 dev {cable}"));
                ip(&format!("-n {space} link set {cable} up"));
            }
        }
        spaces
    }

    /// Pulls the cable `wire` (of the link) or `beat`, or puts it back.
    pub fn plug(&self, cable: &str, there: bool) {
        let state = if there { "up" } else { "down" };
        for space in &self.names {
            ip(&format!("-n {space} link set {cable} {state}"));
        }
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for space in &self.names {
            // Gone already, or never made.
            let _ = Command::new("ip").args(["netns", "del", space]).output();
        }
    }
}
