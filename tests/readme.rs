//! The lines of README.md that make a pair by hand do what it says there, in its own words.
//! Always: whatever they start is ended with them.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use harness::bins;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

/// The shell blocks of one section, one after the other.
fn shell_of(section: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(readme).unwrap();
    let after = text.split(&format!("\n## {section}\n")).nth(1).unwrap();
    let blocks = after.split("\n## ").next().unwrap().split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn two_nodes_of_your_own_work_as_they_stand() {
    let bins = bins::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let free: Vec<TcpListener> =
        (0..2).map(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()).collect();
    let mut lines = shell_of("Two nodes of your own");
    for (written, here) in [
        ("$PWD/target/release", bins.lockstep.parent().unwrap().display().to_string()),
        (":7101", format!(":{}", free[0].local_addr().unwrap().port())),
        (":7102", format!(":{}", free[1].local_addr().unwrap().port())),
    ] {
        assert!(lines.contains(written), "{written} in\n{lines}");
        lines = lines.replace(written, &here);
    }
    drop(free);
    let script = format!("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{lines}\n");
    // Bash itself is the judge of the lines: the first that fails ends them.
    let ran = Command::new("timeout")
        .args(["90", "bash", "-c", &script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    let shown = format!("{told}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{shown}", ran.status);
    for word in
        ["created", "serving here", "green: in sync", "node b serves", "read 1048576/1048576"]
    {
        assert!(told.contains(word), "{word:?} in\n{shown}");
    }
    assert!(!shown.contains("Pattern verification failed"), "{shown}");
}
