//! `[gateway]`, `[sql]`, `[[sql.role]]` and `[tls]`.

use std::time::Duration;

use super::reader::{Found, Section};
use super::sections::{host_and_port, missing_at, plain_name};
use super::tree::Place;
use super::{Purpose, Sql, SqlRole};

/// Groups that may be shown of people are at least this large: cells of 1 to 10 are barred by the
/// cell size policy of the Centers for Medicare & Medicaid Services.
const LEAST_GROUP: u32 = 11;

/// Reads them.
pub(super) fn sql(root: Section<'_>, purpose: Purpose) -> Sql {
    let reader = root.reader;
    let engines = engines(root, purpose);
    let section = root.section("sql", "sql");
    let timeout = (Duration::from_millis(1), Duration::from_secs(86_400));
    let memory = section.size("memory_limit");
    if let Some(limit) = memory.as_ref().filter(|limit| limit.value < 1 << 24) {
        let message = "`sql.memory_limit` is too little to answer anything";
        reader.fault_with(limit.at, message, "at least 16MiB");
    }
    let pgwire = listen(section, "pgwire");
    let flight = listen(section, "flight");
    let insecure = section.flag("insecure").unwrap_or_default();
    let roles = roles(section);
    let tls = tls(root);
    let outside = [&pgwire, &flight].into_iter().flatten().any(|address| !loopback(address));
    let at = missing_at(reader, root.place("sql"));
    if purpose == Purpose::Gateway && outside && tls.is_none() && !insecure {
        let message = "the gateway listens for other machines without encryption";
        reader.fault_with(at, message, "give [tls] a cert and a key, or say insecure = true");
    }
    if purpose == Purpose::Gateway && outside && roles.is_empty() {
        let message = "the gateway listens for other machines, and nobody could log in";
        reader.fault_with(at, message, "add a [[sql.role]]");
    }
    // Roles would be worth nothing beside a way in that asks for none.
    let loopback_without_password =
        section.flag("loopback_without_password").unwrap_or(roles.is_empty());
    Sql {
        engines,
        pgwire,
        flight,
        statement_timeout: section
            .duration_within("statement_timeout", timeout, "")
            .unwrap_or_default(),
        idle_timeout: section.duration_within("idle_timeout", timeout, "").unwrap_or_default(),
        memory_limit: memory.map(|limit| limit.value).unwrap_or_default(),
        max_connections: section.count("max_connections", 1, 10_000).unwrap_or_default(),
        running: section.count("running", 1, 1_000).unwrap_or_default(),
        waiting: section.count("waiting", 0, 10_000).unwrap_or_default(),
        result_rows: section.count("result_rows", 1, u32::MAX).unwrap_or_default(),
        result_bytes: section.size("result_bytes").map(|size| size.value).unwrap_or_default(),
        loopback_without_password,
        insecure,
        roles,
        tls,
    }
}

fn engines(root: Section<'_>, purpose: Purpose) -> Vec<String> {
    let section = root.section("gateway", "gateway");
    let list = section.list("engines").map(|list| list.value).unwrap_or_default();
    for engine in &list {
        if !host_and_port(&engine.value) {
            let message = format!("`gateway.engines` has `{}`", engine.value);
            section.reader.fault_with(engine.at, message, "host:port of a scan endpoint");
        }
    }
    if list.is_empty() && purpose == Purpose::Gateway {
        let at = missing_at(section.reader, root.place("gateway"));
        let message = "`gateway` needs `gateway.engines`";
        section.reader.fault_with(at, message, "such as engines = [\"127.0.0.1:32011\"]");
    }
    list.into_iter().map(|engine| engine.value).collect()
}

fn listen(section: Section<'_>, key: &'static str) -> Option<String> {
    let text = section.text(key).filter(|text| !text.value.is_empty())?;
    if !host_and_port(&text.value) {
        let message = format!("`sql.{key}` is `{}`", text.value);
        section.reader.fault_with(text.at, message, "host:port, such as \"127.0.0.1:5432\"");
    }
    Some(text.value)
}

/// Whether a `host:port` is of this machine.
pub(crate) fn loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn roles(section: Section<'_>) -> Vec<SqlRole> {
    let sections = section.sections("role", "sql.role");
    if sections.is_empty() {
        // Read all the same, for the names of its keys.
        drop(role(section.without_keys("sql.role")));
    }
    let mut roles: Vec<SqlRole> = Vec::new();
    for (section, at) in sections {
        let Some((named_at, role)) = role(section) else {
            if section.place("name").is_none() || section.place("secret_file").is_none() {
                section.reader.fault(at, "a [[sql.role]] needs `name` and `secret_file`");
            }
            continue;
        };
        if !plain_name(&role.name, 63) || roles.iter().any(|known| known.name == role.name) {
            let message = format!("`{}` is no name for another role", role.name);
            let suggestion = "at most 63 letters, digits, `.`, `_` and `-`, each once";
            section.reader.fault_with(named_at, message, suggestion);
        }
        roles.push(role);
    }
    roles
}

/// A role, and where its name stands.
fn role(section: Section<'_>) -> Option<(Place, SqlRole)> {
    let name = section.filled("name");
    let secret_file = section.path("secret_file");
    let named = |list: Found<Vec<Found<String>>>| {
        list.value.into_iter().map(|found| found.value).collect::<Vec<_>>()
    };
    let mask = section.list("mask").map(named).unwrap_or_default();
    let relations = section.list("relations").map(named);
    let min_group = section.count("min_group", LEAST_GROUP, 1_000_000);
    let operator = section.flag("operator").unwrap_or_default();
    let (name, secret_file) = (name?, secret_file?.value);
    let role = SqlRole { name: name.value, secret_file, mask, relations, min_group, operator };
    Some((name.at, role))
}

fn tls(root: Section<'_>) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let section = root.section("tls", "tls");
    match (section.path("cert"), section.path("key")) {
        (Some(cert), Some(key)) => Some((cert.value, key.value)),
        (None, None) => None,
        (Some(found), None) | (None, Some(found)) => {
            section.reader.fault(found.at, "[tls] needs both `cert` and `key`");
            None
        }
    }
}
