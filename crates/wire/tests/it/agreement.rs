//! The decoder against the reference, and its two readers against each other.

use std::cell::Cell;

use cardlens_model::{NoHeaders, Position, Record};
use cardlens_wire::{Decoder, DecoderConfig, Field};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::reference::{Verdict, verdict};
use crate::support::{config, outcome};

/// A configuration that uses everything a mapping can do.
pub fn mapped() -> DecoderConfig {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let mut config = config();
    config.key_is_customer = true;
    config.max_future_ms = Some(600_000);
    config.naive_time_is_utc = true;
    config.check_id = true;
    config.check_merchant = true;
    config.map.fields = map(&[
        ("customer", "who.customer"),
        ("merchant", "shop.merchant"),
        ("country", "shop.at.country"),
        ("entry", "mode"),
    ]);
    config.map.kinds = map(&[("AUTH", "authorization"), ("1", "purchase"), ("fee", "interest")]);
    config.map.channels = map(&[("81", "ecom"), ("R", "recurring"), ("pos", "atm")]);
    config.map.entries = map(&[("07", "contactless")]);
    config.map.countries = map(&[("Allemagne", "DE"), ("US", "CA")]);
    config
}

/// Text as JSON; some characters as escapes where `escape` says so.
fn quoted(text: &str, escape: u8) -> String {
    let mut json = String::from("\"");
    for (place, c) in text.chars().enumerate() {
        let wanted = escape > 0 && place % usize::from(escape) == 0;
        if wanted || c < ' ' || c == '"' || c == '\\' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                json.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            json.push(c);
        }
    }
    json + "\""
}

/// One of the words of a list.
fn words(list: &'static str) -> BoxedStrategy<String> {
    proptest::sample::select(list.split('|').collect::<Vec<_>>()).prop_map(str::to_owned).boxed()
}

fn texts(words: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    (words, prop_oneof![20 => Just(0_u8), 1 => 1_u8..4])
        .prop_map(|(text, escape)| quoted(&text, escape))
        .boxed()
}

/// Values that the field takes.
fn fitting(field: Field) -> BoxedStrategy<String> {
    match field {
        Field::Id | Field::Reverses => texts("t[0-9a-f]{1,16}"),
        Field::Customer => texts(words("C1|C000000042|Ünï-42")),
        Field::Account | Field::Card => texts("[A-Z][0-9]{8,12}"),
        Field::Time => prop_oneof![
            4 => (2020..2028, 1..13, 1..29, 0..24, 0..60, 0..61).prop_map(
                |(y, mo, d, h, mi, s)| format!("\"{y}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z\"")
            ),
            1 => texts(words(
                "2026-06-30T14:05:11.123456789+05:30|2026-06-30T14:05:11.5-23:59|178282831100",
            )),
            1 => (90_000_000_i64..1_800_000_000_000).prop_map(|ms| ms.to_string()),
        ]
        .boxed(),
        Field::Kind => texts(words(
            "purchase|refund|reversal|cash|payment|fee|interest|chargeback|authorization",
        )),
        Field::AmountMinor | Field::MerchantAmountMinor => prop_oneof![
            8 => (0_u32..200_000).prop_map(|amount| amount.to_string()),
            1 => words("\"1250\"|\"0012.00\"|1250.0|1e3|-0|4398046511103"),
        ]
        .boxed(),
        Field::Currency => texts(words("USD")),
        Field::MerchantCurrency => texts(words("EUR|KRW|nonsense")),
        Field::Mcc => prop_oneof![
            texts(words("5411|8661|742|+742|07|99999|é|5.5")),
            (0_u32..12_000).prop_map(|mcc| mcc.to_string()),
        ]
        .boxed(),
        Field::Merchant => texts(words("M1|Café|x y")),
        Field::Country => texts(words("US|USA|840|DE|de|Allemagne|ZZ||4")),
        Field::Channel | Field::Entry => texts(words(
            "pos|POS|ecom|81|R|recurring|moto|atm|ach|chip|07|unknown|Swipe Transaction|keyed",
        )),
        Field::Recurring => words("true|false|0|1|\"Yes\"|\"\""),
        Field::Instalments => words("0|1|12|\"3\"|\"3.0\"|2.0"),
    }
}

/// Values at the border of what the field takes, and beyond it.
fn odd(field: Field) -> BoxedStrategy<String> {
    match field {
        Field::Time => prop_oneof![
            texts("[0-9T:Z.+ -]{10,32}"),
            (2020..2030, 1..14, 1..33, 0..26, 0..62, 0..63).prop_map(
                |(y, mo, d, h, mi, s)| format!("\"{y}-{mo:02}-{d:02} {h:02}:{mi:02}:{s:02}\"")
            ),
            texts(words(
                "2026-06-30 14:05:11|2026-06-30T14:05:11|2026-06-30T14:05:11.-05:30|2026-06-30|\
                 2026-06-30T14:05:11+5:30|2026-06-30T14:05:11é|é026-06-30T14:05:11Z|1e12|\
                 17828283110000000|2026-06-30T14:05:11.1234567890Z",
            )),
            (0_i64..6_000_000_000_000).prop_map(|ms| ms.to_string()),
        ]
        .boxed(),
        Field::Kind => texts(words("AUTH|1|sale|fee")),
        Field::AmountMinor | Field::MerchantAmountMinor | Field::Mcc | Field::Instalments => {
            prop_oneof![numbers(), numbers().prop_map(|number| format!("\"{number}\""))].boxed()
        }
        Field::Currency => texts(words("EUR|usd|XXQ|US")),
        Field::Recurring => words("2|-1|\"perhaps\"|0.5"),
        _ => texts(words("4111111111111111|4111-1111-1111-1111|x 5555555555554444 y")),
    }
}

/// Numbers of every shape.
fn numbers() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?",
        "-?[0-9]{1,20}",
        words(
            "-0|0.0|-0.0|01|+1|1.|.5|0x10|NaN|1e400|9223372036854775807|9223372036854775808|\
             -9223372036854775808|-9223372036854775808.0|4398046511103|4398046511104|\
             999999999999999999|1000000000000000000",
        ),
    ]
}

/// JSON of any kind.
fn anything() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        numbers(),
        (".{0,40}", 0_u8..3).prop_map(|(text, escape)| quoted(&text, escape)),
        "[0-9 -]{10,30}".prop_map(|text| quoted(&text, 0)),
        words("null|true|false|\"4111 1111 1111 1111\"|4111111111111111|nul"),
        (120_usize..135).prop_map(|length| quoted(&"x".repeat(length), 0)),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec((words("a|id|merchant|at|country"), inner), 0..4).prop_map(
                |members| {
                    let members: Vec<_> =
                        members.iter().map(|(key, value)| format!("{key:?}: {value}")).collect();
                    format!("{{{}}}", members.join(", "))
                }
            ),
        ]
    })
}

/// The values of one message by field, and one of a field that is not ours.
fn values() -> impl Strategy<Value = (Vec<Option<String>>, String)> {
    let fields: Vec<_> = Field::ALL
        .into_iter()
        .map(|field| {
            prop_oneof![
                100 => fitting(field).prop_map(Some),
                2 => odd(field).prop_map(Some),
                1 => Just(None),
                1 => anything().prop_map(Some),
                1 => Just(Some("null".to_owned())),
            ]
        })
        .collect();
    (fields, prop_oneof![4 => "\"[a-z ]{0,20}\"", 1 => anything()])
}

/// What messages of one producer have in common.
#[derive(Debug, Clone)]
struct Layout {
    order: Vec<usize>,
    left_out: Vec<bool>,
    twice: Option<usize>,
    space: &'static str,
    nested: bool,
}

fn layout() -> impl Strategy<Value = Layout> {
    let order = Just((0..=Field::COUNT).collect::<Vec<_>>()).prop_shuffle();
    let twice = proptest::option::weighted(0.2, 0..Field::COUNT);
    let space = proptest::sample::select(&["", "", " ", "\n"][..]);
    let left_out = proptest::collection::vec(proptest::bool::weighted(0.2), Field::COUNT);
    (order, left_out, twice, space).prop_map(|(order, left_out, twice, space)| Layout {
        order,
        left_out,
        twice,
        space,
        nested: false,
    })
}

fn message(layout: &Layout, (fields, other): &(Vec<Option<String>>, String)) -> String {
    let space = layout.space;
    let mut members = Vec::new();
    for &place in layout.order.iter().chain(&layout.twice) {
        let Some(field) = Field::ALL.get(place) else {
            members.push(format!("\"other\":{space}{other}"));
            continue;
        };
        let Some(value) = &fields[place] else { continue };
        if layout.left_out[place] && !field.required() {
            continue;
        }
        let name = field.name();
        members.push(match field {
            Field::Customer if layout.nested => format!("\"who\":{{\"{name}\":{value}}}"),
            Field::Merchant if layout.nested => format!("\"shop\":{{{space}\"{name}\":{value}}}"),
            Field::Country if layout.nested => {
                format!("\"shop\":{{\"at\":{space}{{\"x\":[],\"{name}\":{value}}}}}")
            }
            Field::Entry if layout.nested => format!("\"mode\":{value}"),
            _ => format!("\"{name}\":{space}{value}"),
        });
    }
    format!("{{{space}{}}}{space}", members.join(&format!(",{space}")))
}

fn agree(
    decoder: &mut Decoder,
    config: &DecoderConfig,
    record: &Record<'_>,
) -> Result<Verdict, TestCaseError> {
    let expected = verdict(config, record);
    let got = outcome(decoder, record, false);
    let general = outcome(decoder, record, true);
    let shown = String::from_utf8_lossy(record.value);
    proptest::prop_assert_eq!(&got, &general, "the readers differ on {}", shown);
    proptest::prop_assert!(expected.allows(&got), "{:?}, not {:?}: {}", got, expected, shown);
    Ok(expected)
}

fn keyed<'a>(value: &'a [u8], key: &'a str) -> Record<'a> {
    Record {
        position: Position(0),
        appended_at: Some(1_850_000_000_000),
        key: Some(key.as_bytes()),
        value,
        headers: &NoHeaders,
    }
}

/// Producers with a layout of their own send messages; some bytes of some are damaged. Whatever
/// was learned from the earlier ones, the decoder says what the reference says.
#[test]
fn the_decoder_agrees_with_the_reference() {
    let damage = proptest::option::weighted(0.2, (any::<proptest::sample::Index>(), any::<u8>()));
    let sent = proptest::collection::vec((values(), damage), 6);
    let cases = (proptest::collection::vec(layout(), 1..3), sent, any::<bool>());
    let (accepted, templates) = (Cell::new(0_u32), Cell::new(0_u64));
    let settings = Config { cases: 800, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(settings);
    let run = runner.run(&cases, |(mut layouts, sent, with_map)| {
        let config = if with_map { mapped() } else { config() };
        for layout in &mut layouts {
            layout.nested = with_map;
        }
        let mut decoder = Decoder::new(config.clone()).unwrap();
        for (place, (values, damage)) in sent.iter().chain(&sent).enumerate() {
            let mut bytes = message(&layouts[place % layouts.len()], values).into_bytes();
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let customer = values.0[Field::Customer as usize].as_deref().unwrap_or_default();
            let record = keyed(&bytes, customer.trim_matches('"'));
            let verdict = agree(&mut decoder, &config, &record)?;
            accepted.set(accepted.get() + u32::from(matches!(verdict, Verdict::Is(Ok(_)))));
        }
        templates.set(templates.get() + decoder.reader_counts().templates);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(accepted.get() > 1_000, "{accepted:?}: too few were transactions");
    assert!(templates.get() > 1_000, "{templates:?}: too few were read by templates");
}

/// Any bytes at all are rejected and nothing else happens.
#[test]
fn any_bytes_get_an_answer() {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        anything().prop_map(String::into_bytes),
        "[\\[\\]{}:,\"0-9tfn \\\\u-]{0,200}".prop_map(String::into_bytes),
    ];
    let settings = Config { cases: 4_000, failure_persistence: None, ..Config::default() };
    let config = config();
    let run = TestRunner::new(settings).run(&bytes, |bytes| {
        let mut decoder = Decoder::new(config.clone()).unwrap();
        for _ in 0..2 {
            agree(&mut decoder, &config, &crate::support::record(&bytes))?;
        }
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}
