//! Questions become a good file; partitions are found; verbs end with the right code.

use super::*;
use clap::CommandFactory;
use std::os::unix::fs::symlink;

const FILE: &str = include_str!("../../../cluster.sample.toml");

#[test]
fn the_questions_lead_to_a_good_file() {
    let lines = [
        "shop",
        "",
        "shop-2",
        "10.0.1.10",
        "ten",
        "10.0.2.10",
        "",
        "maybe",
        "none",
        "orders",
        "1",
        "",
        "9",
        "/dev/meta",
        "",
        "",
        "",
        "",
        "shop",
        "10.1.0.5",
        "",
        "",
        "eth0",
        "eth0",
        "x.service",
        "10.0.1.1",
        "10.0.2.1",
    ];
    let input = lines.join("\n") + "\n";
    let mut output = Vec::new();
    let partition =
        disks::Partition { path: "/dev/disk/by-id/x".into(), bytes: 1 << 30, used: None };
    let answers = Asker::new(input.as_bytes(), &mut output).answers("shop-1", &[partition]);
    let asked = String::from_utf8(output).unwrap();
    let answers = answers.unwrap_or_else(|error| panic!("{error}\n{asked}"));
    assert_eq!((answers.nodes.a.as_str(), answers.nodes.b.as_str()), ("shop-1", "shop-2"));
    assert_eq!(answers.volumes[0].data.b, "/dev/disk/by-id/x");
    assert!(asked.contains("please: an IP address"), "{asked}");
    assert!(asked.contains("please: a number of the list"), "{asked}");
    let mut n = 0;
    let text = answers.render(&mut || {
        n += 1;
        n
    });
    let view = Cluster::parse(&text).unwrap().node(NodeId::A);
    assert_eq!(view.groups[0].settings.resources.len(), 4);
}

#[test]
fn the_questions_know_addresses_and_the_table_of_aws() {
    let lines = [
        "shop",
        "a-1",
        "b-1",
        "10.0.1.10",
        "10.0.2.10",
        "",
        "dynamodb",
        "",
        "",
        "shop",
        "10.2.0.5",
        "vpc-1",
        "eipalloc-1",
        "ens5",
        "ens6",
        "",
        "",
    ];
    let input = lines.join("\n") + "\n";
    let answers = Asker::new(input.as_bytes(), Vec::new()).answers("", &[]).unwrap();
    let mut n = 0;
    let text = answers.render(&mut || {
        n += 1;
        n
    });
    let cluster = Cluster::parse(&text).unwrap_or_else(|wrong| panic!("{wrong:?}\n{text}"));
    let needs = crate::config::cluster::needs_aws(&cluster.node(NodeId::A));
    let wanted = [
        "arbiter (dynamodb)",
        "resource shop/vip (aws_vip)",
        "resource shop/eip (aws_eip)",
        "monitor zone (aws_az)",
    ];
    assert_eq!(needs, wanted, "{text}");
}

#[test]
fn the_answers_that_the_help_shows_make_a_good_file() {
    let mut n = 0;
    let text = Answers::parse(ANSWERS).unwrap().render(&mut || {
        n += 1;
        n
    });
    let view = Cluster::parse(&text).unwrap().node(NodeId::B);
    assert_eq!(view.groups[0].settings.name, "shop");
    let mut command = super::super::Cli::command();
    let mut at = &mut command;
    for verb in ["config", "init"] {
        at = at.find_subcommand_mut(verb).unwrap();
    }
    let help = at.render_long_help().to_string();
    for line in ANSWERS.lines().filter(|line| !line.is_empty()) {
        assert!(help.contains(line.trim()), "{line}\n{help}");
    }
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains("--answers") && readme.contains("ctl/answers.sample.toml"));
}

#[test]
fn an_input_that_ends_is_no_answer() {
    let error = Asker::new(&b"shop\n"[..], Vec::new()).answers("a", &[]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn partitions_are_found_by_their_lasting_names() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("sys/block/nvme0n1/size", "4096\n");
    put("sys/block/nvme0n1/nvme0n1p1/partition", "1\n");
    put("sys/block/nvme0n1/nvme0n1p1/size", "2048\n");
    put("sys/block/nvme0n1/nvme0n1p2/partition", "2\n");
    put("sys/block/nvme0n1/nvme0n1p2/size", "1024\n");
    put("sys/block/sdb/size", "8\n");
    put("sys/block/sdb/holders/dm-0", "");
    put("sys/block/loop0/size", "8\n");
    put("sys/block/sdc/size", "0\n");
    put("proc/self/mounts", "/dev/nvme0n1p1 /boot ext4 rw 0 0\nproc /proc proc rw 0 0\n");
    put("dev/disk/by-id/x", "");
    let by_id = root.path().join("dev/disk/by-id");
    symlink("../../nvme0n1p2", by_id.join("nvme-Amazon_vol1-part2")).unwrap();
    symlink("../../nvme0n1p2", by_id.join("nvme-eui.00-part2")).unwrap();
    let found = disks::partitions(root.path()).unwrap();
    let shown: Vec<(String, u64, Option<&str>)> = found
        .iter()
        .map(|one| (one.path.display().to_string(), one.bytes, one.used.as_deref()))
        .collect();
    let expected = [
        ("/dev/nvme0n1p1".to_owned(), 1 << 20, Some("mounted at /boot")),
        ("/dev/disk/by-id/nvme-Amazon_vol1-part2".to_owned(), 1 << 19, None),
        ("/dev/sdb".to_owned(), 4096, Some("used by dm-0")),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn verbs_end_with_codes_that_scripts_can_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let good = file("good.toml", FILE);
    let wrong = file("wrong.toml", "x = 1");
    let missing = folder.path().join("missing.toml");
    for json in [false, true] {
        let check = |file: &Path| run(&ConfigVerb::Check { file: file.to_owned(), json });
        assert_eq!(check(&good), Exit::Ok);
        assert_eq!(check(&wrong), Exit::Usage);
        assert_eq!(check(&missing), Exit::Failed);
        let diff = |old: &Path, new: &Path| {
            run(&ConfigVerb::Diff { old: old.to_owned(), new: new.to_owned(), json })
        };
        assert_eq!(diff(&good, &good), Exit::Ok);
        assert_eq!(diff(&good, &wrong), Exit::Usage);
    }
    let answers = file(
        "answers.toml",
        "cluster = \"c\"\nnodes = { a = \"x\", b = \"y\" }\ninterconnects = [{ a = \"10.0.0.1\", \
         b = \"10.0.0.2\" }]\narbiter = { directory = \"/mnt/d\" }\n",
    );
    let output = folder.path().join("cluster.toml");
    let init = |answers: &Path| {
        let (answers, output) = (Some(answers.to_owned()), output.clone());
        run(&ConfigVerb::Init { answers, output })
    };
    assert_eq!(init(&wrong), Exit::Usage);
    assert_eq!(init(&answers), Exit::Ok);
    Cluster::load(&output).unwrap();
    assert_eq!(init(&answers), Exit::Failed, "a file that is there is not overwritten");
    assert_eq!(run(&ConfigVerb::Show { node: NodeName::B, file: good }), Exit::Ok);
}
