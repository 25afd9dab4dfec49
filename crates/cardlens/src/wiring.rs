//! From a configuration to a deployment of the engine.

use std::path::{Path, PathBuf};

use cardlens_engine::Deployment;
use cardlens_lens::RuleSet;
use cardlens_model::Problem;
use cardlens_wire::{Field, Mapping};

use crate::config::{Config, OnError};

/// Reads a rule set from a folder; the built-in one without a folder.
///
/// # Errors
/// The folder cannot be read, or every fault of its files.
pub fn rule_set(folder: Option<&Path>) -> Result<RuleSet, Vec<Problem>> {
    let Some(folder) = folder else { return RuleSet::parse(&RuleSet::default_files()) };
    let fault = |message: String| {
        let file = folder.display().to_string();
        vec![Problem { file, line: 0, column: 0, message, suggestion: None }]
    };
    let entries = std::fs::read_dir(folder).map_err(|e| fault(format!("read the rules: {e}")))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    if paths.is_empty() {
        return Err(fault("there is no rule file (*.toml) in the folder".to_owned()));
    }
    let mut files = Vec::new();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let text = std::fs::read_to_string(&path)
            .map_err(|e| fault(format!("read `{}`: {e}", path.display())))?;
        // The digest is that of the files, wherever their folder lies.
        files.push((name.unwrap_or_default(), text));
    }
    RuleSet::parse(&files)
}

/// What the engine is told of a configuration.
#[must_use]
pub fn deployment(config: &Config, rules: RuleSet) -> Deployment {
    let ms =
        |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let input = &config.input;
    let privacy = &config.privacy;
    Deployment {
        withheld: privacy.withhold.clone(),
        zone: (config.service.timezone.clone(), config.service.calendar.clone()),
        currency: config.service.currency.clone(),
        home_country: config.service.home_country.clone(),
        moves_windows: input.moves_windows,
        settle_ms: ms(config.time.settle),
        allowed_lateness_ms: ms(config.time.allowed_lateness),
        max_future_ms: Some(ms(config.time.max_future)),
        mapping: Mapping {
            fields: input.map.clone(),
            kinds: input.kinds.clone(),
            channels: input.channels.clone(),
            entries: input.entries.clone(),
            countries: input.countries.clone(),
        },
        card_numbers: (privacy.refuse_card_numbers, privacy.check_id, privacy.check_merchant),
        key_is_customer: true,
        naive_time_is_utc: false,
        rejected_max: Some(input.rejected_max),
        stop_on_reject: input.on_error == OnError::Stop,
        until: None,
        topic: input.topic.clone().unwrap_or_else(|| "card.transactions".to_owned()),
        rules,
    }
}

/// The mapping of fields, for readers of files.
#[must_use]
pub fn mapped_fields(config: &Config) -> Vec<(Field, String)> {
    let field = |(ours, theirs): (&String, &String)| Some((Field::find(ours)?, theirs.clone()));
    config.input.map.iter().filter_map(field).collect()
}
