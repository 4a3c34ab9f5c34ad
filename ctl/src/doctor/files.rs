//! Files: the configuration, the key, the directories, the programs.

use super::{Around, Checks};
use crate::act::host;
use crate::act::suits::is_program;
use lockstep_engine::config::{key_exposed, read_key};
use rustix::fs::statvfs;
use std::fs;
use std::path::Path;

/// A state directory with less room than this will be full one day.
const ROOM_LEAST: u64 = 64 << 20;

pub(super) fn look(checks: &mut Checks, around: &Around<'_>) {
    let (own, path) = (around.own, around.path);
    match fs::read(path).map(|bytes| host::digest(&bytes)) {
        Ok(digest) => checks.pass(
            path.display(),
            format!("no mistakes, digest {digest:032x}; it must be the same on the other node"),
        ),
        Err(cause) => checks.fail(path.display(), cause, "check path and rights"),
    }
    key(checks, &own.key_file);
    for directory in [&own.run_dir, &own.state_dir] {
        room(checks, directory);
    }
    if own.engine_process.spawn {
        let program = own.engine_process.program.clone();
        let beside = || Some(std::env::current_exe().ok()?.with_file_name("lockstep-engine"));
        match program.or_else(beside) {
            Some(program) if is_program(&program) => checks.pass(program.display(), "a program"),
            Some(program) => checks.fail(
                program.display(),
                "no program that may be run",
                "install lockstep-engine beside lockstep, or correct `[engine] program`",
            ),
            None => checks.skip("engine", "/proc/self/exe can't be read", "mount /proc"),
        }
    }
}

fn key(checks: &mut Checks, path: &Path) {
    let what = format!("key {}", path.display());
    if let Err(error) = read_key(path) {
        return checks.fail(what, error, "both nodes need the same file");
    }
    match key_exposed(path) {
        Some(exposed) => checks.warn(
            what,
            format!("mode {:03o} lets others than its owner and its group use it", exposed.mode),
            format!("chmod 600 {}", path.display()),
        ),
        None => checks.pass(what, "read, and for its owner and its group alone"),
    }
}

fn room(checks: &mut Checks, directory: &Path) {
    // The daemon makes it; what it lies in has to be there.
    let there = directory.ancestors().find(|one| one.is_dir()).unwrap_or(Path::new("/"));
    let what = directory.display();
    match statvfs(there) {
        Ok(found) => {
            let room = found.f_bavail.saturating_mul(found.f_frsize);
            let shown = crate::status::words::bytes(room);
            if room < ROOM_LEAST {
                checks.warn(what, format!("{shown} free"), "make room: events and state go there");
            } else {
                checks.pass(what, format!("{shown} free"));
            }
        }
        Err(cause) => checks.fail(what, cause, "make the directory, or correct `[paths]`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_doctor_and_the_daemon_say_the_same_about_the_rights_of_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "5a".repeat(32)).unwrap();
        for (mode, verdict) in
            [(0o600, Verdict::Pass), (0o640, Verdict::Pass), (0o644, Verdict::Warn)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let mut checks = Checks { area: "files", all: Vec::new() };
            key(&mut checks, &path);
            assert_eq!(checks.all[0].verdict, verdict, "{mode:o}");
            assert_eq!(key_exposed(&path).is_some(), verdict == Verdict::Warn, "{mode:o}");
        }
    }
}
