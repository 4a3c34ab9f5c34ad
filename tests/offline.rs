//! `format` and `inspect`, and how partitions are opened: nothing is overwritten by mistake, and
//! two engines never share a partition.

use lockstep_engine::config::EngineConfig;
use lockstep_engine::device::{Device, DeviceError};
use lockstep_engine::format::recover::{TailVerdict, recover};
use lockstep_engine::format::tail::Tail;
use lockstep_engine::offline::{self, Content, FormatError, Formatted, Permission};
use lockstep_engine::units::DiskState;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;

const DATA: u64 = (64 << 20) + 1000;
const SIZE: u64 = 63 << 20;
const NONE: Permission = Permission { force: false, adopt: false };
const FORCE: Permission = Permission { force: true, adopt: false };
const ADOPT: Permission = Permission { force: false, adopt: true };

struct Lab {
    folder: tempfile::TempDir,
    config: EngineConfig,
}

impl Lab {
    fn new() -> Lab {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            "node = \"a\"\ndata = {:?}\ncluster_partition = {:?}\nadmin = {:?}\n\
             cluster = {{ id = \"c1\", name = \"lab\" }}\n\
             group = {{ id = \"61\", name = \"g\" }}\n\
             volume = {{ id = \"70\", name = \"v\" }}\n\
             [link]\nlisten = \"127.0.0.1:1\"\npeer = \"127.0.0.1:2\"\nkey_file = {:?}\n\
             [limits]\nintent_regions = 64\n",
            path("data"),
            path("cluster"),
            path("admin"),
            path("key")
        );
        let config = EngineConfig::parse(&text).expect("a sound configuration");
        std::fs::write(folder.path().join("engine.toml"), text).expect("writable");
        let key = "5a".repeat(32);
        std::fs::write(folder.path().join("key"), key).expect("writable");
        let lab = Lab { folder, config };
        lab.resize("data", DATA);
        lab.resize("cluster", 1 << 20);
        lab
    }

    fn resize(&self, name: &str, len: u64) {
        let path = self.folder.path().join(name);
        let file = File::options().create(true).write(true).truncate(false).open(path);
        file.and_then(|file| file.set_len(len)).expect("resizable");
    }

    fn patch(&self, name: &str, at: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(self.folder.path().join(name)).expect("open");
        file.write_all_at(bytes, at).expect("writable");
    }

    fn format(&self, permission: Permission) -> Result<Formatted, FormatError> {
        offline::format(&self.config, permission, &mut |_| panic!("nobody holds the lab"))
    }

    fn refused(&self, permission: Permission) -> (FormatError, String) {
        let before = std::fs::read(&self.config.cluster_partition).expect("readable");
        let error = self.format(permission).expect_err("refused");
        let after = std::fs::read(&self.config.cluster_partition).expect("readable");
        assert!(before == after, "a refusal writes nothing");
        let text = error.to_string();
        (error, text)
    }
}

/// What `inspect` says, and whether all is sound.
fn look(path: &Path, page: Option<u64>, json: bool) -> (String, bool) {
    let found = offline::inspect(path, page, json).expect("readable");
    (found.text, found.sound)
}

#[test]
fn without_a_key_that_the_engine_takes_nothing_is_formatted() {
    let lab = Lab::new();
    let key = lab.folder.path().join("key");
    std::fs::write(&key, "5a5a").expect("writable");
    let (error, text) = lab.refused(FORCE);
    assert!(matches!(error, FormatError::Key(_)), "{text}");
    assert!(text.contains("64 random hex digits") && text.contains("nothing was written"));
    std::fs::remove_file(&key).expect("removable");
    let (_, text) = lab.refused(NONE);
    assert!(text.contains(&key.display().to_string()) && text.contains("`key_file`"), "{text}");
}

fn open(path: &Path) -> Device {
    Device::open(path, &mut |_| panic!("nobody holds it")).expect("free")
}

#[test]
fn a_fresh_copy_recovers_and_must_be_filled() {
    let lab = Lab::new();
    let made = lab.format(NONE).expect("formatted");
    assert_eq!(made.size, SIZE, "1 MiB less, in whole blocks");
    let (cluster, data) = (open(&lab.config.cluster_partition), open(&lab.config.data));
    let tail = [0, 1].map(|slot| data.read_at(Tail::slot_offset(SIZE, slot)).ok());
    let found = recover(&mut |page| cluster.read_page(page).ok(), tail, "").expect("sound");
    assert_eq!(found.findings, []);
    assert_eq!(found.tail, TailVerdict::Matches);
    assert_eq!(found.superblock.pair_tag, made.pair_tag);
    assert!(made.pair_tag.is_some() && found.superblock.needs_full);
    assert_eq!(found.superblock.disk, DiskState::Inconsistent);
    assert_eq!((found.log.len(), found.bitmap.count()), (0, 0));
}

#[test]
fn a_formatted_pair_is_not_formatted_again_by_mistake() {
    let lab = Lab::new();
    let first = lab.format(NONE).expect("formatted");
    let (error, text) = lab.refused(NONE);
    assert!(matches!(error, FormatError::Formatted { .. }), "{text}");
    assert!(text.contains("--force"), "{text}");
    // Another cluster partition: the data still says whose it is.
    lab.resize("cluster", 0);
    lab.resize("cluster", 1 << 20);
    assert!(matches!(lab.refused(NONE).0, FormatError::Tail { .. }));
    let second = lab.format(FORCE).expect("forced");
    assert_ne!(first.pair_tag, second.pair_tag);
}

#[test]
fn a_formatted_pair_with_its_partitions_exchanged_is_refused() {
    let mut lab = Lab::new();
    lab.resize("cluster", DATA);
    lab.format(NONE).expect("formatted");
    let config = &mut lab.config;
    std::mem::swap(&mut config.data, &mut config.cluster_partition);
    let (error, text) = lab.refused(NONE);
    assert!(matches!(error, FormatError::Tail { .. } | FormatError::Formatted { .. }), "{text}");
    // Each of the two marks is enough.
    let (pages, end) = ([0; 8192], (DATA - (1 << 20)) / 4096 * 4096);
    lab.patch("data", end, &[0; 1 << 20]);
    let (error, text) = lab.refused(NONE);
    assert!(matches!(error, FormatError::Formatted { .. }), "{text}");
    lab.patch("cluster", 0, &pages);
    lab.format(NONE).expect("nothing is left that says whose they are");
}

#[test]
fn partitions_that_are_too_small_are_refused_with_numbers() {
    let lab = Lab::new();
    lab.resize("cluster", 4096 * 20);
    let (error, text) = lab.refused(NONE);
    let FormatError::ClusterTooSmall { needed, found, .. } = error else { panic!("{text}") };
    assert_eq!(found, 4096 * 20);
    assert!(text.contains(&needed.to_string()));
    lab.resize("cluster", needed);
    lab.format(NONE).expect("exactly enough");
    lab.resize("data", 1 << 20);
    assert!(matches!(lab.refused(FORCE).0, FormatError::DataTooSmall { .. }));
}

#[test]
fn one_partition_under_two_names_is_refused() {
    let lab = Lab::new();
    std::fs::remove_file(&lab.config.cluster_partition).expect("removable");
    std::os::unix::fs::symlink(&lab.config.data, &lab.config.cluster_partition).expect("link");
    assert!(matches!(lab.refused(FORCE).0, FormatError::SamePartition { .. }));
}

/// Marks the data partition as an ext file system of that many 4 KiB blocks.
fn ext(lab: &Lab, blocks: u32) {
    lab.patch("data", 1024 + 0x38, &[0x53, 0xef]);
    lab.patch("data", 1024 + 0x04, &blocks.to_le_bytes());
    lab.patch("data", 1024 + 0x18, &2u32.to_le_bytes());
}

#[test]
fn a_file_system_is_kept_only_when_asked_and_only_when_it_leaves_room() {
    let lab = Lab::new();
    let whole = u32::try_from(SIZE / 4096).expect("fits");
    ext(&lab, whole);
    let (error, text) = lab.refused(NONE);
    assert!(text.contains("ext file system") && text.contains("--adopt"), "{text}");
    let content = Content::Ext { bytes: SIZE };
    assert!(matches!(error, FormatError::DataInUse { content: found, .. } if found == content));
    ext(&lab, whole + 1);
    assert!(matches!(lab.refused(ADOPT).0, FormatError::NoRoomForTail { limit: SIZE, .. }));
    ext(&lab, whole);
    lab.format(ADOPT).expect("it ends where the tail begins");
    let head = std::fs::read(&lab.config.data).expect("readable");
    assert_eq!(head[1024 + 0x38..1024 + 0x3a], [0x53, 0xef], "the file system is still there");
}

#[test]
fn what_can_be_recognised_is_not_overwritten() {
    type Story = (u64, &'static [u8], Content);
    let stories: [Story; 6] = [
        (0, b"LUKS\xba\xbe", Content::Luks),
        (4086, b"SWAPSPACE2", Content::Swap),
        (512, b"LABELONE", Content::Lvm),
        (65_536 + 64, b"_BHRfS_M", Content::Btrfs),
        (512, b"EFI PART", Content::PartitionTable),
        (0, b"XFSB\0\0\x10\0\0\0\0\0\0\0\0\x10", Content::Xfs { bytes: 65_536 }),
    ];
    for (at, magic, content) in stories {
        let lab = Lab::new();
        lab.patch("data", at, magic);
        let (error, text) = lab.refused(NONE);
        let FormatError::DataInUse { content: found, .. } = error else { panic!("{text}") };
        assert_eq!(found, content);
        let adopted = lab.format(ADOPT);
        assert_eq!(adopted.is_ok(), content.bytes().is_some());
        let lab = Lab::new();
        lab.patch("cluster", at, magic);
        assert!(matches!(lab.refused(NONE).0, FormatError::ClusterInUse { .. }));
        lab.format(FORCE).expect("forced");
    }
    assert!(matches!(Lab::new().refused(ADOPT).0, FormatError::CannotAdopt { content: None, .. }));
}

#[test]
fn a_second_opener_waits_until_the_first_has_let_go() {
    let lab = Lab::new();
    let path = lab.config.data.clone();
    let first = open(&path);
    let (told, heard) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let told_waiting = told.clone();
        let second = Device::open(&path, &mut |_| {
            told_waiting.send("waiting").expect("the test listens");
        });
        told.send("open").expect("the test listens");
        second.map(|device| device.size())
    });
    assert_eq!(heard.recv(), Ok("waiting"));
    assert!(heard.try_recv().is_err(), "it does not open while the lock is held");
    drop(first);
    assert_eq!(heard.recv(), Ok("open"));
    assert_eq!(waiter.join().expect("no panic").expect("opened"), DATA);
}

#[test]
fn what_is_no_partition_is_refused() {
    let lab = Lab::new();
    let folder = Device::open(lab.folder.path(), &mut |_| {}).expect_err("a folder");
    assert!(matches!(folder, DeviceError::NotADevice { .. }), "{folder}");
    let absent = Device::open(&lab.folder.path().join("absent"), &mut |_| {}).expect_err("absent");
    assert!(absent.to_string().contains("absent"), "{absent}");
}

#[test]
fn pages_are_read_back_as_written() {
    let lab = Lab::new();
    let device = open(&lab.config.cluster_partition);
    let page = [0x5a; 4096];
    device.write_page(7, &page).expect("writable");
    device.sync().expect("stable");
    assert_eq!(device.read_page(7).expect("readable"), page);
    assert_eq!(device.read_page(8).expect("readable"), [0; 4096]);
    assert!(device.read_page(1 << 20).is_err(), "past the end");
    assert_eq!((device.serial(), device.is_block()), ("", false));
}

#[test]
fn inspect_explains_sound_and_damaged_partitions_and_writes_nothing() {
    let lab = Lab::new();
    let cluster = lab.config.cluster_partition.clone();
    let (empty, sound) = look(&cluster, None, false);
    assert!(!sound, "{empty}");
    assert!(empty.contains("no superblock") && empty.contains("never formatted"), "{empty}");
    lab.format(NONE).expect("formatted");
    // A running engine holds the lock; looking needs none.
    let held = open(&cluster);
    let (text, sound) = look(&cluster, None, false);
    assert!(sound, "{text}");
    assert!(text.contains("intent log: intact") && text.contains("damaged pages: 0"), "{text}");
    let (tail, sound) = look(&lab.config.data, None, false);
    assert!(sound, "{tail}");
    assert!(tail.contains("tail, sound"), "{tail}");
    drop(held);
    lab.patch("cluster", 4096 + 700, &[0xff]);
    lab.patch("cluster", 4096 * 9 + 100, &[0xff]);
    let before = std::fs::read(&cluster).expect("readable");
    let (text, sound) = look(&cluster, None, true);
    assert!(!sound, "{text}");
    assert!(!look(&cluster, Some(9), false).1 && look(&cluster, Some(0), false).1);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["superblocks"][0]["sound"], true);
    assert_eq!(value["superblocks"][1]["sound"], false);
    assert_eq!(value["superblocks"][1]["fields"]["sequence"], 1);
    assert_eq!(value["log"]["health"], "lost");
    assert_eq!(value["damaged"].as_array().map(Vec::len), Some(1));
    let (page, sound) = look(&cluster, Some(10), true);
    assert!(sound, "{page}");
    let value: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!((&value["kind"], &value["fields"]["capacity"]), (&"intent log".into(), &64.into()));
    assert_eq!(std::fs::read(&cluster).expect("readable"), before);
}
