//! The tutorials say nothing that the program would not take: each of its commands is a command
//! line, each file is read, and what is told to be replaced is there.

use super::Cli;
use crate::act::aws::plan::plan;
use crate::act::aws::policy::{Scope, statements};
use crate::config::cluster::{Cluster, needs_aws};
use clap::Parser;
use lockstep_engine::units::NodeId;

const TUTORIALS: [(&str, &str); 2] = [
    ("TUTORIAL_VIP.md", include_str!("../../TUTORIAL_VIP.md")),
    ("TUTORIAL_EIP.md", include_str!("../../TUTORIAL_EIP.md")),
];

/// The blocks of one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let parts = text.split(&format!("```{language}\n")).skip(1).collect::<Vec<_>>();
    parts.into_iter().map(|part| part.split("```").next().unwrap()).collect()
}

/// The words of a line of a shell up to what the shell keeps for itself.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().take_while(|word| !["#", ">", "|", "&&"].contains(word)).collect()
}

/// Commands in text between backquotes, such as `lockstep doctor`.
fn inline(text: &str) -> Vec<&str> {
    let spans = text.lines().filter(|line| !line.starts_with("```")).flat_map(|line| {
        let spans: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        spans
    });
    spans.filter(|span| span.starts_with("lockstep ")).collect()
}

#[test]
fn every_command_is_one() {
    for (name, text) in TUTORIALS {
        let lines = blocks(text, "sh").into_iter().flat_map(str::lines).chain(inline(text));
        let mut verbs = Vec::new();
        for line in lines.filter(|line| line.starts_with("lockstep ")) {
            let words = words(line);
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{name}: {line}: {error}");
            }
            verbs.push(words[1..].iter().take(2).copied().collect::<Vec<_>>().join(" "));
        }
        for verb in ["aws plan", "aws iam-policy", "doctor", "mirror create", "config apply"] {
            assert!(verbs.iter().any(|said| said.starts_with(verb)), "{name} lacks {verb}");
        }
    }
}

#[test]
fn every_file_is_read_and_has_its_plan() {
    for ((name, text), kind) in TUTORIALS.into_iter().zip(["aws_vip", "aws_eip"]) {
        let files = blocks(text, "toml");
        assert_eq!(files.len(), 1, "{name}");
        let whole = Cluster::parse(files[0]).unwrap_or_else(|wrong| panic!("{name}: {wrong:?}"));
        let needs = needs_aws(&whole.node(NodeId::A)).join(" ");
        assert!(needs.contains(kind) && needs.contains("dynamodb"), "{name}: {needs}");
        let planned = plan(&whole).unwrap_or_else(|error| panic!("{name}: {error}"));
        hcl::parse(&planned).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(statements(&whole, &Scope::default()).len(), 3, "{name}");
        // What `terraform output` prints replaces lines that are there.
        let told = planned.split("value = <<EOT\n").nth(1).unwrap();
        let told = told.split("\nEOT").next().unwrap();
        let keys = told.lines().filter_map(|line| Some(line.split_once(" = ")?.0));
        for key in keys.filter(|key| *key != "instance") {
            let there = files[0].lines().any(|line| line.starts_with(&format!("{key} = ")));
            assert!(there, "{name}: {key}");
        }
        // The part without a file system, made as the page makes it.
        assert!(text.contains("sed -e '/^# What comes once/,$d' -e 's/^# First: //'"), "{name}");
        let first = files[0].split("# What comes once").next().unwrap().replace("# First: ", "");
        assert_ne!(first.len(), files[0].len());
        let first = Cluster::parse(&first).unwrap_or_else(|wrong| panic!("{name}: {wrong:?}"));
        let groups = &first.local(NodeId::A).groups;
        assert_eq!((groups.len(), groups[0].specs.len()), (1, 1), "{name}");
        assert!(!groups[0].settings.startup_auto, "{name}");
    }
}

#[test]
fn the_sections_of_the_runbook_that_they_name_are_there() {
    let runbook = include_str!("../../RUNBOOK.md");
    for (name, text) in TUTORIALS {
        let text = text.split("## When something is not well").nth(1).unwrap().replace('\n', " ");
        let sections: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
        assert_eq!(sections.len(), 4, "{name}");
        for section in sections {
            assert!(runbook.contains(&format!("\n## {section}\n")), "{name}: {section}");
        }
    }
}
