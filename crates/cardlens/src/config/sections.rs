//! From sections to the checked configuration, table by table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cardlens_engine::Remote;
use cardlens_lens::WITHHELD_DEFAULT;

use super::reader::{Found, Reader, Section, one_of};
use super::tree::{Place, Table};
use super::{
    Config, HORIZON_DAYS, Kafka, LogFormat, Output, Privacy, Purpose, Scan, Service, State, Store,
    Time, history, input, properties, sql, zone,
};

const DAY: Duration = Duration::from_secs(86_400);
const HORIZON: Duration = Duration::from_secs(86_400 * HORIZON_DAYS as u64);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(2);

/// Reads everything. What could not be read has some value, and the reader has the faults.
pub(super) fn config(reader: &Reader, root: &Table, purpose: Purpose) -> Config {
    let root = Section::root(reader, root);
    let service = service(root);
    let kafka = kafka(root, purpose);
    let input = one_input(root, purpose);
    let input_topic = root.sections("input", "input").first().and_then(|(s, _)| s.text("topic"));
    let time = time(root);
    let state = state(root);
    let history = history::history(root);
    let output = output(root, input_topic);
    let privacy = privacy(root);
    let http_engine = listen(root, "http", "engine", "127.0.0.1:8080");
    let scan = scan(root);
    let http_gateway = listen(root, "http", "gateway", "127.0.0.1:8081");
    let sql = sql::sql(root, purpose);
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let telemetry = root.section("telemetry", "telemetry");
    let log_format = telemetry.choice("log_format", &formats).unwrap_or(LogFormat::Text);
    let shutdown_timeout = root
        .duration_within("shutdown_timeout", (SECOND, Duration::from_secs(600)), "")
        .unwrap_or_default();
    Config {
        service,
        kafka,
        input,
        time,
        state,
        history,
        output,
        privacy,
        http_engine,
        scan,
        http_gateway,
        sql,
        log_format,
        shutdown_timeout,
    }
}

fn service(root: Section<'_>) -> Service {
    let section = root.section("service", "service");
    let reader = section.reader;
    let name = section.filled("name");
    if let Some(name) = &name
        && !plain_name(&name.value, 100)
    {
        let message = format!("`service.name` is `{}`; it names a consumer group", name.value);
        let suggestion = "at most 100 letters, digits, `.`, `_` and `-`";
        reader.fault_with(name.at, message, suggestion);
    }
    let timezone = section.filled("timezone");
    let mut calendar = cardlens_model::Calendar::utc();
    if let Some(zone) = &timezone {
        match zone::calendar(&zone.value) {
            Ok(found) => calendar = found,
            Err(meant) => {
                let message = format!("unknown time zone `{}`", zone.value);
                let meant = meant.map(|meant| format!("did you mean `{meant}`?"));
                let other = "an IANA name such as `Europe/Berlin`".to_owned();
                reader.fault_with(zone.at, message, meant.unwrap_or(other));
            }
        }
    }
    let currency = section.filled("currency");
    if let Some(code) = &currency
        && iso_currency::Currency::from_code(&code.value).is_none()
    {
        let message = format!("`{}` is no ISO 4217 currency", code.value);
        reader.fault_with(code.at, message, "three capital letters, such as USD");
    }
    let home_country = section.filled("home_country");
    if let Some(code) = &home_country
        && !country_like(&code.value)
    {
        let message = format!("`{}` is no ISO 3166 country", code.value);
        reader.fault_with(code.at, message, "two or three capital letters, such as US");
    }
    let value = |found: Option<Found<String>>| found.map(|found| found.value).unwrap_or_default();
    Service {
        name: value(name),
        timezone: value(timezone),
        calendar,
        currency: value(currency),
        home_country: value(home_country),
        rules: section.path("rules").map(|path| path.value),
    }
}

/// Where something that is missing is shown: at its table in the last file, or at the file.
pub(super) fn missing_at(reader: &Reader, place: Option<Place>) -> Place {
    let files = reader.sources.iter().filter(|s| !s.name.starts_with(super::ENV_PREFIX)).count();
    place
        .filter(|place| place.source > 0)
        .unwrap_or(Place { source: files.saturating_sub(1), offset: 0 })
}

fn kafka(root: Section<'_>, purpose: Purpose) -> Kafka {
    let section = root.section("kafka", "kafka");
    let reader = section.reader;
    let bootstrap_servers = section.filled("bootstrap_servers");
    match &bootstrap_servers {
        Some(servers) => {
            for server in servers.value.split(',').map(str::trim) {
                if !host_and_port(server) {
                    let message = format!("`kafka.bootstrap_servers` has `{server}`");
                    reader.fault_with(servers.at, message, "host:port, comma-separated");
                }
            }
        }
        None if purpose == Purpose::Run && section.place("bootstrap_servers").is_none() => {
            let at = missing_at(reader, root.place("kafka"));
            let message = "`run` needs `kafka.bootstrap_servers`";
            reader.fault_with(at, message, "such as bootstrap_servers = \"kafka:9092\"");
        }
        None => {}
    }
    let ends = ", so that a transaction ends well before its timeout";
    let commit_interval = (MILLISECOND, COMMIT_INTERVAL_MAX);
    let session = (Duration::from_secs(6), Duration::from_secs(300));
    let instance_id = section.filled("instance_id");
    if let Some(id) = &instance_id
        && !plain_name(&id.value, 100)
    {
        let message = format!("`kafka.instance_id` is `{}`", id.value);
        reader.fault_with(id.at, message, "at most 100 letters, digits, `.`, `_` and `-`");
    }
    Kafka {
        bootstrap_servers: bootstrap_servers.map(|servers| servers.value),
        commit_interval: section
            .duration_within("commit_interval", commit_interval, ends)
            .unwrap_or_default(),
        transaction_records_max: section
            .count("transaction_records_max", 1, 1_000_000)
            .unwrap_or_default(),
        instance_id: instance_id.map(|id| id.value),
        session_timeout: section
            .duration_within("session_timeout", session, ", as brokers have it by default")
            .unwrap_or_default(),
        sasl_password_file: section.path("sasl_password_file").map(|path| path.value),
        properties: properties::properties(section),
    }
}

fn one_input(root: Section<'_>, purpose: Purpose) -> super::Input {
    let sections = root.sections("input", "input");
    let reader = root.reader;
    for (_, at) in sections.iter().skip(1) {
        let message = "a second [[input]]: this version reads one topic";
        reader.fault_with(*at, message, "remove it");
    }
    // Every one is read, so that its faults show too.
    let mut inputs: Vec<super::Input> =
        sections.iter().map(|(section, _)| input::input(*section)).collect();
    let Some((section, at)) = sections.first().copied() else {
        // What stands there instead was reported. Read all the same, for the names of its keys.
        return input::input(root.without_keys("input"));
    };
    let input = inputs.swap_remove(0);
    if purpose == Purpose::Run && input.topic.is_none() && section.place("topic").is_none() {
        let place = missing_at(reader, Some(at));
        let given = at.source > 0;
        let message = if given { "an [[input]] needs `topic`" } else { "`run` needs an [[input]]" };
        let suggestion = "such as topic = \"card.transactions\"";
        reader.fault_with(place, message, suggestion);
    }
    input
}

fn time(root: Section<'_>) -> Time {
    let section = root.section("time", "time");
    let horizon = ", the horizon";
    let no = Duration::ZERO;
    let given = section.place("max_future").is_some_and(|at| at.source > 0);
    Time {
        windows: windows(section),
        allowed_lateness: section
            .duration_within("allowed_lateness", (no, HORIZON), horizon)
            .unwrap_or_default(),
        settle: section.duration_within("settle", (no, HORIZON), horizon).unwrap_or_default(),
        idle_after: section
            .duration_within("idle_after", (SECOND, HORIZON), "")
            .unwrap_or_default(),
        max_future: section.duration_within("max_future", (no, HORIZON), "").unwrap_or_default(),
        max_future_given: given,
    }
}

fn windows(section: Section<'_>) -> Vec<u16> {
    let Some(list) = section.list("windows") else { return Vec::new() };
    let mut windows = Vec::new();
    for text in &list.value {
        let length = humantime::parse_duration(&text.value).ok();
        let days = length
            .filter(|length| length.as_secs() % DAY.as_secs() == 0 && length.subsec_nanos() == 0)
            .and_then(|length| u16::try_from(length.as_secs() / DAY.as_secs()).ok())
            .filter(|days| (1..=HORIZON_DAYS).contains(days));
        match days {
            Some(days) if windows.contains(&days) => {
                let message = format!("`time.windows` has {days}d twice");
                section.reader.fault(text.at, message);
            }
            Some(days) => windows.push(days),
            None => {
                let message = format!("`time.windows` has `{}`", text.value);
                let suggestion = format!("whole days from \"1d\" to \"{HORIZON_DAYS}d\"");
                section.reader.fault_with(text.at, message, suggestion);
            }
        }
    }
    if list.value.is_empty() {
        section.reader.fault(list.at, "`time.windows` is empty");
    }
    windows.sort_unstable();
    windows
}

/// Fewest whole snapshots of a partition: the store keeps no fewer.
const GENERATIONS_MIN: u32 = 3;

fn state(root: Section<'_>) -> State {
    let section = root.section("state", "state");
    let interval = (SECOND, DAY);
    let generations = section.count("snapshot_generations", 1, 100);
    if let (Some(0..GENERATIONS_MIN), Some(at)) =
        (generations, section.place("snapshot_generations"))
    {
        let message = "`state.snapshot_generations` is too few: a damaged one would lose the state";
        section.reader.fault_with(at, message, format!("at least {GENERATIONS_MIN}"));
    }
    let memory_limit = section.size("memory_limit");
    if let Some(limit) = memory_limit.as_ref().filter(|limit| limit.value < 1 << 24) {
        let message = "`state.memory_limit` is too little to hold anything";
        section.reader.fault_with(limit.at, message, "at least 16MiB");
    }
    State {
        store: store(section).unwrap_or_else(|| Store::Folder(PathBuf::new())),
        snapshot_interval: section
            .duration_within("snapshot_interval", interval, "")
            .unwrap_or_default(),
        snapshot_generations: generations.unwrap_or_default(),
        memory_limit: memory_limit.map(|limit| limit.value),
    }
}

fn store(section: Section<'_>) -> Option<Store> {
    let options = section.pairs("options", "state.options");
    let text = section.filled("store")?;
    let reader = section.reader;
    let scheme = text.value.split_once("://");
    let Some((scheme, rest)) = scheme.filter(|(scheme, _)| *scheme != "file") else {
        if let Some((key, _)) = options.first() {
            reader.fault(key.at, "`state.options` are of a store at a URL, not of a folder");
        }
        return folder(section, &text).map(Store::Folder);
    };
    let mut remote = match Remote::parse(&text.value) {
        Ok(remote) => remote,
        Err(why) => {
            // A password may stand before the last of these.
            let shown = rest.rsplit('@').next().unwrap_or_default();
            let message = format!("`state.store` is `{scheme}://{shown}`: {why}");
            reader.fault_with(text.at, message, "a path, a file:// URL, or s3://bucket/prefix");
            return None;
        }
    };
    for (key, value) in options {
        if let Err(why) = remote.set(&key.value, &value.value) {
            reader.fault(key.at, format!("`state.options`: {why}"));
        }
    }
    Some(Store::Remote(remote))
}

fn folder(section: Section<'_>, text: &Found<String>) -> Option<PathBuf> {
    let Some(rest) = text.value.strip_prefix("file://") else {
        return section.path("store").map(|path| path.value);
    };
    if !rest.starts_with('/') {
        let message = format!("`state.store` is `{}`, which names a host", text.value);
        section.reader.fault_with(text.at, message, format!("write file:///{rest}"));
        return None;
    }
    Some(Path::new(rest).to_path_buf())
}

fn output(root: Section<'_>, input_topic: Option<Found<String>>) -> Output {
    let section = root.section("output", "output");
    let mut taken: Vec<String> = Vec::new();
    let mut topic = |key: &'static str| {
        let Some(found) = section.filled(key) else { return String::new() };
        topic_name(section, &found);
        let apart = "each has a topic of its own";
        if taken.contains(&found.value) {
            let message = format!("`output.{key}` is `{}`, as another topic is", found.value);
            section.reader.fault_with(found.at, message, apart);
        }
        if let Some(input) = input_topic.as_ref().filter(|input| input.value == found.value) {
            let message = format!("`{}` is also `output.{key}`", found.value);
            section.reader.fault_with(input.at.max(found.at), message, apart);
        }
        taken.push(found.value.clone());
        found.value
    };
    Output {
        changes: topic("changes"),
        current: topic("current"),
        dead_letters: topic("dead_letters"),
        decisions: topic("decisions"),
        create_topics: section.flag("create_topics").unwrap_or_default(),
    }
}

fn privacy(root: Section<'_>) -> Privacy {
    let section = root.section("privacy", "privacy");
    let reader = section.reader;
    let legal_basis = section.filled("legal_basis");
    let approved_by = section.filled("approved_by");
    let withhold = withhold(section, legal_basis.is_some() && approved_by.is_some());
    let refuse_card_numbers = section.flag("refuse_card_numbers").unwrap_or(true);
    let (mut check_id, mut check_merchant) = (false, false);
    for field in section.list("check_also").map(|list| list.value).unwrap_or_default() {
        match field.value.as_str() {
            "id" => check_id = true,
            "merchant" => check_merchant = true,
            other => {
                let message = format!("`privacy.check_also` has `{other}`");
                reader.fault_with(field.at, message, one_of(&["id", "merchant"]));
            }
        }
    }
    if !refuse_card_numbers && (check_id || check_merchant) {
        let at = missing_at(reader, section.place("check_also"));
        let message = "`privacy.check_also` says where to look, and `refuse_card_numbers` not to";
        reader.fault(at, message);
    }
    Privacy {
        withhold,
        legal_basis: legal_basis.map(|found| found.value),
        approved_by: approved_by.map(|found| found.value),
        refuse_card_numbers,
        check_id,
        check_merchant,
    }
}

/// The codes to withhold. One that is left out of the known list has to be answered for.
fn withhold(section: Section<'_>, answered_for: bool) -> Vec<u16> {
    let Some(list) = section.list("withhold") else { return WITHHELD_DEFAULT.to_vec() };
    let mut codes = Vec::new();
    for text in &list.value {
        let digits = text.value.len() == 4 && text.value.bytes().all(|byte| byte.is_ascii_digit());
        match text.value.parse::<u16>().ok().filter(|_| digits) {
            Some(code) => codes.push(code),
            None => {
                let message = format!("`privacy.withhold` has `{}`", text.value);
                let suggestion = "merchant category codes of four digits, such as \"8661\"";
                section.reader.fault_with(text.at, message, suggestion);
            }
        }
    }
    codes.sort_unstable();
    codes.dedup();
    let left_out: Vec<String> = WITHHELD_DEFAULT
        .iter()
        .filter(|code| !codes.contains(code))
        .map(|code| format!("{code:04}"))
        .collect();
    if !left_out.is_empty() && !answered_for {
        let shown = left_out.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if left_out.len() > 5 { ", …" } else { "" };
        let message = format!(
            "`privacy.withhold` leaves out {} sensitive codes: {shown}{more}",
            left_out.len()
        );
        let suggestion = "add them, or say `legal_basis` and `approved_by`";
        section.reader.fault_with(list.at, message, suggestion);
    }
    codes
}

fn scan(root: Section<'_>) -> Scan {
    let listen = listen(root, "scan", "listen", "127.0.0.1:32011");
    let section = root.section("scan", "scan");
    let recent_changes = section.count("recent_changes", 0, 10_000_000).unwrap_or_default();
    Scan { listen, recent_changes }
}

/// Where to listen; nowhere when empty.
fn listen(
    root: Section<'_>,
    table: &'static str,
    key: &'static str,
    example: &str,
) -> Option<String> {
    let section = root.section(table, table);
    let text = section.text(key).filter(|text| !text.value.is_empty())?;
    if !host_and_port(&text.value) {
        let message = format!("`{table}.{key}` is `{}`", text.value);
        let suggestion = format!("host:port, such as \"{example}\"");
        section.reader.fault_with(text.at, message, suggestion);
    }
    Some(text.value)
}

/// Checks the name of a topic as brokers do.
pub(super) fn topic_name(section: Section<'_>, topic: &Found<String>) {
    if !plain_name(&topic.value, 249) || [".", ".."].contains(&topic.value.as_str()) {
        let message = format!("`{}` is no name of a topic", topic.value);
        let suggestion = "at most 249 letters, digits, `.`, `_` and `-`";
        section.reader.fault_with(topic.at, message, suggestion);
    }
}

pub(super) fn plain_name(name: &str, bytes_max: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= bytes_max && name.bytes().all(plain)
}

/// Whether a text has the form of an ISO 3166 code. Whether there is such a country, the decoder
/// knows.
pub(super) fn country_like(code: &str) -> bool {
    matches!(code.len(), 2 | 3) && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Whether a text is `host:port`, with an IPv6 address in brackets.
pub(super) fn host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => plain_name(host, 253),
    };
    host_fits && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}
