//! Limits on length, and on `unsafe`.

use crate::tidy::Finding;
use crate::tidy::tree::Tree;

const CODE_LINES_MAX: usize = 500;
/// Longer files that were there before the limit: a path and its number of code lines per line.
/// A number must follow its file down; none may be added.
const ALLOWED: &str = "crates/xtask/tidy-long-files.txt";
/// How many lines that file has; lower it with the file.
const ALLOWED_COUNT: usize = 0;

/// The only files with `unsafe`, and how long they may be together.
const UNSAFE: [&str; 2] = ["crates/kafka/src/ffi.rs", "crates/features/src/arena.rs"];
const UNSAFE_LINES_MAX: usize = 300;

/// Documents with a limit, in lines.
const DOCUMENTS: [(&str, usize); 2] = [("README.md", 120), ("ARCHITECTURE.md", 250)];

/// Checks every limit.
pub fn sizes(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    long_files(tree, ALLOWED_COUNT, &mut findings);
    unsafe_code(tree, &mut findings);
    for (path, lines_max) in DOCUMENTS {
        let lines = tree.get(path).map_or(0, |text| text.lines().count());
        if lines > lines_max {
            let advice = format!("{lines} lines; the most is {lines_max}: move detail to docs/");
            findings.push(Finding::new(path, lines_max + 1, advice));
        }
    }
    findings
}

/// Checks the length of every Rust file against the limit and the allow-list.
pub fn long_files(tree: &Tree, allowed_count: usize, findings: &mut Vec<Finding>) {
    let allowed: Vec<_> = tree.get(ALLOWED).unwrap_or_default().lines().collect();
    if allowed.len() > allowed_count {
        let advice = format!("{} entries; it may only shrink: split the new file", allowed.len());
        findings.push(Finding::new(ALLOWED, 1, advice));
    }
    for (idx, entry) in allowed.iter().enumerate() {
        let path = entry.split(' ').next().unwrap_or_default();
        let lines = tree.get(path).map_or(0, code_lines);
        let right = format!("{path} {lines}");
        if lines <= CODE_LINES_MAX {
            let advice = format!("{path} keeps the limit now: remove its entry");
            findings.push(Finding::new(ALLOWED, idx + 1, advice));
        } else if *entry != right {
            let advice = format!("{path} has {lines} code lines: it may shrink, not grow");
            findings.push(Finding::new(ALLOWED, idx + 1, advice));
        }
    }
    for (path, text) in tree.rust() {
        let lines = code_lines(text);
        let listed = allowed.iter().any(|entry| entry.split(' ').next() == Some(path));
        if lines > CODE_LINES_MAX && !listed {
            let advice = format!("{lines} code lines; the most is {CODE_LINES_MAX}: split it");
            findings.push(Finding::new(path, 1, advice));
        }
    }
}

fn unsafe_code(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.rust().filter(|(path, _)| !UNSAFE.contains(path)) {
        for (idx, line) in text.lines().enumerate() {
            if has_word(code(line), concat!("un", "safe")) {
                let advice = format!("only {} may do this", UNSAFE.join(" and "));
                findings.push(Finding::new(path, idx + 1, advice));
            }
        }
    }
    let lines: usize = UNSAFE.iter().filter_map(|path| tree.get(path)).map(code_lines).sum();
    if lines >= UNSAFE_LINES_MAX {
        let advice = format!(
            "{} have {lines} code lines together; fewer than {UNSAFE_LINES_MAX} are allowed: \
             move safe code out",
            UNSAFE.join(" and ")
        );
        findings.push(Finding::new(UNSAFE[0], 1, advice));
    }
}

/// Returns how many lines are neither blank nor comment.
fn code_lines(text: &str) -> usize {
    text.lines().filter(|line| !code(line).trim().is_empty()).count()
}

/// Returns `line` without its comment. (It takes `//` in a string for one: no harm here.)
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Returns whether `word` stands in `text` by itself.
pub fn has_word(text: &str, word: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(inner) && !text[at + word.len()..].starts_with(inner))
}
