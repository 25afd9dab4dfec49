//! Tables of what the decoder makes of one field or the other.

use cardlens_model::{
    AMOUNT_MAX, Batch, Category, Channel, Country, Kind, Reason, Record, Transaction,
};
use cardlens_wire::{Decoder, DecoderConfig, Field, Fields, country, customer_hash, id_hash};

use crate::support::{categories, config, outcome};

const MESSAGE: &str = r#"{"id":"t1","customer":"C1","time":"2026-06-30T14:05:11Z","kind":"purchase","amount_minor":1250,"currency":"USD"}"#;

fn record(value: &str) -> Record<'_> {
    crate::support::record(value.as_bytes())
}

/// The message with a field replaced, added (when it is not there) or removed (when `json` is
/// empty).
fn with(field: &str, json: &str) -> String {
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(MESSAGE).unwrap();
    fields.remove(field);
    let mut parts: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    if !json.is_empty() {
        parts.push(format!("{field:?}:{json}"));
    }
    format!("{{{}}}", parts.join(","))
}

/// Decodes a message three times: unlearned, learned, and by the general reader alone.
#[track_caller]
fn decode_with(config: DecoderConfig, record: &Record<'_>) -> Result<Transaction, Reason> {
    let mut decoder = Decoder::new(config).unwrap();
    let first = outcome(&mut decoder, record, false);
    assert_eq!(outcome(&mut decoder, record, false), first, "the second time");
    assert_eq!(outcome(&mut decoder, record, true), first, "the general reader");
    first.map(|outcome| outcome.transaction)
}

#[track_caller]
fn decode(value: &str) -> Result<Transaction, Reason> {
    decode_with(config(), &record(value))
}

#[track_caller]
fn reject(field: &str, json: &str, reason: Reason) {
    let message = with(field, json);
    assert_eq!(decode(&message).err(), Some(reason), "{message}");
}

#[track_caller]
fn accept(field: &str, json: &str) -> Transaction {
    let message = with(field, json);
    decode(&message).unwrap_or_else(|reason| panic!("{message}: {}", reason.name()))
}

#[test]
fn a_plain_message() {
    let mut decoder = Decoder::new(config()).unwrap();
    let mut batch = Batch::default();
    for idx in 0..3 {
        decoder.decode(&record(MESSAGE), idx, &mut batch).unwrap();
    }
    assert_eq!(decoder.reader_counts().templates, 2);
    for (idx, transaction) in (0..).zip(&batch.transactions) {
        assert_eq!(batch.text(transaction.customer), b"C1");
        assert_eq!(batch.text(transaction.id), b"t1");
        assert_eq!(transaction.customer_hash, customer_hash(b"C1"));
        assert_eq!(transaction.id_hash, id_hash(b"t1"));
        assert_eq!(transaction.time.to_string(), "2026-06-30T14:05:11Z");
        assert_eq!(transaction.day.to_string(), "2026-06-30");
        assert_eq!(transaction.amount.0, 1_250);
        assert_eq!(transaction.record_idx, idx);
        assert_eq!((transaction.original_hash, transaction.merchant), (0, 0));
    }
}

#[test]
fn required_fields() {
    for field in Field::ALL {
        let message = with(field.name(), "");
        let expected = field.required().then_some(Reason::MissingField);
        assert_eq!(decode(&message).err(), expected, "{message}");
        reject_or_accept(field, "null");
        reject_or_accept(field, "\"\"");
        reject(field.name(), "{}", Reason::BadType);
        reject(field.name(), "[1]", Reason::BadType);
        reject(field.name(), "{\"a\":1}", Reason::BadType);
    }
}

#[track_caller]
fn reject_or_accept(field: Field, json: &str) {
    if field.required() {
        reject(field.name(), json, Reason::MissingField);
    } else {
        accept(field.name(), json);
    }
}

#[test]
fn times() {
    let ms = |json: &str| accept("time", json).time.0;
    assert_eq!(ms("\"2026-06-30T14:05:11Z\""), 1_782_828_311_000);
    assert_eq!(ms("\"2026-06-30t14:05:11z\""), 1_782_828_311_000);
    assert_eq!(ms("\"2026-06-30T14:05:11.5Z\""), 1_782_828_311_500);
    assert_eq!(ms("\"2026-06-30T14:05:11.123456789Z\""), 1_782_828_311_123);
    assert_eq!(ms("\"2026-06-30T16:05:11+02:00\""), 1_782_828_311_000);
    assert_eq!(ms("\"2026-06-30T08:35:11-05:30\""), 1_782_828_311_000);
    assert_eq!(ms("\"2026-06-30T23:59:60Z\""), 1_782_864_000_000);
    assert_eq!(ms("1782828311000"), 1_782_828_311_000);
    assert_eq!(ms("\"1782828311000\""), 1_782_828_311_000);
    assert_eq!(ms("1.782828311e12"), 1_782_828_311_000);
    for bad in [
        "\"2026-06-30T14:05:11\"",
        "\"2026-06-30 14:05:11Z\"",
        "\"2026-06-30T14:05:11.Z\"",
        "\"2026-06-30T14:05:11.1234567890Z\"",
        "\"2026-06-30T24:00:00Z\"",
        "\"2026-06-30T14:60:00Z\"",
        "\"2026-06-30T14:05:61Z\"",
        "\"2026-02-29T14:05:11Z\"",
        "\"2026-13-01T14:05:11Z\"",
        "\"2026-06-30T14:05:11+24:00\"",
        "\"2026-06-30T14:05:11+0200\"",
        "\"2026-06-30T14:05:11ZZ\"",
        "\"2026-06-30\"",
        "\"1969-12-31T23:59:59Z\"",
        "\"2149-01-01T00:00:00Z\"",
        "\"20260630\"",
        "true",
        "-1",
        "1782828311000.5",
        "1e300",
    ] {
        reject("time", bad, Reason::BadType);
    }
    let naive = || DecoderConfig { naive_time_is_utc: true, ..config() };
    for time in ["2026-06-30T14:05:11", "2026-06-30 14:05:11", "2026-06-30 14:05:11.000Z"] {
        let message = with("time", &format!("\"{time}\""));
        let decoded = decode_with(naive(), &record(&message)).unwrap();
        assert_eq!(decoded.time.0, 1_782_828_311_000, "{time}");
    }
}

#[test]
fn amounts() {
    for (json, minor) in [
        ("0", 0),
        ("-0", 0),
        ("1250", 1_250),
        ("1250.0", 1_250),
        ("12.5e2", 1_250),
        ("\"1250\"", 1_250),
        ("\"0001250\"", 1_250),
        ("\"1250.00\"", 1_250),
        ("4398046511103", AMOUNT_MAX),
        ("\"4398046511103\"", AMOUNT_MAX),
    ] {
        assert_eq!(accept("amount_minor", json).amount.0, minor, "{json}");
    }
    for bad in
        ["-1", "12.5", "-1e30", "\"-1\"", "\"12.5\"", "\"1e3\"", "\"12.\"", "\".0\"", "\"x\""]
    {
        reject("amount_minor", bad, Reason::BadAmount);
    }
    for large in ["4398046511104", "1e30", "18446744073709551615", "\"99999999999999999999999\""] {
        reject("amount_minor", large, Reason::AmountOverflow);
    }
    for bad in ["true", "01", "1e999", "+1", "0x1"] {
        reject("amount_minor", bad, Reason::BadType);
    }
}

#[test]
fn currencies() {
    reject("currency", "\"EUR\"", Reason::CurrencyMismatch);
    reject("currency", "\"usd\"", Reason::UnknownCurrency);
    reject("currency", "\"US\"", Reason::UnknownCurrency);
    reject("currency", "840", Reason::BadType);
}

#[test]
fn countries() {
    for code in ["\"DE\"", "\"de\"", "\"DEU\"", "\"deu\"", "\"276\"", "276"] {
        let decoded = accept("country", code);
        assert_eq!(decoded.country, country(b"DE"), "{code}");
        assert!(decoded.abroad, "{code}");
    }
    for code in ["\"US\"", "\"USA\"", "\"840\"", "840"] {
        assert!(!accept("country", code).abroad, "{code}");
    }
    for code in ["\"ZZ\"", "\"XXX\"", "\"999\"", "\"1\"", "\"Germany\"", "\"-1\"", "-4", "\"é\""] {
        let decoded = accept("country", code);
        assert_eq!((decoded.country, decoded.abroad), (Country(0), false), "{code}");
    }
    assert_eq!(accept("country", "8").country, country(b"AL"));
    reject("country", "true", Reason::BadType);
}

#[test]
fn channels() {
    for (word, channel, recurring) in [
        ("pos", Channel::InPerson, false),
        ("Card_Present", Channel::InPerson, false),
        ("ecom", Channel::Online, false),
        ("recurring", Channel::Online, true),
        ("MOTO", Channel::Remote, false),
        ("atm", Channel::Atm, false),
        ("ach", Channel::Unknown, false),
        ("a channel with a name longer than any word that is known", Channel::Unknown, false),
    ] {
        let decoded = accept("channel", &format!("{word:?}"));
        assert_eq!((decoded.channel, decoded.recurring), (channel, recurring), "{word}");
    }
    assert_eq!(accept("entry", "\"contactless\"").channel, Channel::InPerson);
    assert!(accept("entry", "\"recurring\"").recurring);
    assert!(accept("recurring", "true").recurring);
    assert!(accept("recurring", "\"Yes\"").recurring);
    assert!(!accept("recurring", "0").recurring);
    reject("recurring", "2", Reason::BadType);
    reject("recurring", "\"perhaps\"", Reason::BadType);
    assert!(accept("instalments", "12").instalments);
    assert!(accept("instalments", "\"2\"").instalments);
    assert!(!accept("instalments", "1").instalments);
    reject("instalments", "-1", Reason::BadType);
    reject("instalments", "1.5", Reason::BadType);
}

#[test]
fn categories_of_codes_and_kinds() {
    let table = categories();
    let name = |json: &str| table.name(accept("mcc", json).category).to_owned();
    for (json, expected) in [
        ("\"5411\"", "grocery"),
        ("5411", "grocery"),
        ("\"8661\"", "withheld"),
        ("\"742\"", "other"),
        ("\"\"", "other"),
        ("\"54a1\"", "other"),
        ("\"05411\"", "other"),
        ("70000", "other"),
        ("-1", "other"),
        ("5411.5", "other"),
    ] {
        assert_eq!(name(json), expected, "{json}");
    }
    reject("mcc", "true", Reason::BadType);
    for kind in Kind::ALL {
        let message = with("kind", &format!("\"{}\",\"mcc\":\"5812\"", kind.name()));
        let decoded = decode(&message).unwrap();
        let expected = match kind {
            Kind::Cash => table.cash(),
            Kind::Payment | Kind::Fee | Kind::Interest => Category::NONE,
            _ => table.find("dining").unwrap(),
        };
        assert_eq!((decoded.kind, decoded.category), (kind, expected));
    }
    reject("kind", "\"Purchase\"", Reason::BadType);
    reject("kind", "1", Reason::BadType);
}

#[test]
fn references_and_merchants() {
    assert_eq!(accept("reverses", "\"t0\"").original_hash, id_hash(b"t0"));
    let merchant = accept("merchant", "\"M1\"").merchant;
    assert_ne!(merchant, 0);
    assert_eq!(accept("merchant", "\"\\u004d1\"").merchant, merchant);
    reject("merchant", "1", Reason::BadType);
}

#[test]
fn limits() {
    for field in ["id", "customer", "account", "card", "merchant", "reverses"] {
        accept(field, &format!("{:?}", "x".repeat(128)));
        reject(field, &format!("{:?}", "x".repeat(129)), Reason::TooLarge);
    }
    let room = 64 * 1024 - with("more", "\"\"").len();
    accept("more", &format!("{:?}", "x".repeat(room)));
    reject("more", &format!("{:?}", "x".repeat(room + 1)), Reason::TooLarge);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    accept("more", &nested(31));
    reject("more", &nested(32), Reason::TooDeep);
    reject("more", &"[".repeat(32), Reason::TooDeep);
    reject("more", &"[".repeat(31), Reason::BadType);
    reject("more", &"{\"a\":".repeat(40_00), Reason::TooDeep);
}

#[test]
fn what_is_no_transaction() {
    for value in ["", " ", "null", "[]", "7", "\"x\"", "{", "{}x", "{\"id\":\"1\",}", "\u{1}"] {
        let reason = decode(value).unwrap_err();
        assert_eq!(reason, Reason::BadType, "{value}");
    }
    assert_eq!(decode("{}"), Err(Reason::MissingField));
    let mut bytes = with("merchant", "\"Caf#\"").into_bytes();
    accept("merchant", "\"Café\"");
    for byte in &mut bytes {
        if *byte == b'#' {
            *byte = 0xe9;
        }
    }
    let record = Record { value: &bytes, ..record("") };
    assert_eq!(decode_with(config(), &record), Err(Reason::BadType));
    assert!(decode(&format!(" {MESSAGE}\r\n")).is_ok());
    assert_eq!(decode(&format!("{MESSAGE}\u{c}")), Err(Reason::BadType));
}

#[test]
fn the_last_of_a_field_counts() {
    assert_eq!(accept("amount_minor", "1,\"amount_minor\":2").amount.0, 2);
    reject("amount_minor", "1,\"amount_minor\":null", Reason::MissingField);
    reject("amount_minor", "1,\"amount_minor\":{}", Reason::BadType);
    assert_eq!(accept("amount_minor", "{},\"amount_minor\":2").amount.0, 2);
}

#[test]
fn keys_and_the_log() {
    let keyed = DecoderConfig { key_is_customer: true, max_future_ms: Some(1_000), ..config() };
    let time = accept("time", "\"2026-06-30T14:05:11Z\"").time.0;
    let check = |key: Option<&[u8]>, appended_at, expected: Option<Reason>| {
        let record = Record { key, appended_at, ..record(MESSAGE) };
        assert_eq!(decode_with(keyed.clone(), &record).err(), expected);
    };
    check(Some(b"C1"), None, None);
    check(None, None, Some(Reason::KeyMismatch));
    check(Some(b"C2"), None, Some(Reason::KeyMismatch));
    check(Some(b"4111111111111111"), None, Some(Reason::CardNumber));
    check(Some(b"C1"), Some(time - 1_000), None);
    check(Some(b"C1"), Some(time - 1_001), Some(Reason::Future));
    check(Some(b"C1"), Some(i64::MAX), None);
}

#[test]
fn card_numbers() {
    const CARD: &str = "\"4111 1111-1111 1111\"";
    for field in ["customer", "account", "card", "channel", "entry", "memo", "currency"] {
        reject(field, CARD, Reason::CardNumber);
        reject(field, "4111111111111111", Reason::CardNumber);
        reject(field, &format!("{CARD},{field:?}:null"), Reason::CardNumber);
    }
    reject("memo", &format!("{{\"a\":[{CARD}]}}"), Reason::CardNumber);
    reject("memo", "\"\\u0034111111111111111\"", Reason::CardNumber);
    reject("memo", "\"4111111111111111\"}", Reason::CardNumber);
    for field in ["id", "merchant", "reverses"] {
        accept(field, CARD);
    }
    let strict = DecoderConfig { check_id: true, check_merchant: true, ..config() };
    for field in ["id", "merchant", "reverses"] {
        let message = with(field, CARD);
        let got = decode_with(strict.clone(), &record(&message));
        assert_eq!(got, Err(Reason::CardNumber), "{field}");
    }
    let lax = DecoderConfig { card_numbers: false, ..strict };
    assert!(decode_with(lax, &record(&with("memo", CARD))).is_ok());
}

#[test]
fn mappings() {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let mut config = config();
    config.map.fields = map(&[
        ("customer", "who.custId"),
        ("id", "txnId"),
        ("amount_minor", "amt"),
        ("time", "authTs"),
        ("country", "merchant.ctry"),
        ("merchant", "merchant.name"),
    ]);
    config.map.kinds = map(&[("AUTH_REV", "reversal"), ("1", "purchase")]);
    config.map.channels = map(&[("81", "ecom"), ("R", "recurring"), ("pos", "atm")]);
    config.map.countries = map(&[("Allemagne", "DE")]);
    let text = r#"{"txnId":"t9","who":{"custId":"C9","x":[{"custId":"no"}]},"authTs":1782828311000,"amt":5,"kind":"AUTH_REV","currency":"USD","channel":81,"merchant":{"ctry":"Allemagne","name":"M"},"custId":"no"}"#;
    let decoded = decode_with(config.clone(), &record(text)).unwrap();
    assert_eq!(decoded.customer_hash, customer_hash(b"C9"));
    assert_eq!((decoded.kind, decoded.channel), (Kind::Reversal, Channel::Online));
    assert_eq!(decoded.country, country(b"DE"));
    assert_ne!(decoded.merchant, 0);
    let text = text.replace("\"AUTH_REV\"", "1").replace("81", "\"R\"");
    let decoded = decode_with(config.clone(), &record(&text)).unwrap();
    assert_eq!((decoded.kind, decoded.recurring), (Kind::Purchase, true));
    // A field whose path ends in an object is of the wrong type.
    config.map.fields.insert("account".into(), "deep".into());
    let text = text.replace("\"custId\":\"no\"}", "\"deep\":{\"a\":\"b\"}}");
    assert_eq!(decode_with(config, &record(&text)), Err(Reason::BadType));
}

#[test]
fn faults_of_a_configuration() {
    let mut config = config();
    config.currency = "USX".into();
    config.home_country = "U".into();
    config.map.fields =
        [("who", "x"), ("id", "a.b"), ("customer", "a"), ("time", ""), ("mcc", "kind")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into();
    config.map.kinds.insert("x".into(), "sale".into());
    config.map.countries.insert("x".into(), "ZZ".into());
    let problems = Decoder::new(config).unwrap_err();
    assert_eq!(problems.len(), 8, "{problems:#?}");
}

#[test]
fn fields_of_a_file() {
    let config = DecoderConfig { naive_time_is_utc: true, key_is_customer: true, ..config() };
    let mut decoder = Decoder::new(config).unwrap();
    let mut batch = Batch::default();
    let mut fields = Fields::default();
    fields.set(Field::Id, "m01");
    fields.set(Field::Customer, "A");
    fields.set(Field::Time, "2024-03-01T00:00:00");
    fields.set(Field::Kind, "purchase");
    fields.set(Field::AmountMinor, "1000");
    fields.set(Field::Currency, "USD");
    fields.set(Field::Mcc, "5411");
    fields.set(Field::Reverses, "");
    decoder.fields(&fields, None, 7, &mut batch).unwrap();
    let transaction = batch.transactions[0];
    assert_eq!((transaction.amount.0, transaction.record_idx), (1_000, 7));
    assert_eq!(transaction.original_hash, 0);
    fields.set(Field::Card, "4111111111111111");
    assert_eq!(decoder.fields(&fields, None, 8, &mut batch), Err(Reason::CardNumber));
    fields.set(Field::Card, "");
    fields.set(Field::AmountMinor, "-1");
    assert_eq!(decoder.fields(&fields, None, 8, &mut batch), Err(Reason::BadAmount));
    assert_eq!(batch.transactions.len(), 1);
}
