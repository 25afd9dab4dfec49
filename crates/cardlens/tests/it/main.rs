//! The binary as people and scripts meet it: what it prints and how it ends.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs the binary with words and an environment of its own.
fn cardlens(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardlens"));
    command.env_clear().envs(variables.iter().copied()).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cardlens-it-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[track_caller]
fn check(words: &[&str], variables: &[(&str, &str)], code: i32, stderr: &str) -> String {
    let output = cardlens(words, variables);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
    assert!(error.contains(stderr), "{words:?}: {error}");
    text(&output.stdout)
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_is() {
    let folder = Folder::new("codes");
    check(&[], &[], 64, "Usage: cardlens");
    check(&["fly"], &[], 64, "unrecognized subcommand 'fly'");
    assert!(check(&["--version"], &[], 0, "").starts_with("cardlens 0."));
    assert!(check(&["--help"], &[], 0, "").contains("backtest"));
    let wrong = folder.write("wrong.toml", "[kafka]\ncomit_interval = \"1s\"\n");
    let run = check(&["run", "-c", &wrong], &[], 78, "failed to load the configuration\n");
    assert_eq!(run, "");
    let variable = [("CARDLENS__TIME__SETTLE", "soon")];
    let named = "environment variable CARDLENS__TIME__SETTLE: `time.settle` is no duration: `soon`";
    check(&["validate"], &variable, 78, named);
    check(&["run", "-c", "none.toml"], &[], 78, "none.toml: read the file: No such file");
    let out = folder.0.join("out").display().to_string();
    check(&["backtest", "--from", "none.csv", "--out", &out], &[], 65, "none.csv");
    let unnamed = folder.write("history", "id,customer,time\n");
    let known = "history`: the name does not say what it holds; it ends in one of .csv, ";
    check(&["backtest", "--from", &unnamed, "--out", &out], &[], 65, known);
    assert!(!folder.0.join("out").exists());
    let eval = ["eval", "--changes", "c", "--truth", "t", "--customers", "u", "--map", "m"];
    for missing in ["c", "t", "u", "m"] {
        check(&eval, &[], 65, &format!("  {missing}: read the file: No such file"));
    }
    let inside = format!("{unnamed}/pages");
    let message = format!("failed to write the manual into `{inside}`: ");
    check(&["man", "--out", &inside], &[], 1, &message);
}

#[test]
fn what_all_verbs_have_stands_apart_in_their_help() {
    let help = check(&["eval", "--help"], &[], 0, "");
    let (own, logging) = help.split_once("\nLogging:\n").unwrap();
    assert!(own.contains("--json") && !own.contains("--log-format"), "{help}");
    assert!(logging.contains("--log-format") && logging.contains("--quiet"), "{help}");
}

#[test]
fn a_taken_port_is_unavailable() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let variables = [
        ("CARDLENS__HTTP__ENGINE", address.as_str()),
        ("CARDLENS__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("CARDLENS__INPUT__0__TOPIC", "card.transactions"),
    ];
    let message = format!("failed to start: listen on `{address}` (`http.engine`)");
    check(&["run"], &variables, 69, &message);
    let variables = [
        ("CARDLENS__HTTP__ENGINE", ""),
        ("CARDLENS__SCAN__LISTEN", address.as_str()),
        variables[1],
        variables[2],
    ];
    let message =
        format!("failed to start: listen on `{address}` (`scan.listen`): Address already");
    check(&["run"], &variables, 69, &message);
}

#[test]
fn a_gateway_without_its_papers_or_its_ports_does_not_start() {
    let folder = Folder::new("gateway");
    let gateway = "[gateway]\nengines = [\"127.0.0.1:1\"]\n[sql]\nflight = \"\"\npgwire = ";
    let encrypted = format!(
        "{gateway}\"127.0.0.1:0\"\n[http]\ngateway = \"\"\n\
         [tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n"
    );
    let encrypted = folder.write("encrypted.toml", &encrypted);
    let words = ["gateway", "-c", encrypted.as_str()];
    let begins = "failed to start: open the certificate and the key of [tls]: read ";
    check(&words, &[], 78, begins);
    check(&words, &[], 78, "tls.crt: No such file");
    folder.write("tls.crt", "no PEM at all");
    check(&words, &[], 78, "tls.crt: no certificate in it");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    let http = format!("{gateway}\"127.0.0.1:0\"\n[http]\ngateway = \"{taken}\"\n");
    let http = folder.write("http.toml", &http);
    let message = format!("failed to start: listen on `{taken}` (`http.gateway`)");
    check(&["gateway", "-c", &http], &[], 69, &message);
    let wire = folder.write("wire.toml", &format!("{gateway}\"{taken}\"\n"));
    let message = format!("failed to start: listen on `{taken}` (`sql.pgwire`)");
    check(&["gateway", "-c", &wire], &[], 69, &message);
}

#[test]
fn validate_finds_faults_of_configuration_and_rules_at_once() {
    let folder = Folder::new("validate");
    let rules = folder.0.join("rules");
    std::fs::create_dir_all(&rules).unwrap();
    std::fs::write(rules.join("rules.toml"), "version = 1\nname = \"x\"\nnmae = 2\n").unwrap();
    let config = folder.write(
        "cardlens.toml",
        "[kafka]\nbootstrap_servers = \"a:1\"\ncommit_interval = \"1h\"\n[[input]]\ntopic = \"t\"\n",
    );
    let rules = rules.display().to_string();
    let words = ["validate", config.as_str(), "--rules", &rules, "--no-environment"];
    let output = cardlens(&words, &[]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78));
    assert!(error.contains("cardlens.toml:3:19: `kafka.commit_interval` is 1h"), "{error}");
    assert!(error.contains("rules.toml:3:1: "), "{error}");

    let json = cardlens(&[&words[..], &["--format", "json"]].concat(), &[]);
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &found["valid"]), (Some(78), &false.into()));
    assert!(found["problems"].as_array().is_some_and(|problems| problems.len() >= 2), "{found}");

    assert!(check(&["validate"], &[], 0, "").contains("valid: rule set `default`"));
    let open = [("CARDLENS__HTTP__ENGINE", "0.0.0.0:8080")];
    let warned = check(&["validate"], &open, 0, "");
    assert!(warned.contains("warning: configuration: `http.engine` is reachable"), "{warned}");
    check(&["validate", "--deny-warnings"], &open, 78, "`http.engine` is reachable");
    let secret = [("CARDLENS__KAFKA__SASL_PASSWORD_FILE", "none.secret")];
    check(&["validate"], &secret, 78, "none.secret: read the SASL password");
    check(&["validate", "--no-environment"], &secret, 0, "");

    // Of what cannot be checked nothing is said, and warnings come after what is wrong.
    let missing = cardlens(&["validate", "none.toml"], &[]);
    let error = text(&missing.stderr);
    assert_eq!((missing.status.code(), text(&missing.stdout)), (Some(78), String::new()));
    assert!(error.starts_with("failed to validate\n  none.toml: read the file: "), "{error}");
    assert!(!error.contains("warning"), "{error}");
    let both = [open[0], secret[0]];
    let told = "\n  none.secret: read the SASL password: No such file or directory (os error 2)\n  \
                warning: ";
    assert_eq!(check(&["validate"], &both, 78, told), "");
}

#[test]
fn a_way_around_the_roles_is_warned_of() {
    let folder = Folder::new("around");
    let role = "[[sql.role]]\nname = \"a\"\nsecret_file = \"a\"\n";
    let needed = "[kafka]\nbootstrap_servers = \"a:1\"\n[[input]]\ntopic = \"t\"\n";
    let open = "[sql]\nloopback_without_password = true\n";
    let warning = "warning: configuration: `sql.loopback_without_password` is a way around";
    let around = folder.write("around.toml", &format!("{needed}{open}{role}"));
    let said = check(&["validate", &around, "--no-environment"], &[], 0, "");
    assert!(said.contains(warning), "{said}");
    for text in [open, role] {
        let file = folder.write("one.toml", &format!("{needed}{text}"));
        let said = check(&["validate", &file, "--no-environment"], &[], 0, "");
        assert!(!said.contains(warning), "{said}");
    }
}

/// A rejected record goes to a file with its reason, and with its text unless a card number is in it.
#[test]
fn rejected_records_leave_no_card_number() {
    let folder = Folder::new("rejected");
    let record = |time: &str, amount: &str, more: &str| {
        format!(
            "{{\"id\":\"1\",\"customer\":\"A\",\"time\":{time},\"kind\":\"purchase\",\
             \"amount_minor\":{amount},\"currency\":\"USD\"{more}}}\n"
        )
    };
    let time = "\"2026-03-01T08:00:00Z\"";
    let records = [
        record(time, "5", ""),
        record(time, "-5", ""),
        record(time, "4111111111111111", ""),
        record(time, "\"4111-1111-1111-1111\"", ""),
        record("\"\\u0034111 1111 1111 1111\"", "5", ""),
        record("4111111111111111", "5", ""),
        record(time, "-5", ",\"4111111111111111\":true"),
    ];
    let file = folder.write("in.jsonl", &records.concat());
    let out = folder.0.join("out");
    let to = out.display().to_string();
    let said = check(&["backtest", "--from", &file, "--out", &to], &[], 0, "");
    let told = "rejected: 3 bad_amount, 2 bad_type, 1 amount_overflow; each is in ";
    assert!(said.contains(&format!("{told}{to}/rejected.jsonl\n")), "{said}");
    let rejected = std::fs::read_to_string(out.join("rejected.jsonl")).unwrap();
    for written in ["4111111111111111", "4111-1111", "0034111"] {
        assert!(!rejected.contains(written), "{rejected}");
    }
    let rejected: Vec<serde_json::Value> =
        rejected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons: Vec<&str> = rejected.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    let expected =
        ["bad_amount", "amount_overflow", "bad_amount", "bad_type", "bad_type", "bad_amount"];
    assert_eq!(reasons, expected);
    assert_eq!(rejected[0]["original"].as_str(), Some(records[1].trim_end()));
    for line in &rejected[1..] {
        assert!(line["original"].is_null(), "{line}");
        assert!(line["message"].as_str().unwrap().contains("the original is left out"), "{line}");
    }
    // Of a file without any record that is accepted there is no result.
    let wrong = folder.write("wrong.jsonl", &records[1].repeat(3));
    let message = "failed to use any record: every record is rejected: 3 bad_amount; see `";
    let said = check(&["backtest", "--from", &wrong, "--out", &to], &[], 65, message);
    assert!(said.contains(": 0 changes, 3 rejected, in "), "{said}");
    let empty = folder.write("empty.jsonl", "");
    check(&["backtest", "--from", &empty, "--out", &to], &[], 0, "");
}

const RULES: &str = r#"version = 1
name = "small"
[[need]]
name = "twice"
label = "Twice"
lens = "L2"
purpose = "marketing"
enter = "txn_7d >= 2"
[[need.test]]
name = "two are enough"
given = "given.csv"
at = "2026-03-10T12:00:00Z"
expect = { A = "entered", B = "none" }
[[need.test]]
name = "wrong"
given = "given.csv"
at = "2026-03-20T00:00:00Z"
expect = { A = "entered", B = "left", C = "none" }
[[need.test]]
name = "rejected"
given = "broken.csv"
at = "2026-03-10T00:00:00Z"
expect = { A = "none" }
[[need.test]]
name = "no file"
given = "absent.csv"
at = "2026-03-10T00:00:00Z"
expect = { A = "none" }
"#;

#[test]
fn tests_of_rules_are_run() {
    let deployed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/rules");
    assert_eq!(check(&["test", deployed], &[], 0, ""), "4 tests passed\n");
    check(&["test"], &[], 64, "failed to find the rules: name their folder");

    let folder = Folder::new("tests");
    folder.write("rules.toml", RULES);
    folder.write(
        "given.csv",
        "id,customer,time,mcc,amount_minor\n1,A,2026-03-09T10:00:00Z,5411,1\n\
         2,A,2026-03-10T10:00:00Z,5411,1\n3,B,2026-03-10T10:00:00Z,5411,1\n\
         4,B,2026-03-10T13:00:00Z,5411,1\n",
    );
    folder.write("broken.csv", "id,customer,time,mcc,amount_minor\n1,A,yesterday,5411,1\n");
    let rules = folder.0.display().to_string();
    let output = cardlens(&["test", &rules], &[]);
    assert_eq!((output.status.code(), &text(&output.stdout)[..]), (Some(1), "1 test passed\n"));
    let error = text(&output.stderr);
    let expected = [
        "failed to pass the tests of the rules\n".to_owned(),
        "rules.toml:18:17: `wrong`: `A` and need `twice`: expected entered, got left\n".to_owned(),
        "rules.toml:18:44: `wrong`: `C` and need `twice`: expected none, got no such customer in \
         `given.csv`\n"
            .to_owned(),
        format!("rules.toml:20:9: `rejected`: {rules}/broken.csv:2: the record is rejected: "),
        format!("rules.toml:25:9: `no file`: open `{rules}/absent.csv`"),
        "4 problems\n".to_owned(),
    ];
    for line in expected {
        assert!(error.contains(&line), "{line}\n{error}");
    }

    folder.write("rules.toml", &RULES.replacen("2026-03-10T12:00:00Z", "soon", 1));
    let wrong = "rules.toml:10:9: `two are enough`: `at` is no time: `soon`";
    check(&["test", &rules], &[], 1, wrong);
    check(&["validate", "--rules", &rules], &[], 78, wrong);
}

#[test]
fn pages_and_scripts_are_printed() {
    assert!(check(&["reference", "config"], &[], 0, "").starts_with("# Configuration\n"));
    assert!(check(&["reference", "metrics"], &[], 0, "").starts_with("# Metrics\n"));
    assert!(check(&["reference", "features"], &[], 0, "").starts_with("# Features\n"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(check(&["completion", shell], &[], 0, "").contains("cardlens"), "{shell}");
    }
    assert!(check(&["man"], &[], 0, "").contains(".TH cardlens 1"));
    let folder = Folder::new("man");
    let out = folder.0.join("pages").display().to_string();
    check(&["man", "--out", &out], &[], 0, "");
    assert!(folder.0.join("pages/cardlens-run.1").exists());
}
