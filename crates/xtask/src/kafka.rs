//! The broker that tests run: Apache Kafka's jars, by Maven, in `target/kafka/lib`.
//!
//! `tests/kafka/pom.xml` pins the version. A stamp beside the jars holds that file and the size of
//! every jar; while it matches, nothing is resolved.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::sh;
use crate::workspace::Workspace;

const POM: &str = "tests/kafka/pom.xml";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.7.1:copy-dependencies";

/// Makes the jars of the pinned broker present and complete.
pub fn resolve(workspace: &Workspace) -> Result<()> {
    let lib = workspace.target.join("kafka/lib");
    let stamp = workspace.target.join("kafka/stamp");
    let pom = fs::read_to_string(POM).with_context(|| format!("read `{POM}`"))?;
    if fs::read_to_string(&stamp).is_ok_and(|stamp| state(&pom, &lib).is_ok_and(|s| s == stamp)) {
        return Ok(());
    }
    println!("resolving the broker's jars into {}", workspace.relative(&lib));
    if lib.exists() {
        fs::remove_dir_all(&lib).with_context(|| format!("empty `{}`", lib.display()))?;
    }
    let mut out = std::ffi::OsString::from("-DoutputDirectory=");
    out.push(&lib);
    sh::run(
        Command::new("mvn").args(["-q", "-B", "-Dstyle.color=never", "-f", POM, COPY]).arg(out),
    )?;
    fs::write(&stamp, state(&pom, &lib)?).with_context(|| format!("write `{}`", stamp.display()))
}

/// Returns what the stamp holds when `lib` is complete.
fn state(pom: &str, lib: &Path) -> Result<String> {
    let context = || format!("list `{}`", lib.display());
    let mut jars = Vec::new();
    for entry in fs::read_dir(lib).with_context(context)? {
        let entry = entry.with_context(context)?;
        let size = entry.metadata().with_context(context)?.len();
        jars.push(format!("{} {size}\n", entry.file_name().to_string_lossy()));
    }
    jars.sort();
    Ok(format!("{pom}{}", jars.concat()))
}
