//! Each check against trees that keep and break its rule.

use serde_json::{Value, json};

use super::{Finding, Tree, edges, layout, size, words};

/// Compares findings, shown as `path:line`, with `expected`.
#[track_caller]
fn check(findings: &[Finding], expected: &[&str]) {
    let places: Vec<_> = findings.iter().map(|f| format!("{}:{}", f.path, f.line)).collect();
    assert_eq!(places, expected, "{findings:#?}");
}

/// A workspace of which each crate has the given dependencies; `dev:` marks those of tests.
fn metadata(crates: &[(&str, &[&str])]) -> Value {
    let package = |&(name, dependencies): &(&str, &[&str])| {
        let dependency = |name: &&str| match name.split_once(':') {
            Some((kind, name)) => json!({ "name": name, "kind": kind }),
            None => json!({ "name": name, "kind": null }),
        };
        let dependencies: Vec<_> = dependencies.iter().map(dependency).collect();
        json!({ "name": name, "manifest_path": format!("/r/{name}"), "dependencies": dependencies })
    };
    let packages: Vec<_> = crates.iter().map(package).collect();
    json!({ "workspace_root": "/r", "packages": packages })
}

#[track_caller]
fn check_edges(crates: &[(&str, &[&str])], expected: &[&str]) {
    check(&edges::members(&metadata(crates)), expected);
}

#[test]
fn crate_edges() {
    let model: (&str, &[&str]) = ("cardlens-model", &[]);
    check_edges(&[model, ("cardlens-wire", &["cardlens-model", "serde_json"])], &[]);
    check_edges(
        &[("cardlens-lens", &["cardlens-features"]), ("cardlens-features", &[])],
        &["cardlens-lens:1"],
    );
    check_edges(&[("cardlens-model", &["serde"])], &["cardlens-model:1"]);
    check_edges(&[("cardlens-model", &["dev:proptest"])], &[]);
    check_edges(&[("cardlens-lens", &["datafusion-expr"])], &[]);
    check_edges(&[("cardlens-lens", &["datafusion"])], &["cardlens-lens:1"]);
    check_edges(&[("cardlens-features", &["serde_json"])], &["cardlens-features:1"]);
    check_edges(&[("cardlens-engine", &["axum"])], &["cardlens-engine:1"]);
    check_edges(&[("cardlens-kafka", &["dev:anyhow"])], &["cardlens-kafka:1"]);
    check_edges(&[("cardlens-tests", &["cardlens-model", "anyhow"]), model], &[]);
    check_edges(&[("xtask", &["cardlens-model", "anyhow", "clap"]), model], &["xtask:1"]);
    check_edges(&[("cardlens-nosuch", &[])], &["cardlens-nosuch:1"]);
}

#[track_caller]
fn check_lock(names: &[&str], expected: &[&str]) {
    let text: String = names.iter().map(|name| format!("name = \"{name}\"\n")).collect();
    check(&edges::lock(&Tree::of(&[("Cargo.lock", &text)])), expected);
}

#[test]
fn lock_file() {
    check_lock(&["arrow-array", "object_store", "openssl-sys"], &[]);
    check_lock(&["arrow-array", "arrow-array"], &["Cargo.lock:2"]);
    check_lock(&["ring", "aws-lc-rs"], &["Cargo.lock:2"]);
    check(&edges::lock(&Tree::default()), &["Cargo.lock:1"]);
}

#[track_caller]
fn check_words(path: &str, text: &str, expected: &[&str]) {
    check(&words::words(&Tree::of(&[(path, text)])), expected);
}

#[test]
fn banned_words() {
    check_words("a.rs", "let todo = 1; // TODOS\n", &[]);
    check_words("a.rs", concat!("let currency = \"X", "XX\";"), &[]);
    check_words("a.rs", concat!("// TO", "DO: later\n// X", "XX"), &["a.rs:1", "a.rs:2"]);
    check_words("a.md", concat!("FIX", "ME"), &["a.md:1"]);
    check_words("in.jsonl", concat!("{\"merchant\":\"TO", "DO\"}"), &[]);
    check_words("a.toml", concat!("dir = \"/ro", "ot/x\""), &["a.toml:1"]);
    check_words("a.md", concat!("target/wo", "rk/x and $DIR/ho", "me"), &[]);
    check_words("a.md", concat!("see ../", "shared/x"), &["a.md:1"]);
    check_words("a.rs", concat!("#[ig", "nore = \"slow\"]"), &["a.rs:1"]);
    check_words("a.rs", concat!("#[should", "_panic]"), &["a.rs:1"]);
    check_words("tests/it/a.rs", concat!("thread::", "sleep(d)"), &["tests/it/a.rs:1"]);
    check_words("LICENSE", concat!("/ro", "ot/"), &[]);
}

#[track_caller]
fn check_sizes(files: &[(&str, &str)], expected: &[&str]) {
    check(&size::sizes(&Tree::of(files)), expected);
}

#[test]
fn limits() {
    check_sizes(&[("a.rs", &"x;\n".repeat(500))], &[]);
    check_sizes(&[("a.rs", &"x; // why\n".repeat(501))], &["a.rs:1"]);
    check_sizes(&[("a.rs", &"// x\n\n".repeat(501))], &[]);
    check_sizes(&[("README.md", &"x\n".repeat(121))], &["README.md:121"]);
    let dangerous = concat!("un", "safe { x }\n");
    check_sizes(&[("crates/kafka/src/ffi.rs", dangerous), ("a.rs", "unsafe_code // unsafe")], &[]);
    check_sizes(&[("a.rs", dangerous)], &["a.rs:1"]);
    let long = [
        ("crates/kafka/src/ffi.rs", &*"x;\n".repeat(150)),
        ("crates/features/src/arena.rs", &*"x;\n".repeat(150)),
    ];
    check_sizes(&long, &["crates/kafka/src/ffi.rs:1"]);
}

#[track_caller]
fn check_long(code_lines: usize, listed: &str, expected: &[&str]) {
    let text = "x;\n".repeat(code_lines);
    let tree = Tree::of(&[("a.rs", &text), ("crates/xtask/tidy-long-files.txt", listed)]);
    let mut findings = Vec::new();
    size::long_files(&tree, 1, &mut findings);
    check(&findings, expected);
}

#[test]
fn allow_list_only_shrinks() {
    let list = "crates/xtask/tidy-long-files.txt:1";
    check_long(600, "a.rs 600", &[]);
    check_long(601, "a.rs 600", &[list]);
    check_long(599, "a.rs 600", &[list]);
    check_long(500, "a.rs 600", &[list]);
    check_long(600, "", &["a.rs:1"]);
    check_long(600, "a.rs 600\na.rs 600", &[list]);
}

#[track_caller]
fn check_layout(files: &[(&str, &str)], expected: &[&str]) {
    check(&layout::layout(&Tree::of(files)), expected);
}

#[test]
fn goldens_and_slt() {
    let case = [("tests/golden/a/in.jsonl", ""), ("tests/golden/a/out.jsonl", "")];
    check_layout(&case, &[]);
    check_layout(&case[..1], &["tests/golden/a/out.jsonl:1"]);
    check_layout(
        &[("tests/golden/README.md", ""), ("tests/golden/x.json", "")],
        &["tests/golden/x.json:1"],
    );
    check_layout(&[("tests/slt/a.slt", ""), ("tests/slt/b.sql", "")], &["tests/slt/b.sql:1"]);
    check_layout(
        &[("docs/reference/config.md", ""), ("docs/reference/x.md", "")],
        &["docs/reference/x.md:1"],
    );
}

#[test]
fn error_codes() {
    let source = ("crates/engine/src/error.rs", "// x\ncode(\"CL0012\")");
    let page = ("docs/errors/CL0012.md", "# CL0012\n## Meaning\n## Cause\n## Fix\n");
    check_layout(&[source, page], &[]);
    check_layout(&[source], &["crates/engine/src/error.rs:2"]);
    check_layout(&[page], &["docs/errors/CL0012.md:1"]);
    check_layout(
        &[source, ("docs/errors/CL0012.md", "## Meaning\n## Cause\n")],
        &["docs/errors/CL0012.md:1"],
    );
    check_layout(&[("crates/engine/src/error.rs", "CL00123 XCL0012 CL_0012")], &[]);
}

#[test]
fn links() {
    let page = |text| [("docs/a.md", text), ("docs/errors/README.md", "")];
    check_layout(&page("[x](errors/README.md#top) [y](errors) [z](https://a.b) [t](#t)"), &[]);
    check_layout(&page("\n[x](errors/none.md)"), &["docs/a.md:2"]);
    check_layout(&page("[x](../../out.md)"), &["docs/a.md:1"]);
    check_layout(&page("```\n[x](none.md)\n```"), &[]);
}
