//! Words that must not stand in the tree.
//!
//! They are written here in two halves, so that this file keeps its own rules.

use crate::tidy::Finding;
use crate::tidy::size::has_word;
use crate::tidy::tree::Tree;

/// Files that others wrote, or generated.
const FOREIGN: [&str; 2] = ["LICENSE", "Cargo.lock"];

/// Notes to oneself.
const NOTES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
/// This one is a currency code too, so it counts in comments only.
const NOTE_IN_COMMENT: &str = concat!("X", "XX");

/// Paths of somebody's machine, and ways out of the repository.
const PATHS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("../", "shared"),
];

/// Ways to make a test say less than it seems to.
const TESTS: [(&str, &str); 2] = [
    (concat!("#[ig", "nore"), "an ignored test proves nothing: run it or remove it"),
    (concat!("should", "_panic"), "panic means bug: return an error and check it"),
];
const SLEEP: &str = concat!("thread::", "sleep");

/// Checks every line of every text.
pub fn words(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !FOREIGN.contains(path)) {
        for (idx, line) in text.lines().enumerate() {
            let mut add = |advice: String| findings.push(Finding::new(path, idx + 1, advice));
            for path in PATHS.into_iter().filter(|path| has_path(line, path)) {
                add(format!("`{path}` is somebody's machine: say it relative to the repository"));
            }
            let data = path.ends_with(".jsonl") || path.ends_with(".csv");
            for note in NOTES.into_iter().filter(|note| !data && has_word(line, note)) {
                add(format!("`{note}`: do it now, or open an issue"));
            }
            if path.ends_with(".rs") {
                rust(path, line, &mut add);
            }
        }
    }
    findings
}

fn rust(path: &str, line: &str, add: &mut impl FnMut(String)) {
    let comment = line.split_once("//").map_or("", |(_, comment)| comment);
    if has_word(comment, NOTE_IN_COMMENT) {
        add(format!("`{NOTE_IN_COMMENT}`: do it now, or open an issue"));
    }
    for (_, advice) in TESTS.iter().filter(|(word, _)| line.contains(word)) {
        add((*advice).to_owned());
    }
    let test =
        path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    if test && line.contains(SLEEP) {
        add("a test that sleeps is slow or flaky: wait on what you wait for".to_owned());
    }
}

/// Returns whether the absolute path `path` begins somewhere in `line`.
fn has_path(line: &str, path: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || "._-/})".contains(c);
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(inner))
}
