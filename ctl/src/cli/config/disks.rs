//! The partitions of this host, for whoever has to choose two of them. Only looks: at `/sys/block`,
//! `/dev/disk/by-id` and the mounts. Always: a disk with partitions is shown as its partitions.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Devices that are no place for a mirror.
const NOT_DISKS: &[&str] = &["loop", "ram", "zram", "nbd", "sr", "fd"];
/// Bytes of the sectors that `/sys` counts in.
const SECTOR_BYTES: u64 = 512;

/// A partition, or a disk without any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// The name that stays: by id where there is one.
    pub path: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Who uses it, as far as one can see.
    pub used: Option<String>,
}

/// What is there, by kernel name; `root` is `/` except in tests.
pub fn partitions(root: &Path) -> io::Result<Vec<Partition>> {
    let by_id = stable_names(&root.join("dev/disk/by-id"));
    let mounts = mounts(&root.join("proc/self/mounts"));
    let mut found = BTreeMap::new();
    for disk in fs::read_dir(root.join("sys/block"))? {
        let disk = disk?;
        let name = disk.file_name().to_string_lossy().into_owned();
        if NOT_DISKS.iter().any(|kind| name.starts_with(kind)) {
            continue;
        }
        let inside = fs::read_dir(disk.path())?;
        let parts: Vec<PathBuf> = inside
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.join("partition").exists())
            .collect();
        let places = if parts.is_empty() { vec![disk.path()] } else { parts };
        for place in places {
            let Some(name) = place.file_name() else { continue };
            let name = name.to_string_lossy().into_owned();
            let device = format!("/dev/{name}");
            let used = mounts.get(&device).map(|at| format!("mounted at {at}"));
            let used = used.or_else(|| holder(&place.join("holders")));
            let path = by_id.get(&name).cloned().unwrap_or_else(|| PathBuf::from(&device));
            found.insert(name, Partition { path, bytes: bytes(&place.join("size")), used });
        }
    }
    Ok(found.into_values().filter(|partition| partition.bytes > 0).collect())
}

fn bytes(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim().parse::<u64>().unwrap_or(0).saturating_mul(SECTOR_BYTES)
}

fn holder(folder: &Path) -> Option<String> {
    let first = fs::read_dir(folder).ok()?.find_map(Result::ok)?;
    Some(format!("used by {}", first.file_name().to_string_lossy()))
}

/// For each kernel name a name by id: one that says what the disk is, rather than its number.
fn stable_names(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut links: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    links.sort();
    for link in links {
        let Ok(target) = fs::read_link(&link) else { continue };
        let (Some(kernel), Some(id)) = (target.file_name(), link.file_name()) else { continue };
        let id = id.to_string_lossy().into_owned();
        let number = |name: &str| name.starts_with("wwn-") || name.starts_with("nvme-eui.");
        let path = PathBuf::from("/dev/disk/by-id").join(&id);
        let known = names.entry(kernel.to_string_lossy().into_owned()).or_insert(path.clone());
        let known_id = known.file_name().map(|name| name.to_string_lossy().into_owned());
        if known_id.is_some_and(|known| number(&known)) && !number(&id) {
            *known = path;
        }
    }
    names
}

/// Mount points by device.
fn mounts(file: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let pair = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some((words.next()?, words.next()?))
    };
    text.lines().filter_map(pair).collect()
}
