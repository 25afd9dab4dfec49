//! The sides that goals compare, each the work of one process.

mod answers;
mod customers;
mod decode;
mod durable;
mod engine;
mod events;
mod gateway;
mod hostile;
mod ingest;
mod kafka;
mod latency;
mod midnights;
mod running;
mod scale;
mod scans;
mod view;
mod windows;

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::events::Rules;
use self::kafka::Job;

use crate::load::population::Population;
use crate::rivals::plain;

pub use answers::{Answered, Cell};
pub use customers::{RECORDS, Stocked, WIDE};
pub use durable::{Durable, INTERVAL_S, Restored};
pub use hostile::Attacked;
pub use ingest::Ingested;
pub use kafka::{Ran, TOPIC};
pub use midnights::Days;
pub use scale::{BURST, Burst, HISTORY, Memory};

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
    let job =
        || -> Result<Job<'_>> { Ok(Job { bootstrap: text(0)?, topic: text(1)?, run: text(2)? }) };
    match name {
        "plain" => say(&plain::run(path(0)?, path(1)?)?),
        "spine" => say(&engine::spine(path(0)?, path(1)?)?),
        "decode-wire" => say(&decode::wire(path(0)?, text(1)?.parse()?)?),
        "decode-serde" => say(&decode::serde(path(0)?, text(1)?.parse()?)?),
        "scale" => scale::live(text(0)?.parse()?),
        "year" => say(&scale::year(text(0)?.parse()?)?),
        "durable" => durable::live(text(0)?.parse()?, text(1)?.parse()?, path(2)?),
        "midnights" => {
            let population =
                Population { customers: text(0)?.parse()?, records: text(1)?.parse()? };
            say(&midnights::run(population, text(2)?.parse()?)?)
        }
        "events" => {
            let rules = if text(0)? == "default" { Rules::Default } else { Rules::Task };
            let files = arguments.iter().skip(3).map(Into::into).collect();
            say(&events::replay(files, path(2)?, text(1)?.parse()?, rules)?)
        }
        "view" => say(&view::run(text(0)?.parse()?, text(1)?.parse()?)?),
        "broker" => crate::goals::loaded_broker(path(0)?),
        "consume" => say(&kafka::consume(job()?, text(3)?.parse()?)?),
        "run" => say(&kafka::run(job()?, text(3)?.parse()?, path(4)?)?),
        "run-live" => latency::run(job()?, text(3)?.parse()?, path(4)?, text(5)?),
        "copy-live" => latency::copy(job()?, text(3)?.parse()?),
        "scans" => scans::run(text(0)?),
        "customers" => customers::live(text(0)?.parse()?, path(1)?),
        "gateway" => gateway::run(text(0)?),
        "hostile" => hostile::run(text(0)?.parse()?),
        _ => bail!("there is no side `{name}`"),
    }
}

fn say(answer: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}
