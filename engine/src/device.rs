//! A data or cluster partition, opened so that no other engine can touch it (R20).
//! Always: the lock is held on the very open file description that does the I/O, so obtaining it
//! proves that a dead predecessor has no request in flight; block devices are claimed as well.
//! Survives: a predecessor that takes its time (waits), file systems without direct I/O (says so).

use crate::units::{PAGE_BYTES, Page};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest serial that is kept: the room in a superblock.
const SERIAL_BYTES_MAX: usize = crate::format::superblock::Superblock::SERIAL_BYTES_MAX;
/// The kernel lets go of a block device a moment after the lock: retries of the claim, and their
/// distance. 50 × 20 ms = 1 s.
const CLAIM_ATTEMPTS: u32 = 50;
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

/// A page at an address that direct I/O accepts.
#[repr(C, align(4096))]
pub struct AlignedPage(pub Page);

impl AlignedPage {
    /// A page of zeroes.
    pub fn zeroed() -> Box<AlignedPage> {
        Box::new(AlignedPage([0; PAGE_BYTES]))
    }
}

/// An open partition.
#[derive(Debug)]
pub struct Device {
    file: File,
    path: PathBuf,
    size: u64,
    block: bool,
    direct: bool,
    serial: String,
}

/// Why a partition can't be used.
#[derive(Debug)]
pub enum DeviceError {
    /// It can't be opened.
    Open {
        /// The partition.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is neither a block device nor a file.
    NotADevice {
        /// The partition.
        path: PathBuf,
    },
    /// Something that is not an engine has claimed it.
    Claimed {
        /// The partition.
        path: PathBuf,
    },
    /// It can't be locked.
    Lock {
        /// The partition.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The same, of a partition that the configuration names.
    Configured {
        /// Its key.
        key: &'static str,
        /// Why it can't be used.
        error: Box<DeviceError>,
    },
    /// It refused a request.
    Io {
        /// The partition.
        path: PathBuf,
        /// `read`, `write` or `sync`.
        verb: &'static str,
        /// Byte offset.
        offset: u64,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Open { path, error } => {
                write!(f, "can't open {}: {error}; check the path and permissions", path.display())
            }
            DeviceError::NotADevice { path } => write!(
                f,
                "{} is neither a block device nor a file; check the configuration",
                path.display()
            ),
            DeviceError::Claimed { path } => write!(
                f,
                "{} is in use (mounted, or part of a volume group or RAID); release it first",
                path.display()
            ),
            DeviceError::Lock { path, error } => write!(
                f,
                "can't lock {}: {error}; put it on a file system with locks",
                path.display()
            ),
            DeviceError::Configured { key, error } => write!(f, "`{key}`: {error}"),
            DeviceError::Io { path, verb, offset, error } => write!(
                f,
                "{}: {verb} at byte {offset} failed: {error}; check the device",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DeviceError {}

/// Opens with direct I/O where the file system has it; says whether it does.
fn open_file(path: &Path, write: bool, flags: i32) -> io::Result<(File, bool)> {
    let open =
        |flags: i32| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    match open(flags | libc::O_DIRECT) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok((open(flags)?, false)),
        opened => opened.map(|file| (file, true)),
    }
}

/// Takes the lock, waiting for its holder. `waiting` is told once, when there is one.
fn lock(file: &File, path: &Path, waiting: &mut dyn FnMut(&Path)) -> Result<(), DeviceError> {
    let failed = |error| DeviceError::Lock { path: path.to_path_buf(), error };
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            waiting(path);
            file.lock().map_err(failed)
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl Device {
    /// `open` of what the configuration names under `key`, which an error names as well.
    pub fn open_configured(
        key: &'static str,
        path: &Path,
        waiting: &mut dyn FnMut(&Path),
    ) -> Result<Device, DeviceError> {
        Device::open(path, waiting)
            .map_err(|error| DeviceError::Configured { key, error: Box::new(error) })
    }

    /// Opens for reading and writing, and holds the partition against every other engine.
    /// `waiting` is told when a predecessor still has it; the call then waits until that one has
    /// drained. Nothing may be read before this returns.
    pub fn open(path: &Path, waiting: &mut dyn FnMut(&Path)) -> Result<Device, DeviceError> {
        let failed = |error| DeviceError::Open { path: path.to_path_buf(), error };
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_block_device() {
            if !kind.is_file() {
                return Err(DeviceError::NotADevice { path: path.to_path_buf() });
            }
            let (file, direct) = open_file(path, true, 0).map_err(failed)?;
            lock(&file, path, waiting)?;
            return Device::finish(file, path, false, direct);
        }
        // A predecessor that drains holds claim and lock. The claim can't be waited for, so a
        // second description waits for the lock first; the lock that counts is the one below.
        let (probe, _) = open_file(path, true, 0).map_err(failed)?;
        lock(&probe, path, waiting)?;
        let (file, direct) = Device::claim(path)?;
        drop(probe);
        lock(&file, path, waiting)?;
        Device::finish(file, path, true, direct)
    }

    /// Opens for reading, without lock: for inspection beside a running engine.
    pub fn open_to_inspect(path: &Path) -> Result<Device, DeviceError> {
        let failed = |error| DeviceError::Open { path: path.to_path_buf(), error };
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        let block = kind.is_block_device();
        if !block && !kind.is_file() {
            return Err(DeviceError::NotADevice { path: path.to_path_buf() });
        }
        let (file, direct) = open_file(path, false, 0).map_err(failed)?;
        Device::finish(file, path, block, direct)
    }

    fn claim(path: &Path) -> Result<(File, bool), DeviceError> {
        for attempt in 1.. {
            match open_file(path, true, libc::O_EXCL) {
                Ok(opened) => return Ok(opened),
                Err(error) if error.kind() != ErrorKind::ResourceBusy => {
                    return Err(DeviceError::Open { path: path.to_path_buf(), error });
                }
                Err(_) if attempt == CLAIM_ATTEMPTS => break,
                // The kernel tells nobody when a claim ends, so there is no event to wait for.
                Err(_) => std::thread::sleep(CLAIM_PAUSE),
            }
        }
        Err(DeviceError::Claimed { path: path.to_path_buf() })
    }

    fn finish(
        mut file: File,
        path: &Path,
        block: bool,
        direct: bool,
    ) -> Result<Device, DeviceError> {
        let failed = |error| DeviceError::Open { path: path.to_path_buf(), error };
        let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let serial = if block { serial_of(metadata.rdev()) } else { String::new() };
        Ok(Device { file, path: path.to_path_buf(), size, block, direct, serial })
    }

    /// The open file: for the ring. The lock lives as long as any use of it.
    pub fn file(&self) -> &File {
        &self.file
    }
    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Whether it is a block device (and not a file).
    pub fn is_block(&self) -> bool {
        self.block
    }
    /// Whether I/O goes past the page cache. Without that, only for labs: say so.
    pub fn is_direct(&self) -> bool {
        self.direct
    }
    /// Serial or WWID of the disk, empty for files and disks without one.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    fn failed(&self, verb: &'static str, offset: u64) -> impl Fn(io::Error) -> DeviceError + '_ {
        move |error| DeviceError::Io { path: self.path.clone(), verb, offset, error }
    }

    /// Reads 4 KiB at a byte offset that is a multiple of 4 KiB.
    pub fn read_at(&self, offset: u64) -> Result<Page, DeviceError> {
        let mut page = AlignedPage::zeroed();
        self.file.read_exact_at(&mut page.0, offset).map_err(self.failed("read", offset))?;
        Ok(page.0)
    }

    /// Writes 4 KiB at a byte offset that is a multiple of 4 KiB. Stable after `sync`.
    pub fn write_at(&self, offset: u64, bytes: &Page) -> Result<(), DeviceError> {
        let mut page = AlignedPage::zeroed();
        page.0.copy_from_slice(bytes);
        self.file.write_all_at(&page.0, offset).map_err(self.failed("write", offset))
    }

    /// Reads page `page`.
    pub fn read_page(&self, page: u64) -> Result<Page, DeviceError> {
        self.read_at(page * PAGE_BYTES as u64)
    }

    /// Writes page `page`. Stable after `sync`.
    pub fn write_page(&self, page: u64, bytes: &Page) -> Result<(), DeviceError> {
        self.write_at(page * PAGE_BYTES as u64, bytes)
    }

    /// Makes completed writes stable.
    pub fn sync(&self) -> Result<(), DeviceError> {
        self.file.sync_all().map_err(self.failed("sync", 0))
    }
}

/// Serial or WWID of the disk behind a device number, as the kernel shows it. For EBS the serial
/// is the volume id, which is new after every restore.
fn serial_of(rdev: u64) -> String {
    let number = format!("{}:{}", libc::major(rdev), libc::minor(rdev));
    let Ok(mut base) = std::fs::canonicalize(Path::new("/sys/dev/block").join(number)) else {
        return String::new();
    };
    if base.join("partition").exists() {
        base.pop();
    }
    let found = ["device/serial", "serial", "device/wwid", "wwid", "dm/uuid"]
        .iter()
        .filter_map(|name| std::fs::read_to_string(base.join(name)).ok())
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .find(|text| !text.is_empty())
        .unwrap_or_default();
    let mut end = found.len().min(SERIAL_BYTES_MAX);
    while !found.is_char_boundary(end) {
        end -= 1;
    }
    found[..end].to_string()
}
