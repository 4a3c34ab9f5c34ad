//! What the kernel shows and lets us set of a device below `/sys/block`.
//! Always: a setting that is refused is reported and no fault: the device works without it.

use super::error::DeviceError;
use super::{LOOK_MS, READ_AHEAD_KIB, REQUEST_KIB};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const BLOCK: &str = "/sys/block";

/// Devices with this backend identifier, connected or waiting for a server.
///
/// # Errors
/// `/sys` can't be read.
pub fn find(backend: &str) -> Result<Vec<u32>, DeviceError> {
    find_in(Path::new(BLOCK), backend)
}

fn find_in(block: &Path, backend: &str) -> Result<Vec<u32>, DeviceError> {
    let failed = |error| DeviceError::File { path: block.to_path_buf(), error };
    let mut found = Vec::new();
    for entry in fs::read_dir(block).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(index) = name.to_str().and_then(numbered) else { continue };
        // A device without a server has no such file.
        match fs::read_to_string(entry.path().join("backend")) {
            Ok(text) if text.trim_end() == backend => found.push(index),
            _ => {}
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The N of `nbdN`.
pub fn numbered(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("nbd")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Requests as large as the engine likes them, no second scheduler, and a look at what is not
/// answered as often as `LOOK_MS`. Returns what was refused.
///
/// The kernel lets every request of the device end before it changes some of these, so this may
/// wait for as long as requests are held: on a thread that nobody waits for.
pub fn tune(index: u32) -> Vec<String> {
    let queue = PathBuf::from(format!("{BLOCK}/nbd{index}/queue"));
    let settings = [
        ("io_timeout", LOOK_MS.to_string()),
        ("max_sectors_kb", REQUEST_KIB.to_string()),
        ("read_ahead_kb", READ_AHEAD_KIB.to_string()),
        ("scheduler", "none".to_owned()),
    ];
    let set = |(name, value): (&str, String)| {
        let path = queue.join(name);
        let error: io::Error = fs::write(&path, &value).err()?;
        Some(format!("{} = {value}: {error}", path.display()))
    };
    settings.into_iter().filter_map(set).collect()
}

/// Asks udev to look again: the kernel shows the backend only after it has announced the device.
pub(super) fn announce(index: u32) {
    let path = format!("{BLOCK}/nbd{index}/uevent");
    // Without it the name is made by us.
    let _ = fs::write(path, "change");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_their_backend_alone() {
        let dir = std::env::temp_dir().join(format!("lockstep-sysfs-{}", std::process::id()));
        let put = |name: &str, backend: Option<&str>| {
            fs::create_dir_all(dir.join(name)).unwrap();
            if let Some(text) = backend {
                fs::write(dir.join(name).join("backend"), text).unwrap();
            }
        };
        put("nbd0", None);
        put("nbd1", Some("lockstep/orders2\n"));
        put("nbd10", Some("lockstep/orders\n"));
        put("nbd2", Some("lockstep/orders\n"));
        put("sda", Some("lockstep/orders\n"));
        let found = find_in(&dir, "lockstep/orders").unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found, [2, 10]);
    }

    #[test]
    fn only_whole_devices_have_a_number() {
        assert_eq!(numbered("nbd12"), Some(12));
        assert_eq!(numbered("nbd1p2"), None);
        assert_eq!(numbered("nbd"), None);
        assert_eq!(numbered("sda"), None);
    }
}
