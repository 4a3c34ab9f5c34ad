//! Engine and daemon take the same key files, and say the same about one that they refuse.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use harness::bins::{self, Bins};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const IDS: &str = "
[cluster]
id = \"c1\"
name = \"lab\"
[group]
id = \"62\"
name = \"group\"
[volume]
id = \"7001\"
name = \"vol\"
";

/// Configurations of both programs in `dir`, whose key file is `key`. Nothing else is there.
fn configure(dir: &Path) {
    let at = dir.display();
    let engine = format!(
        "node = \"a\"\ndata = \"{at}/data\"\ncluster_partition = \"{at}/meta\"\n\
         admin = \"{at}/admin\"\n{IDS}[link]\nlisten = \"127.0.0.1:0\"\n\
         peer = \"127.0.0.1:1\"\nkey_file = \"{at}/key\"\n"
    );
    let node = format!(
        "node = \"a\"\nkey_file = \"{at}/key\"\nruntime_dir = \"{at}\"\nstate_dir = \"{at}\"\n\
         daemon_socket = \"{at}/daemon\"\n{IDS}[engine]\nsocket = \"{at}/admin\"\n\
         config = \"{at}/engine.toml\"\n[heartbeat]\nbind = \"127.0.0.1:0\"\n\
         peer = \"127.0.0.1:1\"\n[arbiter]\ndirectory = \"{at}/arbiter\"\n"
    );
    fs::write(dir.join("engine.toml"), engine).unwrap();
    fs::write(dir.join("node.toml"), node).unwrap();
}

/// What a program that does not start says about the key file.
fn said(program: &Path, verb: &str, config: &Path) -> String {
    // A program that takes the key after all would run for ever.
    let mut bounded = Command::new("timeout");
    let ran = bounded.arg("10").arg(program).args([verb, "--config"]).arg(config).output().unwrap();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.code().is_some_and(|code| code == 1), "{verb}: {}\n{told}", ran.status);
    let line = told.lines().find_map(|line| line.find("key file ").map(|at| line[at..].to_owned()));
    line.unwrap_or_else(|| panic!("{verb} does not speak of the key file:\n{told}"))
}

#[test]
fn both_programs_refuse_the_same_key_files_in_the_same_words() {
    let Bins { engine: engine_program, lockstep } = bins::find().unwrap();
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path());
    let both = || {
        let engine = said(&engine_program, "run", &dir.path().join("engine.toml"));
        let daemon = said(&lockstep, "daemon", &dir.path().join("node.toml"));
        assert_eq!(engine, daemon);
        let format = said(&engine_program, "format", &dir.path().join("engine.toml"));
        assert_eq!(format, format!("{engine}; nothing was written"));
        engine
    };
    assert!(both().contains("No such file"));
    // The last one is long and random enough for anybody, and still no key.
    for text in ["", "5a5a\n", &"0".repeat(64), "correct horse battery staple, and some more"] {
        fs::write(dir.path().join("key"), text).unwrap();
        let told = both();
        assert!(told.contains("64 random hex digits"), "{told}");
        assert!(!told.contains("horse"), "{told}");
    }
}

/// Everything that a program says which is given a key file of that mode.
fn said_of_mode(program: &Path, verb: &str, config: &Path, key: &Path, mode: u32) -> String {
    fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
    let mut bounded = Command::new("timeout");
    let ran = bounded.arg("2").arg(program).args([verb, "--config"]).arg(config).output().unwrap();
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

#[test]
fn a_key_file_that_others_may_read_is_taken_with_a_warning_that_names_the_way_out() {
    let Bins { engine, lockstep } = bins::find().unwrap();
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path());
    let key = dir.path().join("key");
    fs::write(&key, "5a".repeat(32)).unwrap();
    for (name, bytes) in [("data", 17 << 20), ("meta", 16 << 20)] {
        let file = fs::File::create(dir.path().join(name)).unwrap();
        file.set_len(bytes).unwrap();
    }
    let hint = format!("chmod 600 {}", key.display());
    let engine_toml = dir.path().join("engine.toml");
    for (program, verb, config) in [
        (&engine, "format", engine_toml.clone()),
        (&engine, "run", engine_toml),
        (&lockstep, "daemon", dir.path().join("node.toml")),
    ] {
        let told = said_of_mode(program, verb, &config, &key, 0o644);
        assert!(told.contains(&hint) && told.contains("mode 644"), "{verb}: {told}");
        let told = said_of_mode(program, verb, &config, &key, 0o600);
        assert!(!told.contains("chmod"), "{verb}: {told}");
    }
}
