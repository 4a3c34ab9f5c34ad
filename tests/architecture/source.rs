//! One source file as the rules see it: raw lines, and the same lines with comments and literals
//! blanked, so that no rule can be tripped or silenced by a comment or a string.
//! Always: `raw` and `code` have the same number of lines; tests are marked, never dropped.

use std::fs;
use std::path::Path;

/// Folders that hold Rust of ours.
const FOLDERS: &[&str] = &["nbd", "engine", "ctl", "tests", "benches"];

/// A word or a sign, with the line (from 0) it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Identifier, number, `::`, or one sign.
    pub text: String,
    /// Line, counted from 0.
    pub line: usize,
}

/// One Rust file.
#[derive(Debug)]
pub struct Source {
    /// Path from the top of the tree.
    pub path: String,
    /// Lines as they are.
    pub raw: Vec<String>,
    /// Lines with comments, strings and characters blanked.
    pub code: Vec<String>,
    /// Whether a line belongs to a test.
    pub test: Vec<bool>,
    /// Files that this one declares as modules of tests, as path prefixes without `.rs`.
    test_modules: Vec<String>,
}

/// All Rust files of the tree.
#[derive(Debug)]
pub struct Tree {
    /// The files, in the order of their paths.
    pub files: Vec<Source>,
}

impl Tree {
    /// Reads the tree of this repository.
    pub fn read(top: &Path) -> Tree {
        let mut found = Vec::new();
        for folder in FOLDERS {
            walk(&top.join(folder), &mut found);
        }
        let texts: Vec<(String, String)> = found
            .iter()
            .map(|path| {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        Tree::build(texts)
    }

    /// A made-up tree, for the tests of the rules.
    pub fn of(samples: &[(&str, &str)]) -> Tree {
        Tree::build(samples.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect())
    }

    fn build(mut texts: Vec<(String, String)>) -> Tree {
        texts.sort();
        let mut files: Vec<Source> = texts.iter().map(|(p, t)| Source::parse(p, t)).collect();
        let tests: Vec<String> = files.iter().flat_map(|f| f.test_modules.clone()).collect();
        for file in &mut files {
            let stem = file.path.trim_end_matches(".rs").to_owned();
            if tests.iter().any(|t| stem == *t || stem.starts_with(&format!("{t}/"))) {
                file.test.fill(true);
            }
        }
        Tree { files }
    }

    /// Files of the product: what ships.
    pub fn product(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(|f| f.is_product())
    }
}

fn walk(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with("target") && !name.starts_with('.') {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

impl Source {
    /// Reads one file's text.
    pub fn parse(path: &str, text: &str) -> Source {
        let raw: Vec<String> = text.lines().map(str::to_owned).collect();
        let blanked = blank(text);
        let code: Vec<String> = blanked.lines().map(str::to_owned).collect();
        assert_eq!(raw.len(), code.len(), "{path}: blanking must keep the lines");
        let mut source = Source {
            path: path.to_owned(),
            test: vec![false; raw.len()],
            raw,
            code,
            test_modules: Vec::new(),
        };
        source.mark_tests();
        source
    }

    /// Whether the file belongs to what ships.
    pub fn is_product(&self) -> bool {
        ["nbd/", "engine/", "ctl/"].iter().any(|d| self.path.starts_with(d))
            && self.path.contains("/src/")
    }

    /// Lines of code that are not tests: number from 1, blanked text.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().zip(&self.test).enumerate();
        lines.filter(|(_, (_, test))| !**test).map(|(n, (line, _))| (n + 1, line.as_str()))
    }

    /// Lines that count for the size budget.
    pub fn length(&self) -> usize {
        self.test.iter().filter(|t| !**t).count()
    }

    /// Words and signs of the whole file, tests included.
    pub fn tokens(&self) -> Vec<Token> {
        let mut tokens = Vec::new();
        for (line, text) in self.code.iter().enumerate() {
            let chars: Vec<char> = text.chars().collect();
            let mut at = 0;
            while at < chars.len() {
                let start = at;
                if is_word(chars[at]) {
                    while at < chars.len() && is_word(chars[at]) {
                        at += 1;
                    }
                } else if chars[at] == ':' && chars.get(at + 1) == Some(&':') {
                    at += 2;
                } else {
                    at += 1;
                }
                let text: String = chars[start..at].iter().collect();
                if !text.trim().is_empty() {
                    tokens.push(Token { text, line });
                }
            }
        }
        tokens
    }

    fn mark_tests(&mut self) {
        let tokens = self.tokens();
        let mut at = 0;
        while at < tokens.len() {
            let Some((end, inner)) = test_attribute(&tokens, at) else {
                at += 1;
                continue;
            };
            if inner {
                self.test.fill(true);
                return;
            }
            let last = item_end(&tokens, end);
            let lines = tokens[at].line..=tokens[last].line;
            let item = &tokens[end..=last];
            if let [word, name, semi] = item_tail(item)
                && word == "mod"
                && semi == ";"
            {
                let base = self.child_folder();
                let from_path = self.raw[lines.clone()]
                    .iter()
                    .find_map(|l| l.split_once("path = \"").and_then(|(_, r)| r.split('"').next()));
                let folder = self.path.rsplit_once('/').map_or("", |(d, _)| d);
                self.test_modules.push(match from_path {
                    Some(p) => format!("{folder}/{}", p.trim_end_matches(".rs")),
                    None => format!("{base}/{name}"),
                });
            }
            self.test[lines].fill(true);
            at = last + 1;
        }
    }

    /// Folder in which modules declared here live.
    fn child_folder(&self) -> String {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        match name {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
            other => format!("{folder}/{}", other.trim_end_matches(".rs")),
        }
    }
}

/// If `#[cfg(test)]` or `#[test]` starts here: where it ends, and whether it speaks of the file.
fn test_attribute(tokens: &[Token], at: usize) -> Option<(usize, bool)> {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    if text(at) != "#" {
        return None;
    }
    let inner = text(at + 1) == "!";
    let open = at + 1 + usize::from(inner);
    if text(open) != "[" {
        return None;
    }
    let close = closing(tokens, open);
    let words: Vec<&str> = tokens[open + 1..close].iter().map(|t| t.text.as_str()).collect();
    let tests = words == ["test"]
        || (words.first() == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not"));
    tests.then_some((close + 1, inner))
}

/// Index of the sign that closes the one at `open`; the last token if there is none.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i;
                }
            }
            _ => {}
        }
    }
    tokens.len().saturating_sub(1)
}

/// Last token of the item that starts at `at`: its `;`, or the brace that closes its body.
fn item_end(tokens: &[Token], at: usize) -> usize {
    let mut i = at;
    while i < tokens.len() {
        match tokens[i].text.as_str() {
            ";" => return i,
            "{" => return closing(tokens, i),
            "(" | "[" => i = closing(tokens, i),
            _ => {}
        }
        i += 1;
    }
    tokens.len().saturating_sub(1)
}

/// The last three words of an item.
fn item_tail(item: &[Token]) -> [&str; 3] {
    let mut tail = ["", "", ""];
    for (slot, token) in tail.iter_mut().rev().zip(item.iter().rev()) {
        *slot = &token.text;
    }
    tail
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text with comments, strings and characters replaced by spaces, line by line the same.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// End of the comment or literal that starts at `at`, or `at` if none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    match chars[at] {
        '/' if next(1) == '/' => {
            chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
        }
        '/' if next(1) == '*' => comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        '\'' if next(1) == '\\' => {
            let close = chars.iter().skip(at + 3).position(|c| *c == '\'');
            close.map_or(chars.len(), |n| at + 3 + n + 1)
        }
        '\'' if next(2) == '\'' => at + 3,
        'r' if at == 0 || !is_word(chars[at - 1]) || raw_prefix(chars, at) => raw_end(chars, at),
        _ => at,
    }
}

/// Whether the `r` at `at` follows the `b` or `c` of `br"` and `cr"`.
fn raw_prefix(chars: &[char], at: usize) -> bool {
    matches!(chars[at - 1], 'b' | 'c') && (at < 2 || !is_word(chars[at - 2]))
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0usize;
    let mut i = at;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut i = from;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let mut i = open + 1;
    while i < chars.len() {
        let closes = chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'));
        if closes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    chars.len()
}
