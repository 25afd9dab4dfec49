//! Files that cannot be read to their end.

use std::io::Write as _;
use std::process::Command;

use cardlens::generator::Generator;
use cardlens_model::Day;
use cardlens_tests::live::binary;
use flate2::Compression;
use flate2::write::GzEncoder;

#[test]
fn a_file_that_is_cut_off_is_an_error_and_no_shorter_file() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |seed| {
        let made = Generator::new(seed, 50, Day(20_000)).take(3_000);
        made.flat_map(|record| [record.json, b"\n".to_vec()].concat()).collect::<Vec<u8>>()
    };
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&lines(2)).unwrap();
    let packed = packed.finish().unwrap();
    let [whole, cut, damaged] =
        ["1.jsonl", "2.jsonl.gz", "3.jsonl.gz"].map(|name| folder.path().join(name));
    std::fs::write(&whole, lines(1)).unwrap();
    std::fs::write(&cut, &packed[..packed.len() / 2]).unwrap();
    let mut flipped = packed.clone();
    *flipped.iter_mut().nth_back(5).unwrap() ^= 1;
    std::fs::write(&damaged, flipped).unwrap();
    for file in [&cut, &damaged] {
        let mut command = Command::new(binary());
        command.args(["backtest", "--from"]).args([&whole, file]);
        command.arg("--out").arg(folder.path().join("out"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        let name = file.file_name().unwrap().to_string_lossy();
        assert!(said.contains(&*name) && !said.contains("tried again"), "{said}");
    }
}
