//! Files that must come in pairs: goldens, error pages, references, links.

use std::collections::{BTreeMap, BTreeSet};

use crate::docs::{FOLDER, REFERENCES};
use crate::tidy::Finding;
use crate::tidy::tree::Tree;

const GOLDEN: &str = "tests/golden/";
const SLT: &str = "tests/slt/";
const ERRORS: &str = "docs/errors/";
/// What a page of an error tells.
const SECTIONS: [&str; 3] = ["## Meaning", "## Cause", "## Fix"];

/// Checks all pairs.
pub fn layout(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    goldens(tree, &mut findings);
    error_pages(tree, &mut findings);
    links(tree, &mut findings);
    for (path, _) in tree.below(SLT).filter(|(path, _)| !path.ends_with(".slt")) {
        findings.push(Finding::new(path, 1, "not an .slt file, so nothing runs it: remove it"));
    }
    let pages = REFERENCES.map(|name| format!("{FOLDER}/{name}.md"));
    for (path, _) in tree.below(FOLDER).filter(|(path, _)| !pages.iter().any(|p| p == path)) {
        findings.push(Finding::new(path, 1, "nothing generates it: add it to REFERENCES of xtask"));
    }
    findings
}

fn goldens(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut cases = BTreeSet::new();
    for (path, _) in tree.below(GOLDEN) {
        match path[GOLDEN.len()..].split_once('/') {
            Some((case, _)) => drop(cases.insert(case)),
            None if path.ends_with("/README.md") => {}
            None => findings.push(Finding::new(path, 1, "belongs to no case: remove it")),
        }
    }
    for case in cases {
        for name in ["in.jsonl", "out.jsonl"] {
            let path = format!("{GOLDEN}{case}/{name}");
            if tree.get(&path).is_none() {
                let advice = "missing: a case is in.jsonl and out.jsonl (UPDATE_GOLDEN=1)";
                findings.push(Finding::new(&path, 1, advice));
            }
        }
    }
}

fn error_pages(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut used = BTreeMap::new();
    let sources = tree.rust().filter(|(path, _)| path.starts_with("crates/"));
    for (path, text) in sources.filter(|(path, _)| !path.starts_with("crates/xtask/")) {
        for (idx, line) in text.lines().enumerate() {
            for code in codes(line) {
                used.entry(code).or_insert((path, idx + 1));
            }
        }
    }
    for (code, (path, line)) in &used {
        if tree.get(&format!("{ERRORS}{code}.md")).is_none() {
            let advice = format!("{code} has no page: write {ERRORS}{code}.md");
            findings.push(Finding::new(path, *line, advice));
        }
    }
    for (path, text) in tree.below(ERRORS).filter(|(path, _)| !path.ends_with("/README.md")) {
        let name = path[ERRORS.len()..].trim_end_matches(".md");
        if !used.contains_key(name) {
            findings.push(Finding::new(path, 1, "no source names this code: remove the page"));
        }
        for section in SECTIONS.iter().filter(|s| !text.lines().any(|line| line == **s)) {
            findings.push(Finding::new(path, 1, format!("has no section `{section}`")));
        }
    }
}

/// Returns the error codes in `line`: CL and four digits, standing by themselves.
fn codes(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| {
        let digits = word.strip_prefix("CL").unwrap_or_default();
        digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Checks that relative links of Markdown pages lead to something in the repository.
fn links(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".md")) {
        let mut fenced = false;
        for (idx, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in targets.filter(|_| !fenced) {
                let file = target.split(['#', ' ']).next().unwrap_or_default();
                if !file.is_empty() && !file.contains(':') && !leads_inside(tree, path, file) {
                    let advice = format!("link to `{file}`, which is not in the repository");
                    findings.push(Finding::new(path, idx + 1, advice));
                }
            }
        }
    }
}

/// Returns whether `link` on the page `from` leads to a file or folder of the tree.
fn leads_inside(tree: &Tree, from: &str, link: &str) -> bool {
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            name => parts.push(name),
        }
    }
    parts.is_empty() || tree.exists(&parts.join("/"))
}
