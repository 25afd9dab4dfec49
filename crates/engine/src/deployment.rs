//! A deployment: rules and settings put together into what workers need.

use std::fmt::Write as _;
use std::sync::Arc;

use cardlens_features::{Plan, TableConfig};
use cardlens_lens::{Lens, RuleSet};
use cardlens_model::{Calendar, CategoryTable, Day, Kind, Problem};
use cardlens_wire::{Decoder, DecoderConfig, Mapping};

use crate::Error;
use crate::decode::{Decoding, Format};
use crate::partition::Shared;

/// The rules of a deployment and all settings that results depend on.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The rule set.
    pub rules: RuleSet,
    /// Merchant category codes that are withheld.
    pub withheld: Vec<u16>,
    /// The zone's name, and where its days begin.
    pub zone: (String, Calendar),
    /// The reporting currency.
    pub currency: String,
    /// Any other known country is abroad.
    pub home_country: String,
    /// Which of purchase and authorization moves windows.
    pub moves_windows: Kind,
    /// A day closes when the greatest event time seen, less this, passes its end; ms.
    pub settle_ms: i64,
    /// Late records, memory of ids, memory for reversals; ms.
    pub allowed_lateness_ms: i64,
    /// How far event time may lie beyond the log's; ms; no bound when absent.
    pub max_future_ms: Option<i64>,
    /// Names and values of the feed.
    pub mapping: Mapping,
    /// Refuse card numbers; also in ids and in merchants.
    pub card_numbers: (bool, bool, bool),
    /// The record key must be the customer id.
    pub key_is_customer: bool,
    /// A time without offset is UTC.
    pub naive_time_is_utc: bool,
    /// Most rejected records of the last 10,000; no limit when absent.
    pub rejected_max: Option<u32>,
    /// Stop at the first rejected record.
    pub stop_on_reject: bool,
    /// Records of later days are left out.
    pub until: Option<Day>,
    /// The input topic.
    pub topic: String,
}

impl Deployment {
    /// A rule set with the settings of `deploy/default.toml`: days of UTC, US dollars, purchases
    /// move windows, two hours to settle, 70 days of lateness.
    #[must_use]
    pub fn new(rules: RuleSet) -> Self {
        const HOUR_MS: i64 = 3_600_000;
        Self {
            rules,
            withheld: cardlens_lens::WITHHELD_DEFAULT.to_vec(),
            zone: ("UTC".into(), Calendar::utc()),
            currency: "USD".into(),
            home_country: "US".into(),
            moves_windows: Kind::Purchase,
            settle_ms: 2 * HOUR_MS,
            allowed_lateness_ms: 70 * 24 * HOUR_MS,
            max_future_ms: None,
            mapping: Mapping::default(),
            card_numbers: (true, false, false),
            key_is_customer: false,
            naive_time_is_utc: false,
            rejected_max: None,
            stop_on_reject: false,
            until: None,
            topic: "card.transactions".into(),
        }
    }

    /// Compiles the rules and puts together what partitions share.
    ///
    /// # Errors
    /// Every rule that names a feature that does not exist or cannot be compiled.
    pub fn shared(&self) -> Result<Arc<Shared>, Vec<Problem>> {
        let categories = Arc::new(self.rules.category_table(&self.withheld));
        let plan = Plan::new(&self.rules.feature_names(), &categories).map_err(|unknown| {
            let problems = unknown.iter().map(|feature| {
                self.rules.unknown_feature(&feature.name, feature.nearest.as_deref())
            });
            problems.flatten().collect::<Vec<_>>()
        })?;
        let lens = Lens::compile(self.rules.clone(), &plan.schema())?;
        let table = TableConfig {
            columns: plan,
            categories: Arc::clone(&categories),
            value: self.rules.value.clone(),
            calendar: self.zone.1.clone(),
            settle_ms: self.settle_ms,
            allowed_lateness_ms: self.allowed_lateness_ms,
            moves_windows: self.moves_windows,
        };
        Ok(Arc::new(Shared {
            lens: Arc::new(lens),
            table,
            calendar: self.zone.1.clone(),
            rejected_max: self.rejected_max,
            stop_on_reject: self.stop_on_reject,
            until: self.until,
            state_digest: self.state_digest(&categories),
            topic: self.topic.clone(),
        }))
    }

    /// A decoder of this deployment's feed.
    ///
    /// # Errors
    /// Every fault of the mapping.
    pub fn decoding(&self, shared: &Shared, format: Format) -> Result<Decoding, Error> {
        let (card_numbers, check_id, check_merchant) = self.card_numbers;
        let decoder = Decoder::new(DecoderConfig {
            currency: self.currency.clone(),
            home_country: self.home_country.clone(),
            calendar: self.zone.1.clone(),
            categories: Arc::clone(&shared.table.categories),
            max_future_ms: self.max_future_ms,
            card_numbers,
            check_id,
            check_merchant,
            key_is_customer: self.key_is_customer,
            naive_time_is_utc: self.naive_time_is_utc,
            map: self.mapping.clone(),
        });
        let decoder = decoder.map_err(|problems| Error::Setup(problems.join("; ")))?;
        Ok(Decoding::new(decoder, format))
    }

    /// What makes the states of two runs comparable: all that a ledger depends on beside the
    /// input. A snapshot of another digest is not used.
    fn state_digest(&self, categories: &CategoryTable) -> String {
        let mut text = format!(
            "{} {} {} {:?} {} {}",
            self.zone.0,
            self.currency,
            self.home_country,
            self.moves_windows,
            self.settle_ms,
            self.allowed_lateness_ms
        );
        for mcc in 0..10_000 {
            let _infallible = write!(text, " {}", categories.of(mcc).0);
        }
        for name in categories.names() {
            let _infallible = write!(text, " {name}");
        }
        format!("{:016x}", twox_hash::XxHash3_64::oneshot(text.as_bytes()))
    }
}
