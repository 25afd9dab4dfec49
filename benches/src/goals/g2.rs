//! G2: replaying W1 from its file, against the plain loop.

use anyhow::{Result, ensure};

use super::{Bench, Outcome, Run};
use crate::load::w1::{Answer, W1};
use crate::measure::side;

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let workload = W1::STANDARD;
    let file = workload.file(&bench.directory)?;
    let input = file.to_string_lossy();
    let outputs = ["plain.jsonl", "cardlens.jsonl"].map(|name| bench.directory.join(name));
    let replay = |name: &str, output: usize| -> Result<Run> {
        let output = outputs[output].to_string_lossy();
        let (answer, cost): (Answer, _) = side(name, &[&input, &output])?;
        let expected = workload.oracle();
        ensure!(expected.is_none_or(|it| it == answer), "{name}: {answer:?} is not {expected:?}");
        Ok(Run::new(answer.records, cost))
    };
    replay("plain", 0)?;
    replay("spine", 1)?;
    let [plain, cardlens] = outputs.each_ref().map(std::fs::read);
    ensure!(plain? == cardlens?, "the outputs differ: {outputs:?}");
    let rounds = bench.alternate(|| replay("plain", 0), || replay("spine", 1))?;
    let what = "replaying W1 from a file, compiled rules, W1's output lines";
    let sides = ["plain loop", "cardlens"];
    Ok(vec![
        Outcome::new("G2", what, Some([1.3, 2.0]), sides, rounds).remark(
            "both outputs are equal byte for byte, and agree with the oracle: 1,007,636 changes"
                .to_owned(),
        ),
    ])
}
