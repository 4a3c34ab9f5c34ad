//! Blocks of Terraform's language, written with care for what it reads into a text.

use std::fmt::Write;

/// A text under way. Blocks that are opened are closed by whoever opened them.
#[derive(Default)]
pub(super) struct Text {
    text: String,
    depth: usize,
}

impl Text {
    /// A line of the block that is open.
    pub fn line(&mut self, line: &str) {
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{:1$}{line}", "", self.depth * 2);
    }

    /// A remark.
    pub fn note(&mut self, note: &str) {
        self.line(&format!("# {note}"));
    }

    pub fn open(&mut self, head: &str) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
    }

    pub fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.line("}");
        if self.depth == 0 {
            self.text.push('\n');
        }
    }

    pub fn tags(&mut self, name: &str) {
        self.line(&format!("tags = {{ Name = {} }}", quoted(name)));
    }

    /// A text over several lines; references in it count.
    pub fn heredoc(&mut self, key: &str, text: &str) {
        self.line(&format!("{key} = <<EOT"));
        self.text.push_str(text);
        self.text.push_str("\nEOT\n");
    }

    pub fn done(self) -> String {
        format!("{}\n", self.text.trim_end())
    }
}

/// A text in quotes in which nothing is a reference.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
    // A brace after one of them begins a reference; twice the letter is the letter.
    out.replace("${", "$${").replace("%{", "%%{")
}

/// A name that blocks may have.
pub(super) fn label(name: &str) -> String {
    let plain =
        |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    let text: String = name.chars().map(plain).collect();
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        text
    } else {
        format!("n_{text}")
    }
}
