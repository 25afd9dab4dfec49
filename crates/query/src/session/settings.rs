//! SET and SHOW: what clients of PostgreSQL set, and what of it means something here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::front::{Fault, State};

/// Names that may be set, and their defaults. Most are only remembered.
const KNOWN: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("cardlens.partial", "off"),
    ("check_function_bodies", "on"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("enable_seqscan", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("intervalstyle", "postgres"),
    ("jit", "off"),
    ("lock_timeout", "0"),
    ("max_parallel_workers_per_gather", "0"),
    ("role", "none"),
    ("row_security", "on"),
    ("search_path", "public"),
    ("session_replication_role", "origin"),
    ("ssl_renegotiation_limit", "0"),
    ("statement_timeout", "0"),
    ("synchronize_seqscans", "on"),
    ("timezone", "UTC"),
    ("work_mem", "4MB"),
    ("xmloption", "content"),
];

/// Names that may only be shown.
const FIXED: &[(&str, &str)] = &[
    ("default_table_access_method", "heap"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("is_superuser", "off"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("server_encoding", "UTF8"),
    ("server_version", crate::front::SERVER_VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
];

/// Longest value of a setting.
const VALUE_BYTES: usize = 1_024;

/// Values of one session.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    set: BTreeMap<&'static str, String>,
    /// What SET LOCAL covers until the transaction ends.
    before: BTreeMap<&'static str, Option<String>>,
}

impl Settings {
    /// Sets a value, or takes it back with `None`. Returns the name as it is told to clients that
    /// want to hear of it.
    ///
    /// # Errors
    /// An unknown name, or a value it cannot have.
    pub fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        local: bool,
    ) -> Result<Option<(&'static str, String)>, Fault> {
        let name = name.to_ascii_lowercase();
        if let Some((name, fixed)) = FIXED.iter().find(|(known, _)| *known == name) {
            // Setting it to what it is anyway is what drivers do.
            if value.is_none_or(|value| value.eq_ignore_ascii_case(fixed)) {
                return Ok(None);
            }
            let message = format!("parameter \"{name}\" cannot be changed");
            return Err(Fault::new(State::InvalidParameter, message));
        }
        let Some((name, default)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(&name));
        };
        if let Some(value) = value {
            check(name, value)?;
        }
        let old = match value {
            Some(value) => self.set.insert(name, value.to_owned()),
            None => self.set.remove(name),
        };
        if local {
            self.before.entry(name).or_insert(old);
        } else {
            self.before.remove(name);
        }
        let told = match *name {
            "application_name" => "application_name",
            "client_encoding" => "client_encoding",
            "datestyle" => "DateStyle",
            "intervalstyle" => "IntervalStyle",
            "timezone" => "TimeZone",
            "search_path" => "search_path",
            _ => return Ok(None),
        };
        Ok(Some((told, value.unwrap_or(default).to_owned())))
    }

    /// The value of a name.
    ///
    /// # Errors
    /// An unknown name.
    pub fn get(&self, name: &str) -> Result<String, Fault> {
        let name = name.to_ascii_lowercase();
        let known = KNOWN.iter().chain(FIXED).find(|(known, _)| *known == name);
        let (name, default) = known.ok_or_else(|| unknown(&name))?;
        Ok(self.set.get(name).cloned().unwrap_or_else(|| (*default).to_owned()))
    }

    /// Every name with its value.
    #[must_use]
    pub fn all(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = KNOWN
            .iter()
            .chain(FIXED)
            .map(|(name, default)| {
                let value = self.set.get(name).cloned();
                ((*name).to_owned(), value.unwrap_or_else(|| (*default).to_owned()))
            })
            .collect();
        all.sort();
        all
    }

    /// Back to the defaults.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Ends what SET LOCAL set.
    pub fn end_transaction(&mut self) {
        for (name, value) in std::mem::take(&mut self.before) {
            match value {
                Some(value) => drop(self.set.insert(name, value)),
                None => drop(self.set.remove(name)),
            }
        }
    }

    /// How long a statement may run: what was set, and never more than the limit.
    #[must_use]
    pub fn statement_timeout(&self, most: Duration) -> Duration {
        let set = self.set.get("statement_timeout").and_then(|text| milliseconds(text));
        set.filter(|time| !time.is_zero()).map_or(most, |time| time.min(most))
    }

    /// Whether a statement may answer without partitions that cannot be read.
    #[must_use]
    pub fn partial(&self) -> bool {
        self.set.get("cardlens.partial").is_some_and(|value| on(value) == Some(true))
    }
}

fn unknown(name: &str) -> Fault {
    Fault::new(State::NoObject, format!("unrecognized configuration parameter \"{name}\""))
}

fn on(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn check(name: &str, value: &str) -> Result<(), Fault> {
    let invalid = || {
        let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
        Fault::new(State::InvalidParameter, message)
    };
    if value.len() > VALUE_BYTES || value.contains('\0') {
        return Err(Fault::new(
            State::InvalidParameter,
            format!("value of \"{name}\" is too long"),
        ));
    }
    match name {
        "statement_timeout" => milliseconds(value).map(|_| ()).ok_or_else(invalid),
        "client_encoding" => {
            // Only letters and digits count in the name of an encoding: asyncpg writes `'utf-8'`.
            let plain = value.to_ascii_lowercase().replace(|c: char| !c.is_alphanumeric(), "");
            if plain == "utf8" || plain == "unicode" { Ok(()) } else { Err(invalid()) }
        }
        "cardlens.partial" => on(value).map(|_| ()).ok_or_else(invalid),
        "datestyle" if !value.to_ascii_lowercase().contains("iso") => {
            Err(invalid().hint("dates are written in the ISO style only"))
        }
        "intervalstyle" if !value.eq_ignore_ascii_case("postgres") => Err(invalid()),
        "default_transaction_read_only" if on(value) != Some(true) => Err(Fault::new(
            State::ReadOnly,
            "cannot set transaction read-write mode: this server only answers queries",
        )),
        _ => Ok(()),
    }
}

/// A time as PostgreSQL writes it: a number of milliseconds, or one with its unit.
fn milliseconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let mut settings = Settings::default();
        settings.set("statement_timeout", Some("2s"), false).unwrap();
        assert_eq!(settings.statement_timeout(Duration::from_secs(30)), Duration::from_secs(2));
        settings.set("STATEMENT_TIMEOUT", Some("0"), true).unwrap();
        assert_eq!(settings.statement_timeout(Duration::from_secs(30)), Duration::from_secs(30));
        settings.end_transaction();
        assert_eq!(settings.get("statement_timeout").unwrap(), "2s");
        assert_eq!(settings.set("no_such", Some("1"), false).unwrap_err().state, State::NoObject);
        let latin = settings.set("client_encoding", Some("LATIN1"), false);
        assert_eq!(latin.unwrap_err().state, State::InvalidParameter);
        settings.reset();
        assert_eq!(settings.get("TimeZone").unwrap(), "UTC");
    }
}
