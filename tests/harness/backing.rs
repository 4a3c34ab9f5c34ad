//! A disk that takes its time: files in a file system of our own, whose writes the test holds and
//! lets go. A held write has reached the disk and has not been carried out: it lands when it is let
//! go, whatever was written in its place meanwhile.
//! Always: what nobody holds is done at once; `fsync` covers what was answered and nothing else, as
//! on a disk; at the end everything that is held is let go, so that nobody hangs.

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr,
    ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, WriteFlags,
};
use nix::mount::{MntFlags, umount2};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// The kernel's door to file systems in user space.
const DEVICE: &str = "/dev/fuse";
/// Longest wait for a write that is to be held.
const PATIENCE: Duration = Duration::from_secs(30);
/// The kernel asks again each time.
const NO_CACHE: Duration = Duration::ZERO;
/// `fallocate` modes after which a range reads as zeroes.
const MAKES_ZEROES: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;

/// Why this machine has no such disk.
#[derive(Debug)]
pub enum NoBacking {
    /// The kernel has no FUSE, or the sandbox hides it.
    Device,
    /// Only root may mount.
    NotRoot,
}

impl fmt::Display for NoBacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoBacking::Device => write!(f, "{DEVICE} does not exist; load the module fuse"),
            NoBacking::NotRoot => f.write_str("mounting needs root; run this test as root"),
        }
    }
}

/// The name under which a store is opened. Both lead to the same bytes, but the kernel takes them
/// for two files, so that a lock on one does not lock the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// The one that everybody uses.
    Front,
    /// The one that goes around locks.
    Back,
}

/// A mounted disk.
pub struct Backing {
    at: PathBuf,
    shared: Arc<Shared>,
    _session: BackgroundSession,
}

struct Store {
    name: String,
    file: File,
    bytes: u64,
}

struct Shared {
    stores: Vec<Store>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Store and bytes: the next write that touches them is held.
    hold: Option<(usize, Range<u64>)>,
    held: Vec<Held>,
    /// Reads since the mount, per store.
    reads: Vec<u64>,
}

struct Held {
    store: usize,
    offset: u64,
    data: Vec<u8>,
    reply: ReplyWrite,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, name: &str) -> usize {
        self.stores.iter().position(|store| store.name == name).expect("a store of this name")
    }

    /// Store and door behind an inode; the root has number 1.
    fn find(&self, ino: INodeNo) -> Option<(usize, &Store)> {
        let at = usize::try_from(ino.0.checked_sub(2)? / 2).ok()?;
        self.stores.get(at).map(|store| (at, store))
    }

    fn carry_out(&self, write: Held) {
        match self.stores[write.store].file.write_all_at(&write.data, write.offset) {
            Ok(()) => write.reply.written(u32::try_from(write.data.len()).expect("one request")),
            Err(error) => write.reply.error(error.into()),
        }
    }
}

fn name_behind(name: &str, door: Door) -> String {
    match door {
        Door::Front => name.to_owned(),
        Door::Back => format!("{name}.back"),
    }
}

impl Backing {
    /// Mounts stores of these names and bytes at `dir/disk`; their bytes lie in `dir/stores`.
    pub fn mount(dir: &Path, stores: &[(&str, u64)]) -> Result<Backing, NoBacking> {
        if !Path::new(DEVICE).exists() {
            return Err(NoBacking::Device);
        }
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
            return Err(NoBacking::NotRoot);
        }
        let (at, under) = (dir.join("disk"), dir.join("stores"));
        std::fs::create_dir(&at).and_then(|()| std::fs::create_dir(&under)).expect("two folders");
        let stores: Vec<Store> = stores
            .iter()
            .map(|(name, bytes)| {
                let mut options = File::options();
                let file = options.read(true).write(true).create_new(true).open(under.join(name));
                let file = file.and_then(|file| file.set_len(*bytes).map(|()| file));
                Store { name: (*name).to_owned(), file: file.expect("a store"), bytes: *bytes }
            })
            .collect();
        let state = State { reads: vec![0; stores.len()], ..State::default() };
        let shared = Shared { stores, state: Mutex::new(state), changed: Condvar::new() };
        let shared = Arc::new(shared);
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("lockstep-test".to_owned())];
        let session = Session::new(Disk(Arc::clone(&shared)), &at, &config)
            .and_then(Session::spawn)
            .expect("root may mount");
        Ok(Backing { at, shared, _session: session })
    }

    /// Where a store is opened.
    pub fn path(&self, name: &str, door: Door) -> PathBuf {
        self.at.join(name_behind(name, door))
    }

    /// The next write to these bytes is held; those behind it are carried out at once.
    pub fn hold(&self, name: &str, bytes: Range<u64>) {
        self.shared.state().hold = Some((self.shared.store(name), bytes));
    }

    /// Waits until `count` writes are held.
    pub fn wait_held(&self, count: usize) {
        let fewer = |state: &mut State| state.held.len() < count;
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), PATIENCE, fewer);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(state.held.len() >= count, "{} writes are held", state.held.len());
    }

    /// Writes that are held.
    pub fn held(&self) -> usize {
        self.shared.state().held.len()
    }

    /// Reads of a store so far.
    pub fn reads(&self, name: &str) -> u64 {
        self.shared.state().reads[self.shared.store(name)]
    }

    /// Carries out what is held, in the order in which it came. Gives the number of writes that
    /// have landed.
    pub fn release(&self) -> usize {
        let held = std::mem::take(&mut self.shared.state().held);
        let count = held.len();
        held.into_iter().for_each(|write| self.shared.carry_out(write));
        count
    }

    /// What lies on the disk, whoever has it open.
    pub fn stored(&self, name: &str, bytes: Range<u64>) -> Vec<u8> {
        let mut found = vec![0; usize::try_from(bytes.end - bytes.start).expect("a few bytes")];
        let store = &self.shared.stores[self.shared.store(name)];
        store.file.read_exact_at(&mut found, bytes.start).expect("a readable store");
        found
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.release();
        // Whoever has a file open keeps it until he closes it; the session ends with the last.
        if let Err(error) = umount2(&self.at, MntFlags::MNT_DETACH) {
            println!("{}: {error}; unmount it by hand", self.at.display());
        }
    }
}

/// What the kernel talks to.
struct Disk(Arc<Shared>);

impl Disk {
    fn attr(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match ino {
            INodeNo::ROOT => (FileType::Directory, 0o755, 0),
            _ => (FileType::RegularFile, 0o600, self.0.find(ino)?.1.bytes),
        };
        Some(FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn inode(&self, name: &OsStr) -> Option<INodeNo> {
        let names =
            self.0.stores.iter().flat_map(|store| {
                [Door::Front, Door::Back].map(|door| name_behind(&store.name, door))
            });
        let at = names.into_iter().position(|known| name == known.as_str())?;
        Some(INodeNo(2 + u64::try_from(at).expect("a few names")))
    }
}

impl Filesystem for Disk {
    /// Without this a held write would keep the worker that brought it, and not only itself.
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let asked = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        asked.map_err(|_| io::Error::other("this kernel has no asynchronous direct I/O for FUSE"))
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.inode(name).and_then(|ino| self.attr(ino)) {
            Some(attr) => reply.entry(&NO_CACHE, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Some(attr) => reply.attr(&NO_CACHE, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some((at, store)) = self.0.find(ino) else { return reply.error(Errno::ENOENT) };
        self.0.state().reads[at] += 1;
        let left = store.bytes.saturating_sub(offset).min(u64::from(size));
        let mut data = vec![0; usize::try_from(left).expect("one request")];
        match store.file.read_exact_at(&mut data, offset) {
            Ok(()) => reply.data(&data),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let Some((store, _)) = self.0.find(ino) else { return reply.error(Errno::ENOENT) };
        let end = offset + u64::try_from(data.len()).expect("one request");
        let write = Held { store, offset, data: data.to_vec(), reply };
        let mut state = self.0.state();
        let touched = |(held, bytes): &(usize, Range<u64>)| {
            *held == store && offset < bytes.end && bytes.start < end
        };
        if state.hold.take_if(|hold| touched(hold)).is_some() {
            state.held.push(write);
            self.0.changed.notify_all();
            return;
        }
        drop(state);
        self.0.carry_out(write);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some((_, store)) = self.0.find(ino) else { return reply.error(Errno::ENOENT) };
        if mode & MAKES_ZEROES == 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let zeroes = vec![0; usize::try_from(length).expect("fits a test's disk")];
        match store.file.write_all_at(&zeroes, offset) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }
}
