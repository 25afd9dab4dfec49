//! Examples with damage: the decoder answers, its readers agree, and the reference agrees with
//! both.
//!
//! The seed is printed and taken back from `CARDLENS_FUZZ_SEED`; `CARDLENS_FUZZ_MESSAGES` makes
//! the run longer.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use cardlens_wire::Decoder;

use crate::agreement::mapped;
use crate::reference::verdict;
use crate::support::{compact, config, examples, outcome, record};

/// Damaged messages of one run.
const MESSAGES: u64 = 200_000;

/// Every so many messages the reference is asked too; it is slow.
const REFERENCE_EVERY: u64 = 8;

/// Bytes that mean something to a reader of JSON.
const SHARP: &[u8] = b"\"\"\"\\\\{}[]::,,  \n\t0019-+.eEtfnuTZ\x00\x1f\x7f\x80\xc3\xe2\xff";

#[allow(clippy::disallowed_methods, reason = "a test takes its seed from the environment")]
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// xorshift64*: the same numbers on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }
}

/// Damages a message in one place.
fn damage(chance: &mut Chance, message: &mut Vec<u8>, other: &[u8]) {
    let at = chance.below(message.len());
    let end = (at + 1 + chance.below(12)).min(message.len());
    match chance.below(8) {
        0 => message[at..end].fill(SHARP[chance.below(SHARP.len())]),
        1 => message[at] ^= 1 << chance.below(8),
        2 => message.insert(at, SHARP[chance.below(SHARP.len())]),
        3 => drop(message.drain(at..end)),
        4 => message.truncate(at),
        5 => {
            let piece = message[at..end].to_vec();
            let to = chance.below(message.len());
            message.splice(to..to, piece);
        }
        6 => {
            let from = chance.below(other.len());
            let piece = &other[from..(from + end - at).min(other.len())];
            message.splice(at..end, piece.iter().copied());
        }
        _ => message[at] = b'0' + u8::try_from(chance.below(10)).unwrap(),
    }
}

#[test]
fn damaged_messages_get_an_answer() {
    let seed = number("CARDLENS_FUZZ_SEED", 0x5eed_ca4d);
    let messages = number("CARDLENS_FUZZ_MESSAGES", MESSAGES);
    let mut sources = Vec::new();
    for (_, text) in examples("transaction") {
        let line = compact(&text);
        let who = line.replace("\"customer\":\"C00042\"", "\"who\":{\"customer\":\"C00042\"}");
        sources.extend([line.into_bytes(), who.into_bytes(), text.into_bytes()]);
    }
    let configs = [config(), mapped()];
    let mut decoders = configs.clone().map(|config| Decoder::new(config).unwrap());
    let mut chance = Chance(seed | 1);
    let mut accepted = 0_u64;
    for round in 0..messages {
        let mut message = sources[chance.below(sources.len())].clone();
        let other = &sources[chance.below(sources.len())];
        for _ in 0..chance.below(4) {
            damage(&mut chance, &mut message, other);
            if message.is_empty() {
                break;
            }
        }
        let mut record = record(&message);
        record.key = Some(b"C00042");
        let which = chance.below(2);
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let got = outcome(&mut decoders[which], &record, false);
            assert_eq!(outcome(&mut decoders[which], &record, true), got);
            if round % REFERENCE_EVERY == 0 {
                let expected = verdict(&configs[which], &record);
                assert!(expected.allows(&got), "{got:?}, not {expected:?}");
            }
            got.is_ok()
        }));
        match judged {
            Ok(ok) => accepted += u64::from(ok),
            Err(cause) => {
                println!("seed {seed}, round {round}: {}", String::from_utf8_lossy(&message));
                resume_unwind(cause);
            }
        }
    }
    let [plain, with_map] = decoders.map(|decoder| decoder.reader_counts().templates);
    println!("seed {seed}: {accepted} accepted, {plain} and {with_map} by templates");
    assert!(accepted > messages / 10, "too few were still transactions");
    assert!(plain.min(with_map) > messages / 50, "too few were read by templates");
}
