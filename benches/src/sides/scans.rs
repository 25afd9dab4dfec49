//! A reader that never stops: everybody, with every column, as the gateway reads it.

use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cardlens_query::relations::Catalog;

use super::say;

/// Time to give back what the last scan held still.
const GIVE_BACK: Duration = Duration::from_millis(500);

/// Scans an engine without pause. Says how many customers there were after the first time, and how
/// many times that were when it is asked, which is also the end.
///
/// # Errors
/// A scan fails, or finds fewer customers than the one before.
pub fn run(address: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the reader")?;
    let catalog = Catalog::new(vec![address.to_owned()]);
    let asked = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        // The end of the input is a wish to stop too.
        drop(std::io::stdin().lock().lines().next());
        heard.store(true, Ordering::Relaxed);
    });
    let (mut customers, mut scans) = (0, 0_u64);
    while !asked.load(Ordering::Relaxed) {
        let found = runtime.block_on(scan(&catalog))?;
        ensure!(found >= customers, "{found} customers after {customers}");
        if scans == 0 {
            say(&found)?;
        }
        (customers, scans) = (found, scans + 1);
    }
    // What is held still is given back behind the statement.
    runtime.block_on(async { tokio::time::sleep(GIVE_BACK).await });
    say(&scans)
}

async fn scan(catalog: &Catalog) -> Result<usize> {
    let statement = catalog.statement().await?;
    let rows = statement.context().sql("SELECT * FROM customers").await?.collect().await?;
    Ok(rows.iter().map(arrow_array::RecordBatch::num_rows).sum())
}
