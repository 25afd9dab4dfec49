//! What the configuration accepts and what it says about the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned(), folder: PathBuf::from("etc") }
}

fn local(text: &str) -> Result<Config, Vec<Problem>> {
    check(vec![source("f.toml", text)], [], Purpose::Local)
}

/// The keys of `deploy/default.toml`: those set, and those behind a single `#`.
fn keys_of_defaults() -> BTreeSet<String> {
    let mut table = String::new();
    let mut keys = BTreeSet::new();
    for line in DEFAULT_TOML.lines() {
        let bare = line.trim_start_matches("# ");
        if bare.starts_with('[') && bare.ends_with(']') {
            table = format!("{}.", bare.trim_matches(['[', ']']));
        } else if let Some(key) = key_of(bare) {
            keys.insert(format!("{table}{key}"));
        }
    }
    keys
}

/// The key that a line sets.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(key)
}

#[test]
fn defaults_hold_every_key_and_no_other() {
    let (reader, config) = read(Vec::new(), [], Purpose::Local).unwrap();
    let known: BTreeSet<String> = reader.keys().into_iter().collect();
    assert_eq!(reader.into_problems(), []);
    assert_eq!(keys_of_defaults(), known);
    assert_eq!(config.time.windows, [7, 30, 90, 365]);
    assert_eq!(config.input.rejected_max, 500);
    assert_eq!(config.privacy.withhold.len(), 33);
    assert!(!config.time.max_future_given);
    assert_eq!(config.http_engine.as_deref(), Some("127.0.0.1:8080"));
}

#[test]
fn copies_of_the_defaults_are_valid_once_they_are_filled_in() {
    let valid = |text: &str, purpose| {
        let checked = check(vec![source("copy.toml", text)], [], purpose);
        checked.unwrap_or_else(|problems| panic!("{problems:#?}"))
    };
    let uncommented = |text: String, key: &str| {
        let commented = format!("# {key} = ");
        assert_eq!(text.matches(&commented).count(), 1, "{key}");
        text.replace(&commented, &format!("{key} = "))
    };
    let filled = uncommented(DEFAULT_TOML.to_owned(), "bootstrap_servers");
    let filled = uncommented(filled, "topic");
    let config = valid(&filled, Purpose::Run);
    assert_eq!(config.input.topic.as_deref(), Some("card.transactions"));
    assert_eq!((config.sql.roles.len(), config.sql.loopback_without_password), (0, true));
    let engines = filled.replace("\nengines = []", "\nengines = [\"127.0.0.1:32011\"]");
    assert_eq!(valid(&engines, Purpose::Gateway).sql.engines, ["127.0.0.1:32011"]);

    // Every example at once.
    let lines = DEFAULT_TOML.lines().map(|line| match line.strip_prefix("# ") {
        Some(bare) if key_of(bare).is_some() || bare == "[[sql.role]]" => bare,
        _ => line,
    });
    let config = valid(&lines.collect::<Vec<_>>().join("\n"), Purpose::Run);
    assert_eq!(config.sql.roles[0].min_group, Some(11));
}

#[test]
fn a_fault_of_syntax_is_told_of_alone() {
    let broken = source("a.toml", "[time]\nsettle = \"x\"\n[kafka]\nbootstrap_servers = \"a:1\n");
    let problems = check(vec![broken], [], Purpose::Run).unwrap_err();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["a.toml:4:25: invalid basic string, expected `\"`"]);
}

#[test]
fn every_key_of_the_defaults_has_a_comment_above_it() {
    let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
    for (idx, line) in lines.iter().enumerate() {
        let set = line.contains(" = ") && !line.starts_with('#');
        if set || line.starts_with('[') {
            assert!(idx > 0 && lines[idx - 1].starts_with("# "), "line {}: {line}", idx + 1);
        }
    }
}

#[test]
fn a_history_is_kept_by_those_who_say_so() {
    use cardlens_engine::history::Profiles;
    assert_eq!(local("").unwrap().history, None);
    let daily = local("[history]\nenabled = true").unwrap().history.unwrap();
    assert_eq!((daily.profiles, daily.retention_days), (Some(Profiles::Daily), None));
    let weekly = "[history]\nenabled = true\nprofiles = \"weekly\"\nretention = \"90d\"";
    let weekly = local(weekly).unwrap().history.unwrap();
    assert_eq!((weekly.profiles, weekly.retention_days), (Some(Profiles::Weekly), Some(90)));
    let off = local("[history]\nenabled = true\nprofiles = \"off\"").unwrap().history.unwrap();
    assert_eq!(off.profiles, None);
    let problems = local("[history]\nenabled = true\nretention = \"6h\"").unwrap_err();
    assert!(problems[0].message.contains("`history.retention` is 6h"), "{problems:?}");
}

#[test]
fn this_machine_needs_a_password_once_there_are_roles() {
    let role = "[[sql.role]]\nname = \"a\"\nsecret_file = \"a\"\n";
    let said = |flag: bool| format!("[sql]\nloopback_without_password = {flag}\n");
    for (text, without) in [
        (String::new(), true),
        (said(false), false),
        (role.to_owned(), false),
        (format!("{}{role}", said(true)), true),
    ] {
        assert_eq!(local(&text).unwrap().sql.loopback_without_password, without, "{text}");
    }
    let role = format!("{role}relations = [\"segments\", \"ops.partitions\"]\n");
    let sql = local(&role).unwrap().sql;
    let relations = vec!["segments".to_owned(), "ops.partitions".to_owned()];
    assert_eq!(sql.roles[0].relations, Some(relations));
    assert_eq!(sql.idle_timeout, Duration::from_secs(300));
}

#[test]
fn a_whole_configuration() {
    let text = r#"
shutdown_timeout = "5s"
[service]
name = "cards-eu"
timezone = "Europe/Berlin"
currency = "EUR"
home_country = "DE"
rules = "rules"
[kafka]
bootstrap_servers = "a:9092, [::1]:9093"
commit_interval = "50ms"
sasl_password_file = "/run/secrets/kafka"
properties."sasl.username" = "cardlens"
properties.security.protocol = "SASL_SSL"
properties."socket.timeout.ms" = 10_000
[[input]]
topic = "card.transactions"
moves_windows = "authorization"
on_error = "stop"
reject_limit = "0.25%"
[input.map]
customer = "custId"
merchant = "acceptor.name"
[input.values.kind]
"AUTH_REV" = "reversal"
[input.values.country]
"840" = "US"
[time]
windows = ["90d", "1d"]
allowed_lateness = "400d"
max_future = "1m"
[state]
store = "file:///var/lib/cardlens"
memory_limit = "20GiB"
[privacy]
withhold = []
legal_basis = "consent"
approved_by = "DPO"
check_also = ["merchant"]
[http]
engine = ""
[telemetry]
log_format = "text"
"#;
    let config = check(vec![source("f.toml", text)], [], Purpose::Run).expect("it is right");
    assert_eq!(config.service.rules.as_deref(), Some(Path::new("etc/rules")));
    let properties: Vec<(&str, &str)> =
        config.kafka.properties.iter().map(|(key, value)| (&**key, &**value)).collect();
    let expected = [
        ("sasl.username", "cardlens"),
        ("security.protocol", "SASL_SSL"),
        ("socket.timeout.ms", "10000"),
    ];
    assert_eq!(properties, expected);
    assert_eq!(config.kafka.commit_interval, Duration::from_millis(50));
    assert_eq!(config.input.rejected_max, 25);
    assert_eq!(config.input.moves_windows, Kind::Authorization);
    assert_eq!(config.input.map["merchant"], "acceptor.name");
    assert_eq!(config.input.kinds["AUTH_REV"], "reversal");
    assert_eq!(config.time.windows, [1, 90]);
    assert!(config.time.max_future_given);
    assert_eq!(config.state.store, Store::Folder("/var/lib/cardlens".into()));
    assert_eq!(config.state.memory_limit, Some(20 << 30));
    assert_eq!(config.state.snapshot_generations, 3);
    assert_eq!((config.privacy.withhold.len(), config.privacy.check_merchant), (0, true));
    assert_eq!((config.http_engine, config.log_format), (None, LogFormat::Text));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(5));
}

#[test]
fn files_and_variables_are_layered() {
    let first = "[service]\nname = \"a\"\ncurrency = \"EUR\"\n[kafka]\nbootstrap_servers = \"x:1\"\n\
                 [[input]]\ntopic = \"t\"\nreject_limit = \"1%\"\n[input.map]\nmcc = \"m\"\n";
    let second = "[service]\nname = \"b\"\n[time]\nsettle = \"1h\"\n";
    let variables = [
        ("CARDLENS__SERVICE__HOME_COUNTRY", "GB"),
        ("CARDLENS__KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SSL"),
        ("CARDLENS__KAFKA__TRANSACTION_RECORDS_MAX", "7"),
        ("CARDLENS__INPUT__0__TOPIC", "u"),
        ("CARDLENS__OUTPUT__CREATE_TOPICS", "true"),
        ("CARDLENS__TIME__WINDOWS", "7d, 14d"),
        ("CARDLENS_SIM_SEEDS", "none of ours"),
        ("PATH", "/bin"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let files = vec![source("a.toml", first), source("b.toml", second)];
    let config = check(files, variables, Purpose::Run).expect("it is right");
    assert_eq!((&*config.service.name, &*config.service.currency), ("b", "EUR"));
    assert_eq!(config.service.home_country, "GB");
    assert_eq!(config.kafka.properties["security.protocol"], "SSL");
    assert_eq!(config.kafka.transaction_records_max, 7);
    assert_eq!((config.input.topic.as_deref(), config.input.rejected_max), (Some("u"), 100));
    assert_eq!(config.input.map["mcc"], "m");
    assert!(config.output.create_topics);
    assert_eq!(config.time.windows, [7, 14]);
    assert_eq!(config.time.settle, Duration::from_secs(3_600));
}

#[test]
fn mistakes_in_variables_name_the_variable() {
    let cases = [
        (
            "CARDLENS__KAFKA__COMIT_INTERVAL",
            "1s",
            "unknown key `comit_interval` in `kafka` (did you mean `commit_interval`?)",
        ),
        (
            "CARDLENS__KAFKA__COMMIT_INTERVAL",
            "3s",
            "`kafka.commit_interval` is 3s; the most is 2s, so that a transaction ends well before its timeout",
        ),
        ("CARDLENS__KAFKA", "x", "`kafka` is a table, not a text (write [kafka])"),
        ("CARDLENS____X", "x", "names no key: write CARDLENS__TABLE__KEY"),
        ("CARDLENS__INPUT__0", "x", "names a table, not a key of it"),
        ("CARDLENS__INPUT__3__TOPIC", "x", "`input` is a list of 0: name one by its number from 0"),
        (
            "CARDLENS__KAFKA__SASL_PASSWORD",
            "x",
            "a secret is not written here: `sasl_password` (name its file with `sasl_password_file`)",
        ),
        (
            "CARDLENS__OUTPUT__CREATE_TOPICS",
            "yes",
            "`output.create_topics` is true or false, not a text",
        ),
    ];
    for (name, value, message) in cases {
        let (name, value) = (name.to_owned(), value.to_owned());
        let problems = check(Vec::new(), [(name.clone(), value)], Purpose::Local).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [format!("environment variable {name}: {message}")]);
    }
}

#[test]
fn stores_at_urls() {
    let text = "[state]\nstore = \"s3://b/p\"\n[state.options]\nregion = \"eu-1\"\n";
    let variables = [
        ("CARDLENS__STATE__OPTIONS__ALLOW_HTTP", "true"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_NOTHING_OF_OURS", "x"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = check(vec![source("f.toml", text)], variables, Purpose::Local).unwrap();
    let shown = format!("{:?}", config.state.store);
    for part in ["s3://b/p", "allow_http", "aws_region", "aws_secret_access_key"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("hunter2") && !shown.contains("ours"), "{shown}");
    let fault = |text: &str| -> String {
        let problems = check(vec![source("f.toml", text)], [], Purpose::Local).expect_err(text);
        problems.iter().map(ToString::to_string).collect()
    };
    let secret = fault("[state]\nstore = \"s3://b\"\noptions.secret_access_key = \"hunter2\"\n");
    assert!(secret.ends_with("it is read from AWS_SECRET_ACCESS_KEY"), "{secret}");
    assert!(!secret.contains("hunter2"));
    assert_eq!(
        fault("[state]\noptions.region = \"eu-1\"\n"),
        "f.toml:2:9: `state.options` are of a store at a URL, not of a folder"
    );
}

#[test]
fn run_needs_brokers_and_a_topic() {
    let shown = |text: &str| -> Vec<String> {
        let files = if text.is_empty() { Vec::new() } else { vec![source("f.toml", text)] };
        let problems = check(files, [], Purpose::Run).expect_err(text);
        problems.iter().map(ToString::to_string).collect()
    };
    let brokers =
        "`run` needs `kafka.bootstrap_servers` (such as bootstrap_servers = \"kafka:9092\")";
    let topic = "(such as topic = \"card.transactions\")";
    assert_eq!(
        shown("[service]\nname = \"x\"\n"),
        [format!("f.toml:1:1: {brokers}"), format!("f.toml:1:1: `run` needs an [[input]] {topic}")]
    );
    assert_eq!(
        shown("[kafka]\n[[input]]\n"),
        [
            format!("f.toml:1:2: {brokers}"),
            format!("f.toml:2:1: an [[input]] needs `topic` {topic}")
        ]
    );
    assert_eq!(shown("").len(), 2);
}

#[test]
fn all_faults_at_once_in_the_order_of_the_files() {
    let first = "[service]\nname = \"a b\"\nnmae = \"x\"\n";
    let second = "[time]\nsettle = 2\n[kafka]\ncommit_interval = \"3s\"\n";
    let files = vec![source("a.toml", first), source("b.toml", second)];
    let problems = check(files, [], Purpose::Local).unwrap_err();
    let places: Vec<(&str, usize, usize)> =
        problems.iter().map(|p| (&*p.file, p.line, p.column)).collect();
    assert_eq!(places, [("a.toml", 2, 8), ("a.toml", 3, 1), ("b.toml", 2, 10), ("b.toml", 4, 19)]);
}

#[test]
fn an_overridden_fault_is_none_and_an_overridden_unknown_key_is_one() {
    let first = source("a.toml", "[time]\nsettle = \"x\"\n[kafak]\nx = 1\n");
    let second = source("b.toml", "[time]\nsettle = \"1h\"\n");
    let problems = check(vec![first, second], [], Purpose::Local).unwrap_err();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["a.toml:3:2: unknown key `kafak` in the top level (did you mean `kafka`?)"]);
}

#[test]
fn passwords_come_from_files() {
    let mut config = Config::builtin().unwrap();
    assert_eq!(config.kafka.sasl_password(), Ok(None));
    let path = std::env::temp_dir().join(format!("cardlens-secret-{}", std::process::id()));
    std::fs::write(&path, "hunter2\r\n").unwrap();
    config.kafka.sasl_password_file = Some(path.clone());
    assert_eq!(config.kafka.sasl_password(), Ok(Some("hunter2".to_owned())));
    std::fs::remove_file(&path).unwrap();
    let problem = config.kafka.sasl_password().unwrap_err();
    assert!(problem.to_string().contains("read the SASL password: "), "{problem}");
}

/// Each mistake alone, with the whole sentence that it gets.
#[test]
fn mistakes() {
    let table = include_str!("mistakes.txt");
    let mut cases = BTreeMap::new();
    for case in table.split("\n---\n") {
        let (text, expected) = case.trim_end().rsplit_once("\n=> ").expect(case);
        cases.insert(text.to_owned(), expected.to_owned());
    }
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let problems = local(&text).err().unwrap_or_default();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        if shown != [format!("f.toml:{expected}")] {
            wrong.push(format!("{text}\n=> {expected}\n   {shown:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}
