//! Partitions of the volumes: there, of the right kind and size, in nobody else's use.

use super::{Around, Checks};
use crate::act::resource::fs::sys_folder;
use crate::act::resource::mounts;
use crate::status::words::bytes;
use lockstep_engine::device::Device;
use lockstep_engine::offline;
use rustix::fs::{major, minor};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(super) fn look(checks: &mut Checks, around: &Around<'_>) {
    let mounted = match mounts::read() {
        Ok(mounted) => mounted,
        Err(cause) => {
            checks.skip("mounts", cause, "mount /proc");
            Vec::new()
        }
    };
    for engine in &around.own.engines {
        let config = &engine.config;
        let name = &config.volume.name;
        for (what, path) in [("data", &config.data), ("cluster", &config.cluster_partition)] {
            partition(checks, &format!("{what} partition of {name}"), path, &mounted);
        }
        formatted(checks, name, &config.cluster_partition);
        if let (Some(data), Some(metadata)) = (disk(&config.data), disk(&config.cluster_partition))
            && data == metadata
        {
            checks.warn(
                format!("disks of {name}"),
                format!("data and cluster partition both lie on {data}"),
                "put them on two disks: a snapshot of one disk brings both back together, and only \
                 the peer can tell then",
            );
        }
    }
}

fn partition(checks: &mut Checks, what: &str, path: &Path, mounted: &[mounts::Mount]) {
    let what = format!("{what}, {}", path.display());
    let device = match Device::open_to_inspect(path) {
        Ok(device) => device,
        Err(error) => return checks.fail(what, error, "correct the path in cluster.toml"),
    };
    let size = bytes(device.size());
    if !device.is_block() {
        return checks.warn(
            what,
            format!("a file of {size}"),
            "files are for labs: a full file system or its cache can make a mirror wrong",
        );
    }
    let number = fs::metadata(path).map(|found| (major(found.rdev()), minor(found.rdev())));
    if let Ok(number) = number
        && let Some(mount) = mounted.iter().find(|mount| mount.device == number)
    {
        return checks.fail(
            what,
            format!("mounted at {}", mount.at.display()),
            format!("umount {} and take it out of /etc/fstab", mount.at.display()),
        );
    }
    let lasting = path.starts_with("/dev/disk") || path.starts_with("/dev/mapper");
    if lasting {
        checks.pass(what, format!("a block device of {size}, not mounted"));
    } else {
        checks.warn(
            what,
            format!("a block device of {size}, by a name that a boot may give to another disk"),
            "name it by /dev/disk/by-id/…",
        );
    }
}

fn formatted(checks: &mut Checks, name: &str, path: &Path) {
    let what = format!("metadata of {name}");
    match offline::inspect(path, None, true) {
        Ok(shown) if !shown.sound => checks.fail(
            what,
            format!("{}: a page is damaged", path.display()),
            "`lockstep-engine inspect` shows which; RUNBOOK.md, \"Cluster partition damaged\"",
        ),
        Ok(shown) if shown.text.contains(name) => checks.pass(what, "formatted for this volume"),
        Ok(_) => checks.fail(
            what,
            format!("{}: holds no superblock of volume {name}", path.display()),
            "`lockstep-engine format --config FILE` writes it (`lockstep config show NODE` prints \
             that file); `lockstep-engine inspect` shows what is there",
        ),
        Err(error) => checks.skip(what, error, "see the line of the partition"),
    }
}

/// The whole disk that a partition lies on; `None` for a file.
fn disk(path: &Path) -> Option<String> {
    let real = fs::canonicalize(sys_folder(path)?).ok()?;
    let whole = if real.join("partition").exists() { real.parent()? } else { &real };
    Some(format!("/dev/{}", whole.file_name()?.to_string_lossy()))
}
