//! What the machine must have: system packages here, tools and broker jars in their own modules.
//!
//! Everything is probed first; on a machine that has it all, nothing is started but the probes.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::tools::Tools;
use crate::workspace::Workspace;
use crate::{kafka, python, sh, tools};

/// Oldest Java that runs the broker.
const JAVA_MIN: u32 = 17;

/// Prepares the build: a C compiler and the headers librdkafka wants.
pub fn for_build() -> Result<()> {
    packages(false)
}

/// Prepares the tests too: the build, Java, the broker's jars, an object store, the clients of the
/// gateway and the tools.
pub fn everything(workspace: &Workspace) -> Result<Tools> {
    packages(true)?;
    kafka::resolve(workspace)?;
    python::resolve(workspace)?;
    tools::find(workspace)
}

/// Prepares the benches too: a rival is in Java, and compiled when its goal is first measured.
pub fn for_bench(workspace: &Workspace) -> Result<()> {
    everything(workspace)?;
    if sh::on_path("javac").is_none() {
        debian(&["default-jdk-headless"])?;
    }
    Ok(())
}

fn packages(tests: bool) -> Result<()> {
    let lacking = missing(tests);
    if lacking.is_empty() {
        return Ok(());
    }
    debian(&lacking)?;
    let still = missing(tests);
    if !still.is_empty() {
        bail!("installed, and yet not usable here: {} (Java {JAVA_MIN} or later)", still.join(" "));
    }
    Ok(())
}

/// Returns the Debian packages whose content is not there.
fn missing(tests: bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    let mut need = |there: bool, package| {
        if !there {
            packages.push(package);
        }
    };
    need(sh::on_path("gcc").is_some(), "gcc");
    need(sh::on_path("g++").is_some(), "g++");
    need(sh::on_path("make").is_some(), "make");
    need(sh::on_path("pkg-config").is_some(), "pkg-config");
    need(has_library("openssl", "openssl/ssl.h"), "libssl-dev");
    need(has_library("zlib", "zlib.h"), "zlib1g-dev");
    if tests {
        let java = sh::probe("java", &["-version"]).and_then(|text| java_version(&text));
        need(java.is_some_and(|version| version >= JAVA_MIN), "default-jre-headless");
        need(sh::on_path("mvn").is_some(), "maven");
        need(sh::on_path("psql").is_some(), "postgresql-client");
        let venv = sh::probe("python3", &["-c", "import ensurepip, venv"]);
        need(venv.is_some(), "python3-venv");
    }
    packages
}

/// Returns whether pkg-config, or without it the compiler's usual folder, knows the library.
fn has_library(name: &str, header: &str) -> bool {
    sh::probe("pkg-config", &["--exists", name]).is_some()
        || std::path::Path::new("/usr/include").join(header).exists()
}

/// Returns the feature release in the output of `java -version`.
fn java_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    let digits = quoted.split(['.', '-', '+', '_']).next()?;
    digits.parse().ok()
}

/// Installs Debian packages, as root or by a sudo that asks nothing; else says what to run.
pub fn debian(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let by_hand = format!("sudo apt-get install -y --no-install-recommends {list}");
    if sh::on_path("apt-get").is_none() {
        bail!("this machine lacks what Debian calls: {list}; install it and run again");
    }
    let root = sh::probe("id", &["-u"]).is_some_and(|id| id.trim() == "0");
    if !root && sh::probe("sudo", &["-n", "true"]).is_none() {
        bail!("packages are missing; run this, then again:\n    {by_hand}");
    }
    println!("installing {list}");
    let apt_get = |args: &[&str]| {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).args(args);
        sh::run(&mut command)
    };
    apt_get(&["update", "-qq"])?;
    apt_get(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
        .with_context(|| format!("install by hand, then run again:\n    {by_hand}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions() {
        assert_eq!(java_version("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(java_version("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_version("java version \"1.8.0_202\""), Some(1));
        assert_eq!(java_version("command not found"), None);
    }
}
