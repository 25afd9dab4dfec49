//! The sides that goals compare, each the work of one process.

mod decode;

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::rivals::plain;

pub use decode::{Decoded, MESSAGES, Order, check as check_decoding};

/// Does the work of a side and prints its answer as one line of JSON.
///
/// # Errors
/// There is no such side, or its work fails.
pub fn run(name: &str, arguments: &[String]) -> Result<()> {
    let path = |at: usize| -> Result<&Path> {
        let text = arguments.get(at).with_context(|| format!("side `{name}`: argument {at}"))?;
        Ok(Path::new(text))
    };
    let text = |at: usize| -> Result<&str> {
        arguments.get(at).map(String::as_str).with_context(|| format!("argument {at}"))
    };
    match name {
        "plain" => say(&plain::run(path(0)?, path(1)?)?),
        "decode-wire" => say(&decode::wire(path(0)?, text(1)?.parse()?)?),
        "decode-serde" => say(&decode::serde(path(0)?, text(1)?.parse()?)?),
        _ => bail!("there is no side `{name}`"),
    }
}

fn say(answer: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}
