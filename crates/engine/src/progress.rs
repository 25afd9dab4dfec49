//! What a partition writes beside its committed position, so that recovery knows where the day
//! stood: `1;origin=0;day=20089;swept=4096;rules=…`.
//!
//! A text of `key=value` pairs behind a version; unknown keys are skipped, so that a newer build
//! may add some and an older one still reads it.

use cardlens_model::{Day, Position};

/// The figures beside a committed position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Where the very first start of this deployment began: state is complete from here.
    pub origin: Position,
    /// The open day, once there is one.
    pub open_day: Option<Day>,
    /// Customers already brought to the last closed day, in slot order.
    pub swept: u32,
    /// Digest of the rule set in force.
    pub rules: String,
    /// Digest of what makes state comparable: zone, categories, lateness and the like.
    pub state: String,
}

const VERSION: &str = "1";

impl Mark {
    /// The text to commit.
    #[must_use]
    pub fn to_text(&self) -> String {
        let day = self.open_day.map_or_else(|| "-".to_owned(), |day| day.0.to_string());
        format!(
            "{VERSION};origin={};day={day};swept={};rules={};state={}",
            self.origin.0, self.swept, self.rules, self.state
        )
    }

    /// Reads what [`Mark::to_text`] wrote; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        if parts.next()? != VERSION {
            return None;
        }
        let mut mark = Self {
            origin: Position(0),
            open_day: None,
            swept: 0,
            rules: String::new(),
            state: String::new(),
        };
        for part in parts {
            let (key, value) = part.split_once('=')?;
            match key {
                "origin" => mark.origin = Position(value.parse().ok()?),
                "day" if value == "-" => mark.open_day = None,
                "day" => mark.open_day = Some(Day(value.parse().ok()?)),
                "swept" => mark.swept = value.parse().ok()?,
                "rules" => value.clone_into(&mut mark.rules),
                "state" => value.clone_into(&mut mark.state),
                _ => {}
            }
        }
        Some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for open_day in [None, Some(Day(20_089))] {
            let mark = Mark {
                origin: Position(7),
                open_day,
                swept: 4_096,
                rules: "ab".into(),
                state: "cd".into(),
            };
            assert_eq!(Mark::parse(&mark.to_text()), Some(mark));
        }
        assert_eq!(Mark::parse(""), None);
        assert_eq!(Mark::parse("2;day=1"), None);
        assert!(Mark::parse("1;origin=0;later=x").is_some());
    }
}
