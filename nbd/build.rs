//! Hashes the sources of all members into one build id, so that two programs (or a program and a
//! test) can tell whether they were made from the same text.
//! Always: the same sources give the same id, wherever the tree lies and whatever the profile.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the id covers, from the top of the tree. Folders count with all they hold.
const SOURCES: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "ctl/Cargo.toml",
    "ctl/aws/Cargo.toml",
    "ctl/aws/src",
    "ctl/src",
    "engine/Cargo.toml",
    "engine/src",
    "nbd/Cargo.toml",
    "nbd/build.rs",
    "nbd/src",
];

fn main() -> io::Result<()> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed=../{source}");
        collect(&top, Path::new(source), &mut files)?;
    }
    files.sort();
    let mut hash = Fnv::new();
    for file in &files {
        hash.part(file.as_os_str().as_encoded_bytes());
        hash.part(&fs::read(top.join(file))?);
    }
    println!("cargo::rustc-env=LOCKSTEP_BUILD_ID={:032x}", hash.0);
    Ok(())
}

/// Adds `path`, or the files below it, without those that editors leave behind.
fn collect(top: &Path, path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !top.join(path).is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(top.join(path))? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if !text.starts_with(['.', '#']) && !text.ends_with('~') {
            collect(top, &path.join(&name), files)?;
        }
    }
    Ok(())
}

/// FNV-1a over 128 bits: it has to tell versions of one tree apart, not to resist anybody.
struct Fnv(u128);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    /// Length first, so that a byte cannot move from one part to the next unseen.
    fn part(&mut self, bytes: &[u8]) {
        self.bytes(&(bytes.len() as u64).to_le_bytes());
        self.bytes(bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u128::from(*byte);
            self.0 = self.0.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}
