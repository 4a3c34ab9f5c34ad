//! Options of a mount as operators write them, parted into what the kernel takes as flags and what
//! the file system reads. Words that are for mount programs alone are dropped.

use rustix::mount::MountFlags;

/// Words that the kernel takes as flags: word, flag, whether the word sets it.
const FLAGS: &[(&str, MountFlags, bool)] = &[
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("diratime", MountFlags::NODIRATIME, false),
    ("relatime", MountFlags::RELATIME, true),
    ("norelatime", MountFlags::RELATIME, false),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("lazytime", MountFlags::LAZYTIME, true),
    ("nolazytime", MountFlags::LAZYTIME, false),
    ("silent", MountFlags::SILENT, true),
];

/// Words for mount programs and boot scripts.
const FOR_OTHERS: &[&str] =
    &["defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "group"];

/// Flags and the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// For the kernel.
    pub flags: MountFlags,
    /// For the file system, comma-separated.
    pub data: String,
}

/// Parts `text`.
pub fn parse(text: &str) -> Options {
    let mut flags = MountFlags::empty();
    let mut data: Vec<&str> = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if let Some((_, flag, sets)) = FLAGS.iter().find(|(name, _, _)| *name == word) {
            flags.set(*flag, *sets);
        } else if !(FOR_OTHERS.contains(&word) || word.starts_with("x-")) {
            data.push(word);
        }
    }
    Options { flags, data: data.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_kernel_to_the_file_system_or_to_nobody() {
        let options = parse("defaults,noatime, nosuid,data=ordered,x-systemd.automount,_netdev,ro");
        let flags = MountFlags::NOATIME | MountFlags::NOSUID | MountFlags::RDONLY;
        assert_eq!(options, Options { flags, data: "data=ordered".to_owned() });
    }

    #[test]
    fn the_last_of_two_words_that_contradict_each_other_counts() {
        assert_eq!(parse("ro,rw").flags, MountFlags::empty());
        assert_eq!(parse("").data, "");
    }
}
