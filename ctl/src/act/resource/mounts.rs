//! What is mounted: `/proc/self/mountinfo` is the truth, whatever else claims to know.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount, in the order in which the kernel lists them: later ones hide earlier ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Major and minor number of the device.
    pub device: (u32, u32),
    /// Where.
    pub at: PathBuf,
    /// Kind of file system.
    pub kind: String,
    /// What was given as its device.
    pub source: PathBuf,
    /// Options of the mount.
    pub options: String,
    /// Options of the file system itself.
    pub own_options: String,
}

impl Mount {
    /// Whether one of the options, of the mount or of the file system, is `word`.
    pub fn has(&self, word: &str) -> bool {
        let both = [&self.options, &self.own_options];
        both.iter().any(|options| options.split(',').any(|option| option == word))
    }
}

/// Mounts that this process sees.
///
/// # Errors
/// `/proc` is not there.
pub fn read() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// Mounts that the process `pid` sees; none when it is gone.
pub fn of_process(pid: u32) -> Vec<Mount> {
    fs::read(format!("/proc/{pid}/mountinfo")).map_or_else(|_| Vec::new(), |text| parse(&text))
}

/// What is mounted at `at`, lowest first.
pub fn stack<'a>(mounts: &'a [Mount], at: &Path) -> Vec<&'a Mount> {
    mounts.iter().filter(|mount| mount.at == at).collect()
}

/// Mounts below `at`.
pub fn below<'a>(mounts: &'a [Mount], at: &Path) -> Vec<&'a Mount> {
    mounts.iter().filter(|mount| mount.at != at && mount.at.starts_with(at)).collect()
}

/// Lines of mountinfo; a line of another shape is left out.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let device = String::from_utf8_lossy(words.nth(2)?).into_owned();
    let (major, minor) = device.split_once(':')?;
    let at = unescape(words.nth(1)?);
    let options = String::from_utf8_lossy(words.next()?).into_owned();
    // Any number of optional fields, then a dash.
    words.find(|word| *word == b"-")?;
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        at: PathBuf::from(at),
        kind: String::from_utf8_lossy(words.next()?).into_owned(),
        source: PathBuf::from(unescape(words.next()?)),
        options,
        own_options: String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned(),
    })
}

/// The kernel writes white space and backslashes as three octal digits.
fn unescape(word: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        let digits = word.get(at + 1..at + 4).filter(|_| word[at] == b'\\');
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(value.unwrap_or(word[at]));
        at += if value.is_some() { 4 } else { 1 };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
        36 22 43:0 / /srv/a\\040b rw,noatime shared:7 master:1 - xfs /dev/nbd0 ro,attr2\n\
        37 36 0:44 / /srv/a\\040b/tmp rw - tmpfs tmpfs rw\n\
        garbage\n";

    #[test]
    fn lines_are_read_with_and_without_optional_fields() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[1].device, (43, 0));
        assert_eq!(mounts[1].at, Path::new("/srv/a b"));
        assert_eq!((mounts[1].kind.as_str(), &mounts[1].source), ("xfs", &"/dev/nbd0".into()));
        assert!(mounts[1].has("ro") && mounts[1].has("noatime") && !mounts[1].has("nodev"));
    }

    #[test]
    fn what_lies_below_is_told_from_what_begins_alike() {
        let mut mounts = parse(TEXT);
        mounts.push(Mount { at: "/srv/a bc".into(), ..mounts[1].clone() });
        assert_eq!(stack(&mounts, Path::new("/srv/a b")).len(), 1);
        let below = below(&mounts, Path::new("/srv/a b"));
        assert_eq!(below.len(), 1);
        assert_eq!(below[0].kind, "tmpfs");
    }

    #[test]
    fn the_root_of_this_process_is_mounted() {
        assert!(!read().unwrap().is_empty());
    }
}
