//! What nextest reported of one run, read from its JUnit file.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// Counts and durations of a test run.
#[derive(Debug, Default, PartialEq)]
pub struct Report {
    run_count: usize,
    failed_count: usize,
    /// Seconds and full name of each test.
    tests: Vec<(f64, String)>,
    /// What tests said they proved: their lines that begin with `proved:`.
    proved: Vec<String>,
}

impl Report {
    /// Removes the report of an earlier run, so that it is not taken for that of this one.
    pub fn forget(workspace: &Workspace, profile: &str) -> Result<()> {
        let path = path(workspace, profile);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("remove `{}`", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Reads the report of the latest run with `profile`.
    pub fn read(workspace: &Workspace, profile: &str) -> Result<Self> {
        let path = path(workspace, profile);
        let xml =
            fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
        Ok(Self::parse(&xml))
    }

    fn parse(xml: &str) -> Self {
        let count = |name| attribute(xml, name).and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut report = Self {
            run_count: count("tests"),
            failed_count: count("failures") + count("errors"),
            ..Self::default()
        };
        for case in xml.split("<testcase ").skip(1) {
            let tag = case.split('>').next().unwrap_or_default();
            let get = |name| attribute(tag, name).unwrap_or_default();
            let seconds = get("time").parse().unwrap_or(0.0);
            report.tests.push((seconds, format!("{} {}", get("classname"), get("name"))));
            let said = case.lines().map(|line| line.trim_start_matches("<system-out>").trim());
            report.proved.extend(said.filter(|l| l.starts_with("proved:")).map(unescape));
        }
        report.tests.sort_by(|a, b| b.0.total_cmp(&a.0));
        report
    }

    /// Prints the tests that took longest.
    pub fn print_slowest(&self, count: usize) {
        println!("\nslowest tests:");
        for (seconds, name) in self.tests.iter().take(count) {
            println!("  {seconds:>7.1} s  {name}");
        }
    }

    /// Prints every line by which a test said what it proved.
    pub fn print_proved(&self) {
        println!();
        for line in &self.proved {
            println!("{line}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.run_count.saturating_sub(self.failed_count);
        write!(f, "{} tests: {passed} passed, {} failed", self.run_count, self.failed_count)
    }
}

fn path(workspace: &Workspace, profile: &str) -> PathBuf {
    workspace.target.join("nextest").join(profile).join("junit.xml")
}

/// Returns the first value of the attribute `name` in `xml`.
fn attribute<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    xml.split_once(&format!(" {name}=\""))
        .or_else(|| xml.strip_prefix(&format!("{name}=\"")).map(|rest| ("", rest)))
        .and_then(|(_, rest)| rest.split('"').next())
}

fn unescape(text: &str) -> String {
    let text = text.split("</system-out>").next().unwrap_or_default();
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="2" failures="1" errors="0" time="2.1">
  <testsuite name="cardlens-tests::it" tests="2" disabled="0" errors="0" failures="1">
    <testcase name="broker::kills" classname="cardlens-tests::it" timestamp="x" time="2.000">
      <system-out>running 1 test
proved: 20 kills, lost &lt; 1</system-out>
    </testcase>
    <testcase name="golden" classname="cardlens-tests::it" timestamp="x" time="0.100">
    </testcase>
  </testsuite>
  <testsuite name="other"></testsuite>
</testsuites>"#;

    #[test]
    fn junit() {
        let report = Report::parse(XML);
        assert_eq!(report.to_string(), "2 tests: 1 passed, 1 failed");
        assert_eq!(report.tests[0], (2.0, "cardlens-tests::it broker::kills".to_owned()));
        assert_eq!(report.tests[1].1, "cardlens-tests::it golden");
        assert_eq!(report.proved, ["proved: 20 kills, lost < 1"]);
    }
}
