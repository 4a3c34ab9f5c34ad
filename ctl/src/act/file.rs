//! Files that are replaced as a whole. Always: who reads one finds what was there before or all of
//! what was written, never a part. One writer of a path at a time, but for those who bring a name
//! of their own for the fresh file.

use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Replaces a file that a crash of the host may take away.
///
/// # Errors
/// The file is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = beside(path);
    fs::write(&fresh, bytes)?;
    fs::rename(&fresh, path)
}

/// Replaces a file that a crash of the host may take away by a value as JSON.
///
/// # Errors
/// The file is as it was.
pub fn replace_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    replace(path, &serde_json::to_vec(value)?)
}

/// Replaces a file so that a crash of the host finds the new one once this has returned.
///
/// # Errors
/// The file is as it was, or the new one is not durable yet.
pub fn replace_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_synced_by(path, &beside(path), bytes)
}

/// The same, by way of that fresh file.
///
/// # Errors
/// As above.
pub fn replace_synced_by(path: &Path, fresh: &Path, bytes: &[u8]) -> io::Result<()> {
    write_synced(fresh, bytes)?;
    fs::rename(fresh, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes a whole new file and makes it durable.
///
/// # Errors
/// It is not there, or not durable.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// They are not.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept.json");
        for (write, text) in [(replace as fn(&Path, &[u8]) -> _, "one"), (replace_synced, "two")] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_file_that_can_not_be_replaced_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept");
        fs::write(&path, "old").unwrap();
        // The place of the fresh file is taken.
        fs::create_dir(dir.path().join("kept.new")).unwrap();
        assert!(replace(&path, b"new").is_err() && replace_synced(&path, b"new").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }
}
