//! The `cardlens` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cardlens::main()
}
