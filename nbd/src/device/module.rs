//! Loading the kernel's NBD client, by the system call and not by a program (R40).
//! Always: only the module of the running kernel, as its own list names it.

use super::error::LoadError;
use rustix::system::{finit_module, uname};
use std::ffi::CStr;
use std::fs::{File, read_to_string};
use std::path::{Path, PathBuf};

/// The kernel unpacks it itself (Linux 5.17 and later).
const COMPRESSED_FILE: i32 = 4;
/// No partitions are looked for by the kernel: a volume is one file system.
const PARAMETERS: &CStr = c"max_part=0";

/// A module that is there now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loaded;

/// Loads the module.
///
/// # Errors
/// The kernel has none on disk, or this process may not.
pub fn load() -> Result<Loaded, LoadError> {
    let release = uname().release().to_string_lossy().into_owned();
    let folder = Path::new("/lib/modules").join(release);
    let list = folder.join("modules.dep");
    let text = match read_to_string(&list) {
        Ok(text) => text,
        Err(error) => return Err(LoadError::Absent { list, error: Some(error) }),
    };
    let Some(found) = listed(&text) else {
        return Err(LoadError::Absent { list, error: None });
    };
    let path = folder.join(found);
    let flags = if path.extension().is_some_and(|e| e == "ko") { 0 } else { COMPRESSED_FILE };
    let refused = |path: PathBuf| move |error| LoadError::Refused { path, error };
    let file = File::open(&path).map_err(refused(path.clone()))?;
    match finit_module(&file, PARAMETERS, flags) {
        // Somebody else was faster.
        Err(rustix::io::Errno::EXIST) | Ok(()) => Ok(Loaded),
        Err(error) => Err(refused(path)(error.into())),
    }
}

/// Path of the module in the list of a kernel.
fn listed(list: &str) -> Option<&str> {
    list.lines().filter_map(|line| line.split_once(':')).map(|(path, _)| path).find(|path| {
        path.rsplit('/').next().is_some_and(|name| name == "nbd.ko" || name.starts_with("nbd.ko."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_packed_or_not() {
        let list = "kernel/drivers/block/floppy.ko:\nkernel/drivers/block/xnbd.ko: a.ko\n";
        assert_eq!(listed(list), None);
        let packed = format!("{list}kernel/drivers/block/nbd.ko.xz:\n");
        assert_eq!(listed(&packed), Some("kernel/drivers/block/nbd.ko.xz"));
        let plain = format!("{list}kernel/drivers/block/nbd.ko:\n");
        assert_eq!(listed(&plain), Some("kernel/drivers/block/nbd.ko"));
    }
}
