//! Any bytes through the decoder: it never panics, and its three readers agree.
//!
//! An input is messages of one producer with a zero byte between them, so that templates learned
//! from one are tried on the next. Each is decoded twice, because the first time may only teach a
//! template, and compared with the general reader, which is serde_json.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cardlens_model::{Batch, CategoryTable, NoHeaders, Position, Reason, Record, Transaction};
use cardlens_wire::{Decoder, DecoderConfig, holds_card_number, parse_current, parse_decision};
use libfuzzer_sys::fuzz_target;

/// Messages of an input beyond these are not looked at.
const MESSAGES_MAX: usize = 16;

/// Canonical names; and a mapping that uses paths, values and checks of all kinds.
static CONFIGS: LazyLock<[DecoderConfig; 2]> = LazyLock::new(|| {
    let ranges = [(5_411, 5_411, "grocery"), (5_800, 5_899, "dining")];
    let categories = Arc::new(CategoryTable::new(&ranges, &[8_661]).expect("ranges are in order"));
    let plain = DecoderConfig::canonical("USD", "US", categories);
    let mut mapped = plain.clone();
    mapped.max_future_ms = Some(600_000);
    mapped.naive_time_is_utc = true;
    mapped.check_id = true;
    mapped.check_merchant = true;
    mapped.map.fields = map(&[
        ("customer", "who.customer"),
        ("merchant", "shop.merchant"),
        ("country", "shop.at.country"),
        ("entry", "mode"),
    ]);
    mapped.map.kinds = map(&[("AUTH", "authorization"), ("1", "purchase"), ("fee", "interest")]);
    mapped.map.channels = map(&[("81", "ecom"), ("R", "recurring"), ("pos", "atm")]);
    mapped.map.entries = map(&[("07", "contactless")]);
    mapped.map.countries = map(&[("Allemagne", "DE"), ("US", "CA")]);
    [DecoderConfig { key_is_customer: false, ..plain }, mapped]
});

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned())).collect()
}

/// A transaction with the texts that its spans mean, or why there is none.
type Outcome = Result<(Transaction, Vec<u8>, Vec<u8>), Reason>;

fn outcome(decode: impl FnOnce(&mut Batch) -> Result<(), Reason>) -> Outcome {
    let mut batch = Batch::default();
    let done = decode(&mut batch);
    assert_eq!(batch.transactions.len(), usize::from(done.is_ok()));
    assert_eq!(batch.text.is_empty(), done.is_err(), "a rejected record leaves no text");
    done.map(|()| {
        let it = batch.transactions[0];
        (it, batch.text(it.customer).to_vec(), batch.text(it.id).to_vec())
    })
}

fuzz_target!(|input: &[u8]| {
    for config in &*CONFIGS {
        let decoder = || Decoder::new(config.clone()).expect("the configuration is valid");
        let (mut decoder, mut reference) = (decoder(), decoder());
        for value in input.split(|byte| *byte == 0).take(MESSAGES_MAX) {
            let record = Record {
                position: Position(0),
                appended_at: Some(1_780_000_000_000),
                key: Some(b"C00042"),
                value,
                headers: &NoHeaders,
            };
            let expected = outcome(|batch| reference.decode_general(&record, 0, batch));
            for _ in 0..2 {
                let got = outcome(|batch| decoder.decode(&record, 0, batch));
                assert_eq!(got, expected, "{}", String::from_utf8_lossy(value));
            }
            if let Ok((_, customer, id)) = &expected {
                assert!(!holds_card_number(customer));
                assert!(std::str::from_utf8(id).is_ok());
            }
        }
    }
    let _total = (parse_current(input).is_ok(), parse_decision(input).is_ok());
});
