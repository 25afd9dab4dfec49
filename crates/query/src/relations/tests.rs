use datafusion::arrow::util::pretty::pretty_format_batches;

use super::{Catalog, Fixed};
use crate::front::{Fault, State};

async fn ask(catalog: &Catalog, sql: &str) -> String {
    let statement = catalog.statement().await.unwrap();
    let frame = statement.context().sql(sql).await.unwrap();
    pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string()
}

fn catalog() -> Catalog {
    Catalog::fixed(Fixed::sample(100, 3).unwrap())
}

#[tokio::test]
async fn every_table_can_be_read_and_every_column_has_a_comment() {
    let catalog = catalog();
    let comments = catalog.comments().await.unwrap();
    for table in comments.iter() {
        let statement = catalog.statement().await.unwrap();
        let sql = format!("SELECT * FROM {}.{}", table.schema, table.table);
        let frame = statement.context().sql(&sql).await.unwrap();
        let fields = frame.schema().fields().iter().map(|field| field.name().clone());
        let named: Vec<String> = table.columns.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(fields.collect::<Vec<_>>(), named, "of {sql}");
        assert!(table.columns.iter().all(|(_, text)| text.ends_with('.')), "{:?}", table.columns);
        let rows: usize = frame.collect().await.unwrap().iter().map(|b| b.num_rows()).sum();
        // Nobody runs statements here.
        assert_eq!(rows > 0, table.table != "queries", "{sql}");
    }
}

#[tokio::test]
async fn counts_without_columns() {
    let got = ask(&catalog(), "SELECT count(*) AS n FROM customers").await;
    assert!(got.contains("| 100 |"), "{got}");
}

#[tokio::test]
async fn functions_answer() {
    let catalog = catalog();
    let got = ask(&catalog, "SELECT mcc_category('5541') AS a, mcc_category('0001') AS b").await;
    assert!(got.contains("fuel") && got.contains("other"), "{got}");
    let got = ask(&catalog, "SELECT * FROM customer_timeline('C00007')").await;
    assert!(got.contains("entered"), "{got}");
    let explained = "SELECT count(DISTINCT rule), count(*) FROM explain_customer('C00007')";
    let got = ask(&catalog, explained).await;
    assert!(!got.contains("| 0 "), "{got}");
    let got = ask(&catalog, "SELECT count(*) FROM explain_customer('nobody')").await;
    assert!(got.contains("| 0 "), "{got}");
    let previewed =
        "SELECT customers, matching FROM preview_rule('txn_30d >= 0') WHERE part = 'all'";
    let got = ask(&catalog, previewed).await;
    assert!(got.contains("| 100       | 100      |"), "{got}");
    let statement = catalog.statement().await.unwrap();
    let error = statement.context().sql("SELECT * FROM preview_rule('nosuch > 1')").await;
    assert!(error.unwrap_err().to_string().contains("nosuch"));
}

#[tokio::test]
async fn the_past_is_not_there_without_a_history() {
    let statement = catalog().statement().await.unwrap();
    for call in [
        "customers_as_of('2026-02-10')",
        "features_as_of('2026-02-10')",
        "explain_customer('C00007', '2026-02-10')",
    ] {
        let planned = statement.context().sql(&format!("SELECT * FROM {call}")).await;
        let fault = Fault::from(planned.unwrap_err());
        assert_eq!(fault.state, State::NotSupported, "{call}");
        let message = "reads [history], which is not enabled";
        assert!(fault.message.ends_with(message), "{fault}");
    }
}
