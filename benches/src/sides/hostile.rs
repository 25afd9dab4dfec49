//! Somebody who means harm, at a gateway's Postgres wire.

use std::io::BufRead as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cardlens_tests::hostile::corpus;
use postgres::{Config, NoTls};
use serde::{Deserialize, Serialize};

use super::say;
use crate::measure::now;

/// What came of some statements.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Attacked {
    /// Ended in an error.
    pub refused: usize,
    /// Still to come.
    pub left: usize,
}

/// Says how many statements there are; whenever it is asked, asks as many as fit into so many
/// seconds. Each may take 0.3 s.
///
/// # Errors
/// The gateway cannot be reached, or is lost.
pub fn run(port: u16) -> Result<()> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user("bench").dbname("cardlens");
    let mut client = config.connect(NoTls).context("connect to the gateway")?;
    client.batch_execute("SET statement_timeout = '300ms'")?;
    // The wire ends texts with a zero.
    let corpus: Vec<String> = corpus().into_iter().filter(|it| !it.contains('\0')).collect();
    say(&corpus.len())?;
    let mut statements = corpus.iter();
    for question in std::io::stdin().lock().lines() {
        let length = Duration::from_secs(question?.parse()?);
        let (started, mut refused) = (now(), 0);
        while started.elapsed() < length {
            let Some(statement) = statements.next() else { break };
            if let Err(error) = client.simple_query(statement) {
                error.as_db_error().context("the gateway is lost")?;
                refused += 1;
            }
        }
        say(&Attacked { refused, left: statements.len() })?;
    }
    Ok(())
}
