//! The stable name of a volume's device, `/dev/lockstep/VOLUME`: a link that udev makes by our
//! rule. Where udev is not, or does not come, we make it.
//! Always: the link is examined, never what it leads to (R38).

use super::error::DeviceError;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What listens for news of devices while udev runs.
const UDEV: &str = "/run/udev/control";

/// State of the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// It leads to the device.
    Right,
    /// Udev runs, and has not made it yet.
    Awaited,
}

/// Looks whether the name leads to the device. Without udev, or when there is no `patience` left,
/// it is made here.
///
/// # Errors
/// The link can't be made.
pub fn settle_link(backend: &str, index: u32, patience: bool) -> Result<Named, DeviceError> {
    let path = Path::new("/dev").join(backend);
    if leads_to(&path, index) {
        return Ok(Named::Right);
    }
    if patience && Path::new(UDEV).exists() {
        return Ok(Named::Awaited);
    }
    let failed = |error| DeviceError::File { path: path.clone(), error };
    make(&path, index).map_err(failed)?;
    Ok(Named::Right)
}

/// Takes the name away, if it leads to that device and udev is not there to do so.
///
/// # Errors
/// The link can't be removed.
pub fn remove_link(backend: &str, index: u32) -> Result<(), DeviceError> {
    let path = Path::new("/dev").join(backend);
    if Path::new(UDEV).exists() || !leads_to(&path, index) {
        return Ok(());
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DeviceError::File { path, error })
        }
        _ => Ok(()),
    }
}

fn leads_to(path: &Path, index: u32) -> bool {
    let wanted = format!("nbd{index}");
    fs::read_link(path).is_ok_and(|to| to.file_name().is_some_and(|name| *name == *wanted))
}

/// Replaces whatever is there in one step.
fn make(path: &Path, index: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut made: PathBuf = path.to_path_buf();
    made.set_extension(format!("new-{}", std::process::id()));
    match fs::remove_file(&made) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(format!("../nbd{index}"), &made)?;
    fs::rename(&made, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_in_one_step_and_read_without_being_followed() {
        let dir = std::env::temp_dir().join(format!("lockstep-name-{}", std::process::id()));
        let path = dir.join("lockstep/orders");
        make(&path, 3).unwrap();
        assert!(leads_to(&path, 3) && !leads_to(&path, 13));
        make(&path, 13).unwrap();
        assert!(leads_to(&path, 13) && !leads_to(&path, 3));
        assert_eq!(fs::read_dir(dir.join("lockstep")).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
