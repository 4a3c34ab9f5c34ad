//! The check of a file system before it is mounted. `Always` does what a boot does: the journal is
//! replayed, and the whole is checked only when it is marked as damaged. `Every(n)` forces the
//! whole check on each n-th mount. Always: nothing is thrown away that needs an operator's word
//! (`xfs_repair -L` is never used), and a file system that may be damaged is not mounted.

use super::program::{self, Outcome, Rest};
use super::spec::{Command, FsKind, FsSpec, Fsck};
use super::{Context, Failure, file_name};
use lockstep_engine::units::Tick;
use std::fs;
use std::io;
use std::path::PathBuf;

/// Where the programs of an ordinary host are.
const FOLDERS: &[&str] = &["/usr/sbin", "/sbin", "/usr/bin"];

/// What is done before this mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    Nothing,
    AsAtBoot,
    Whole,
}

/// What came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// It may be mounted.
    Sound,
    /// Its log must be replayed by a mount and an unmount, then it can be checked.
    NeedsReplay,
}

/// What is due before the mount that comes now.
pub fn due(spec: &FsSpec, context: &Context) -> Due {
    match spec.fsck {
        Fsck::Never => Due::Nothing,
        Fsck::Always => Due::AsAtBoot,
        Fsck::Every(n) => {
            if mounted_since(context).saturating_add(1) >= n {
                Due::Whole
            } else {
                Due::Nothing
            }
        }
    }
}

/// Counts a mount; `checked` when the whole was checked before it.
pub fn count(spec: &FsSpec, context: &Context, checked: bool) {
    if !matches!(spec.fsck, Fsck::Every(_)) {
        return;
    }
    let mounts = if checked { 0 } else { mounted_since(context).saturating_add(1) };
    let path = counter(context);
    let written = fs::create_dir_all(&context.state_dir)
        .and_then(|()| fs::write(&path, format!("{mounts}\n")));
    if let Err(cause) = written {
        tracing::warn!(path = %path.display(), %cause, "mounts are not counted");
    }
}

fn counter(context: &Context) -> PathBuf {
    let (group, resource) = (file_name(&context.group), file_name(&context.resource));
    context.state_dir.join(format!("mounts-{group}.{resource}"))
}

/// Mounts since the last check; as many as can be when nobody knows.
fn mounted_since(context: &Context) -> u32 {
    match fs::read_to_string(counter(context)) {
        Ok(text) => text.trim().parse().unwrap_or(u32::MAX),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => 0,
        Err(_) => u32::MAX,
    }
}

/// Checks the file system, which must not be mounted.
///
/// # Errors
/// It may be damaged, or can't be checked.
pub async fn check(
    spec: &FsSpec,
    due: Due,
    context: &Context,
    deadline: Tick,
) -> Result<Checked, Failure> {
    let (name, package, flags): (_, _, &[&str]) = match (spec.kind, due) {
        (_, Due::Nothing) => return Ok(Checked::Sound),
        (FsKind::Ext4, Due::AsAtBoot) => ("e2fsck", "e2fsprogs", &["-p"]),
        (FsKind::Ext4, Due::Whole) => ("e2fsck", "e2fsprogs", &["-f", "-p"]),
        (FsKind::Xfs, _) => ("xfs_repair", "xfsprogs", &["-e"]),
    };
    let device = spec.device.display().to_string();
    let doing = format!("check {device} with {name}");
    let program = FOLDERS.iter().map(|folder| PathBuf::from(folder).join(name));
    let Some(program) = program.into_iter().find(|path| path.is_file()) else {
        let hint = format!("install the package {package} on this node, or set fsck to never");
        return Err(context.failure(&doing, format!("{name} is not installed"), hint));
    };
    let args = flags.iter().map(|flag| (*flag).to_owned()).chain([device.clone()]).collect();
    let command = Command { program, args };
    let outcome = program::run(&command, "fsck", Rest::Dies, context, deadline).await?;
    let verdict = match spec.kind {
        FsKind::Ext4 => ext4(&outcome),
        FsKind::Xfs => xfs(&outcome),
    };
    verdict
        .map_err(|hint| context.failure(&doing, outcome.words(), hint.replace("DEVICE", &device)))
}

fn code(outcome: &Outcome) -> Option<i32> {
    outcome.status.and_then(|status| status.code())
}

/// Exit status of e2fsck: bits.
fn ext4(outcome: &Outcome) -> Result<Checked, &'static str> {
    match code(outcome) {
        Some(0) => Ok(Checked::Sound),
        // 1: repaired; 2: a reboot is advised, which concerns only a mounted root.
        Some(1..=3) => {
            tracing::warn!(output = outcome.output, "the file system was repaired");
            Ok(Checked::Sound)
        }
        Some(code) if code & 4 != 0 => {
            Err("damage needs decisions: run `e2fsck DEVICE` by hand where the volume is primary")
        }
        Some(code) if code & 8 != 0 => Err("is there an ext4 file system on DEVICE, unmounted?"),
        Some(_) => Err("run `e2fsck DEVICE` by hand and read what it says"),
        None => Err("give the start more time, or set fsck to never"),
    }
}

/// Exit status of `xfs_repair -e`.
fn xfs(outcome: &Outcome) -> Result<Checked, &'static str> {
    match code(outcome) {
        Some(0) => Ok(Checked::Sound),
        Some(4) => {
            tracing::warn!(output = outcome.output, "the file system was repaired");
            Ok(Checked::Sound)
        }
        Some(2) => Ok(Checked::NeedsReplay),
        Some(_) => Err("is there an XFS file system on DEVICE, unmounted? run `xfs_repair DEVICE`"),
        None => Err("give the start more time, or set fsck to never"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn ended(code: Option<i32>) -> Outcome {
        let status = code.map(|code| ExitStatus::from_raw(code << 8));
        Outcome { status, output: String::new(), text: String::new(), stuck: false }
    }

    #[test]
    fn exit_codes_of_e2fsck_are_understood() {
        for fine in [0, 1, 2, 3] {
            assert_eq!(ext4(&ended(Some(fine))), Ok(Checked::Sound));
        }
        assert!(ext4(&ended(Some(4))).unwrap_err().contains("by hand"));
        assert!(ext4(&ended(Some(5))).unwrap_err().contains("by hand"));
        assert!(ext4(&ended(Some(8))).unwrap_err().contains("ext4"));
        assert!(ext4(&ended(None)).unwrap_err().contains("time"));
    }

    #[test]
    fn exit_codes_of_xfs_repair_are_understood() {
        assert_eq!(xfs(&ended(Some(0))), Ok(Checked::Sound));
        assert_eq!(xfs(&ended(Some(4))), Ok(Checked::Sound));
        assert_eq!(xfs(&ended(Some(2))), Ok(Checked::NeedsReplay));
        assert!(xfs(&ended(Some(1))).is_err());
    }
}
