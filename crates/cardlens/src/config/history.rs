//! `[history]`.

use std::time::Duration;

use cardlens_engine::history::Profiles;

use super::History;
use super::reader::Section;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads it; nothing is kept unless it says so.
pub(super) fn history(root: Section<'_>) -> Option<History> {
    let section = root.section("history", "history");
    let words =
        [("off", None), ("daily", Some(Profiles::Daily)), ("weekly", Some(Profiles::Weekly))];
    let bounds = (DAY, DAY * u32::from(u16::MAX));
    let enabled = section.flag("enabled").unwrap_or_default();
    let profiles = section.choice("profiles", &words).flatten();
    let retention = section.duration_within("retention", bounds, "");
    let days = retention.and_then(|it| u16::try_from(it.as_secs() / DAY.as_secs()).ok());
    enabled.then_some(History { profiles, retention_days: days })
}
