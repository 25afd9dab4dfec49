//! G4: decoding, against `serde_json` into structures that borrow.
//!
//! Not quite even: the product's side also turns times into instants and codes into categories,
//! hashes ids, compares keys and looks for card numbers, and copies ids into its batch. The rival
//! finds the members and borrows them.

use anyhow::Result;

use super::{Bench, Outcome, Run};
use crate::load::w1::W1;
use crate::measure::side;
use crate::sides::{Decoded, MESSAGES, Order, check_decoding};

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let file = W1::STANDARD.file(&bench.directory)?;
    let mut outcomes = Vec::new();
    for order in Order::ALL {
        check_decoding(&file, order)?;
        let path = file.to_string_lossy();
        let decode = |name: &str| -> Result<Run> {
            let (decoded, _): (Decoded, _) = side(name, &[&path, order.name()])?;
            Ok(Run::new(decoded.messages, decoded.cost))
        };
        let rounds = bench.alternate(|| decode("decode-serde"), || decode("decode-wire"))?;
        let (bounds, what) = match order {
            Order::Stable => (Some([1.5, 3.5]), "stable key order"),
            Order::Shuffled => (None, "keys shuffled in every message"),
        };
        let what = format!("decoding {MESSAGES} distinct messages, {what}");
        let sides = ["serde_json, borrowed", "cardlens-wire"];
        outcomes.push(
            Outcome::new("G4", what, bounds, sides, rounds)
                .remark("every field of every message equals what serde_json reads".to_owned()),
        );
    }
    Ok(outcomes)
}
