//! Fuzzing: the targets of `fuzz/`, each for some time, on seeds from the examples of the schemas.
//!
//! They are a workspace of their own, so no other task builds them. Coverage is instrumented by
//! flags that a stable compiler has; there is no sanitizer, which would need an unstable one, and
//! which code without `unsafe` has little for. What is found lands in `fuzz/artifacts`, with the
//! command that tries it again; inputs that reached something new stay below the target directory.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::sh;
use crate::tools::Tools;
use crate::workspace::Workspace;

/// The manifest of the targets.
pub const MANIFEST: &str = "fuzz/Cargo.toml";
/// How long `ci` tries each target.
pub const CI: Duration = Duration::from_secs(20);

/// A target: its name, where its seeds are, the words it should know, its longest input.
struct Target {
    name: &'static str,
    seeds: Option<&'static str>,
    words: Option<&'static str>,
    bytes_max: u32,
}

const TARGETS: [Target; 2] = [
    Target {
        name: "wire",
        seeds: Some("schemas/examples/transaction"),
        words: Some("fuzz/wire.dict"),
        bytes_max: 4_096,
    },
    Target { name: "state", seeds: None, words: None, bytes_max: 512 },
];

/// Builds every target and tries each for that long.
pub fn fuzz(workspace: &Workspace, tools: &Tools, each: Duration) -> Result<()> {
    sh::run(&mut tools.fuzz(["build", "--dev", "--sanitizer=none"]))?;
    for target in &TARGETS {
        let corpus = workspace.target.join("fuzz/corpus").join(target.name);
        fs::create_dir_all(&corpus).with_context(|| format!("create `{}`", corpus.display()))?;
        println!("fuzzing {} for {} s", target.name, each.as_secs());
        let mut run = tools.fuzz(["run", "--dev", "--sanitizer=none", target.name]);
        run.arg(corpus).args(target.seeds).arg("--");
        run.arg(format!("-max_total_time={}", each.as_secs()));
        run.arg(format!("-max_len={}", target.bytes_max));
        run.args(target.words.map(|words| format!("-dict={words}")));
        sh::run(run.args(["-verbosity=0", "-print_final_stats=1"]))?;
    }
    Ok(())
}
