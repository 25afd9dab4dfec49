//! Who may depend on whom.

use serde_json::Value;

use crate::tidy::Finding;
use crate::tidy::tree::Tree;

/// What a crate may take from the workspace, and what it must not take from outside. A name that
/// ends in `*` stands for all that begin so.
struct Rule {
    name: &'static str,
    inside: &'static [&'static str],
    not_outside: &'static [&'static str],
}

const RULES: [Rule; 11] = [
    Rule { name: "cardlens-model", inside: &[], not_outside: &["*"] },
    Rule {
        name: "cardlens-wire",
        inside: &["cardlens-model"],
        not_outside: &["rdkafka*", "arrow*", "tokio*", "datafusion*", "reqwest", "hyper*"],
    },
    Rule {
        name: "cardlens-features",
        inside: &["cardlens-model"],
        not_outside: &["tokio*", "datafusion*", "serde*", "rdkafka*"],
    },
    Rule {
        name: "cardlens-lens",
        inside: &["cardlens-model"],
        not_outside: &["datafusion", "tokio*", "rdkafka*"],
    },
    Rule {
        name: "cardlens-engine",
        inside: &["cardlens-model", "cardlens-wire", "cardlens-features", "cardlens-lens"],
        not_outside: &["rdkafka*", "pgwire", "datafusion*"],
    },
    Rule {
        name: "cardlens-kafka",
        inside: &["cardlens-model", "cardlens-engine"],
        not_outside: &["arrow*", "datafusion*"],
    },
    Rule {
        name: "cardlens-query",
        inside: &["cardlens-model", "cardlens-features", "cardlens-lens", "cardlens-engine"],
        not_outside: &["rdkafka*", "axum", "clap"],
    },
    Rule {
        name: "cardlens",
        inside: &[
            "cardlens-model",
            "cardlens-wire",
            "cardlens-features",
            "cardlens-lens",
            "cardlens-engine",
            "cardlens-kafka",
            "cardlens-query",
        ],
        not_outside: &["rdkafka*", "datafusion*", "pgwire", "arrow-flight", "tonic*"],
    },
    Rule { name: "cardlens-tests", inside: &["*"], not_outside: &[] },
    Rule { name: "cardlens-benches", inside: &["*"], not_outside: &[] },
    Rule { name: "xtask", inside: &[], not_outside: &["*-sys"] },
];

/// Crates that only these members may take, whatever the kind of dependency.
const ONLY: [(&str, &[&str]); 8] = [
    ("axum", &["cardlens"]),
    ("clap", &["cardlens", "cardlens-benches", "xtask"]),
    ("anyhow", &["cardlens", "cardlens-tests", "cardlens-benches", "xtask"]),
    ("datafusion", &["cardlens-query", "cardlens-tests", "cardlens-benches"]),
    ("pgwire", &["cardlens-query"]),
    ("arrow-flight", &["cardlens-query"]),
    ("tonic", &["cardlens-query"]),
    ("tracing-subscriber", &["cardlens", "cardlens-tests", "cardlens-benches"]),
];

/// Crates of which two versions would split the graph; a bump must move them together.
const ONCE: [&str; 2] = ["arrow-array", "object_store"];
/// One TLS provider (ring), and OpenSSL for librdkafka alone.
const NEVER: [&str; 4] = ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl"];

/// Checks the declared dependencies of every member.
pub fn members(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<_> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let mut findings = Vec::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let path = text("manifest_path").trim_start_matches(root).trim_start_matches('/');
        let Some(rule) = RULES.iter().find(|rule| rule.name == text("name")) else {
            findings.push(Finding::new(path, 1, "new crate: give it a rule in xtask's edges.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let name = dependency["name"].as_str().unwrap_or_default();
            let dev = dependency["kind"].as_str() == Some("dev");
            if let Some(advice) = broken(rule, name, names.contains(&name), dev) {
                findings.push(Finding::new(path, 1, advice));
            }
        }
    }
    findings
}

/// Returns what is wrong with one edge.
fn broken(rule: &Rule, name: &str, inside: bool, dev: bool) -> Option<String> {
    let own = rule.name;
    if inside {
        let allowed = rule.inside.iter().any(|pattern| matches(pattern, name));
        return (!allowed)
            .then(|| format!("{own} must not depend on {name}: see the edges in ARCHITECTURE.md"));
    }
    // A test may use what the crate must not; what has an only place is kept out of tests too.
    if !dev && rule.not_outside.iter().any(|pattern| matches(pattern, name)) {
        return Some(format!("{own} must not depend on {name}: the work belongs to another crate"));
    }
    let (_, only) = ONLY.iter().find(|(only, _)| *only == name)?;
    (!only.contains(&own)).then(|| format!("{name} belongs in {} alone", only.join(", ")))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
    }
}

/// Checks what `Cargo.lock` resolved.
pub fn lock(tree: &Tree) -> Vec<Finding> {
    let path = "Cargo.lock";
    let Some(text) = tree.get(path) else {
        return vec![Finding::new(path, 1, "commit the lock file")];
    };
    let mut findings = Vec::new();
    let lines = |name: &str| {
        let wanted = format!("name = \"{name}\"");
        let found = text.lines().enumerate().filter(|(_, line)| *line == wanted);
        found.map(|(idx, _)| idx + 1).collect::<Vec<_>>()
    };
    for name in ONCE {
        if let [_, second, ..] = lines(name)[..] {
            findings.push(Finding::new(path, second, format!("{name} twice: pin one version")));
        }
    }
    for name in NEVER {
        for line in lines(name) {
            let advice = format!("{name} came in: `cargo tree -i {name}` says through whom");
            findings.push(Finding::new(path, line, advice));
        }
    }
    findings
}
