//! Crashes between any two steps, and files that were changed apart.

use super::compare::{Apart, Verdict, compare};
use super::*;
use lockstep_engine::units::NodeId;
use std::cell::Cell;

const BOOT: BootId = BootId(1);

/// A node with an old file.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new(text: &str) -> Host {
        let host = Host { dir: tempfile::tempdir().unwrap() };
        fs::write(host.file(), text).unwrap();
        host
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("cluster.toml")
    }

    fn installed(&self) -> Installed {
        Installed::new(&self.file(), &self.dir.path().join("state"))
    }

    fn open(&self) -> Found {
        self.installed().open(BOOT).unwrap()
    }

    fn standing(&self) -> Standing {
        let found = self.open();
        let file = Digest::of(&self.installed().text().unwrap());
        Standing { record: found.record, file, running: file }
    }

    /// Applies a text to this node alone.
    fn apply(&self, text: &str) {
        let (installed, found) = (self.installed(), self.open());
        let next = found.record.next(Digest::of(text));
        installed.prepare(text, &next, found.record.digest).unwrap();
        installed.commit(&next).unwrap();
    }

    fn entries(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }
}

/// Lets so many steps pass, then the power goes.
fn power_goes_after(steps: usize) -> impl Fn(&str) -> io::Result<()> {
    let left = Cell::new(steps);
    move |_| match left.get() {
        0 => Err(io::Error::other("the power went")),
        n => {
            left.set(n - 1);
            Ok(())
        }
    }
}

#[test]
fn a_crash_at_any_step_leaves_the_old_file_or_the_new_one_and_apply_ends_it() {
    let points = 6;
    let mut renewed = 0;
    for steps in 0..=points {
        let host = Host::new("old");
        let installed = host.installed();
        let old = host.open().record;
        assert_eq!((old.version, old.digest), (0, Digest::of("old")));
        installed.took_over("old", BOOT).unwrap();
        let next = old.next(Digest::of("new"));
        let between = power_goes_after(steps);
        let done = installed
            .prepare_by("new", &next, old.digest, &between)
            .and_then(|()| installed.commit_by(&next, &between));
        assert_eq!(done.is_ok(), steps == points, "{steps}: {done:?}");
        let found = host.open();
        let text = installed.text().unwrap();
        if text == "new" {
            renewed += 1;
            assert_eq!(found.record, next, "{steps}");
            // The daemon had not taken it over: what it ran is run first.
            assert_eq!((found.run.as_str(), found.next.as_deref()), ("old", Some("new")));
        } else {
            assert_eq!((text.as_str(), &found.record), ("old", &old), "{steps}");
            assert_eq!((found.run.as_str(), found.next), ("old", None));
        }
        assert_eq!(host.entries(), 2, "{steps}: nothing is left beside the file");
        if text == "old" {
            host.apply("new");
        }
        assert_eq!(host.open().record, next);
        installed.took_over("new", BOOT).unwrap();
        let found = host.open();
        assert_eq!((found.run.as_str(), found.next), ("new", None));
    }
    assert_eq!(renewed, 3, "renamed, recorded, done");
}

#[test]
fn another_boot_has_nothing_of_the_former_file_to_take_down() {
    let host = Host::new("old");
    host.open();
    host.installed().took_over("old", BOOT).unwrap();
    host.apply("new");
    assert_eq!(host.open().next.as_deref(), Some("new"));
    let after = host.installed().open(BootId(2)).unwrap();
    assert_eq!((after.run.as_str(), after.next), ("new", None));
}

#[test]
fn what_was_not_prepared_or_was_touched_since_is_not_committed() {
    let host = Host::new("old");
    let (installed, old) = (host.installed(), host.open().record);
    let next = old.next(Digest::of("new"));
    let not = installed.commit(&next);
    assert!(matches!(not, Err(InstallError::NotPrepared { .. })), "{not:?}");
    installed.prepare("new", &next, old.digest).unwrap();
    fs::write(host.file(), "edited meanwhile").unwrap();
    let damaged = installed.commit(&next);
    assert!(matches!(damaged, Err(InstallError::Damaged { .. })), "{damaged:?}");
    assert_eq!(installed.text().unwrap(), "edited meanwhile");
    fs::write(host.file(), "old").unwrap();
    fs::write(host.dir.path().join("cluster.toml.prepared"), "forged").unwrap();
    assert!(matches!(installed.commit(&next), Err(InstallError::Damaged { .. })));
    installed.prepare("new", &next, old.digest).unwrap();
    installed.commit(&next).unwrap();
    installed.commit(&next).unwrap();
    assert_eq!(installed.text().unwrap(), "new");
}

#[test]
fn a_file_that_was_edited_in_place_may_be_applied_as_it_is() {
    let host = Host::new("old");
    let (installed, old) = (host.installed(), host.open().record);
    fs::write(host.file(), "new").unwrap();
    let next = old.next(Digest::of("new"));
    installed.prepare("new", &next, old.digest).unwrap();
    installed.commit(&next).unwrap();
    assert!(!host.standing().is_edited());
}

#[test]
fn a_node_that_was_away_takes_the_newer_file_and_the_other_one_waits() {
    let (a, b) = (Host::new("old"), Host::new("old"));
    assert_eq!(compare(NodeId::A, &a.standing(), &b.standing()), Verdict::Fine);
    a.apply("new");
    a.apply("newer");
    let (mine, theirs) = (a.standing(), b.standing());
    assert_eq!(compare(NodeId::A, &mine, &theirs), Verdict::Fine);
    assert_eq!(compare(NodeId::B, &theirs, &mine), Verdict::Behind(mine.record.clone()));
}

#[test]
fn files_that_were_changed_apart_are_refused_on_both_nodes() {
    let (a, b) = (Host::new("old"), Host::new("old"));
    a.apply("one");
    b.apply("other");
    b.apply("another");
    for (me, mine, theirs) in [(NodeId::A, &a, &b), (NodeId::B, &b, &a)] {
        let (mine, theirs) = (mine.standing(), theirs.standing());
        assert_eq!(compare(me, &mine, &theirs), Verdict::Apart);
        let told = Apart { me, mine: &mine, theirs: &theirs }.to_string();
        assert!(told.contains(&Digest::of("one").short()), "{told}");
        assert!(told.contains("version 2") && told.contains("both nodes"), "{told}");
    }
    // By hand on one node: it is no version, and nobody takes it by itself.
    let (a, b) = (Host::new("old"), Host::new("old"));
    a.open();
    b.open();
    fs::write(b.file(), "edited").unwrap();
    assert_eq!(compare(NodeId::A, &a.standing(), &b.standing()), Verdict::Apart);
    assert_eq!(compare(NodeId::B, &b.standing(), &a.standing()), Verdict::Apart);
}

#[test]
fn going_back_to_an_older_text_is_a_new_version_and_no_way_back() {
    let (a, b) = (Host::new("one"), Host::new("one"));
    a.apply("two");
    b.apply("two");
    b.apply("one");
    a.apply("three");
    // b went back to "one" while a went on: that "one" was a version once does not make it older.
    assert_eq!(compare(NodeId::B, &b.standing(), &a.standing()), Verdict::Apart);
}

#[test]
fn the_same_file_put_on_both_nodes_by_hand_is_one_version_on_both() {
    let (a, b) = (Host::new("old"), Host::new("old"));
    a.apply("new");
    b.open();
    for host in [&a, &b] {
        fs::write(host.file(), "by hand").unwrap();
    }
    let (of_a, of_b) = (a.standing(), b.standing());
    let at_a = compare(NodeId::A, &of_a, &of_b);
    assert_eq!(at_a, compare(NodeId::B, &of_b, &of_a));
    let Verdict::Adopt(record) = at_a else { panic!("{at_a:?}") };
    assert_eq!((record.version, record.digest), (2, Digest::of("by hand")));
    a.installed().adopt(&record).unwrap();
    // The other one may come later, and sees that it has that file.
    assert_eq!(compare(NodeId::A, &a.standing(), &b.standing()), Verdict::Fine);
    assert_eq!(compare(NodeId::B, &b.standing(), &a.standing()), Verdict::Adopt(record));
}

#[test]
fn a_history_is_bounded() {
    let mut record = Record { version: 0, digest: Digest(1), history: Vec::new() };
    for n in 2..200 {
        record = record.next(Digest(n));
    }
    assert_eq!(record.history.len(), HISTORY_MAX);
    assert_eq!(record.history.last(), Some(&(197, Digest(198))));
}
