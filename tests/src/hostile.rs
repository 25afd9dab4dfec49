//! Statements that were written to end a gateway, or to take it for themselves.
//!
//! Each has to end in an error or in a result within the limits. They are made from shapes and sizes
//! rather than listed.

/// All of them: shapes that are known to hurt, and their relatives at many sizes.
#[must_use]
pub fn corpus() -> Vec<String> {
    let mut all = Vec::new();
    for n in [
        10, 50, 100, 200, 300, 400, 499, 501, 700, 1_000, 1_500, 2_000, 3_000, 4_000, 10_000,
        20_000,
    ] {
        for (before, each, after) in [
            ("select ", "1+", "1"),
            ("select ", "1-", "1"),
            ("select ", "1*", "1"),
            ("select ", "-", "1"),
            ("select ", "not ", "true"),
            ("select ", "'a'||", "'b'"),
            ("select 1 where ", "1=0 or ", "true"),
            ("select 1 where ", "1=1 and ", "true"),
            ("select ", "1::int::", "int"),
            ("select ", "1,", "1"),
            ("select array[", "1,", "1]"),
            ("select 1 where 1 in (", "1,", "1)"),
            ("select count(*) from customers where ", "customer_id = 'C1' or ", "true"),
            ("values (1)", ",(1)", ""),
            ("select 1", " union all select 1", ""),
            ("select 1", " union select 1", ""),
            ("select 1", " intersect select 1", ""),
            ("select 1 from customers a0", " cross join customers", ""),
            ("select concat(", "'x',", "'y')"),
            ("select coalesce(", "null,", "1)"),
            ("select greatest(", "1,", "1)"),
        ] {
            all.push(format!("{before}{}{after}", each.repeat(n)));
        }
    }
    // Words that end or begin something are names behind a period.
    for (word, n) in [("end", 30), ("values", 30), ("from", 30), ("select", 45)] {
        all.push(format!("select {}1{}", format!("coalesce(v.{word},").repeat(n), ")".repeat(n)));
    }
    for n in [5, 10, 20, 30, 40, 49, 51, 100, 200, 1_000, 5_000] {
        for (open, inside, close) in [
            ("(", "1", ")"),
            ("(select ", "1", ")"),
            ("abs(", "1", ")"),
            ("lower(", "'a'", ")"),
            ("case when true then ", "1", " end"),
            ("array[", "1", "]"),
            ("coalesce(null, ", "1", ")"),
            ("cast(", "1", " as int)"),
            ("repeat(", "'x'", ", 1000)"),
            ("concat('x', ", "'x'", ", 'x')"),
        ] {
            all.push(format!("select {}{inside}{}", open.repeat(n), close.repeat(n)));
        }
        let nested = format!("{}select 1 a{}", "select * from (".repeat(n), ") t".repeat(n));
        all.push(nested);
    }
    all.extend(growing());
    all.extend(multiplying());
    all.extend(reaching());
    all
}

/// Values that would not fit.
fn growing() -> Vec<String> {
    let mut all = Vec::new();
    for n in
        ["100", "10000", "1000000", "100000000", "2000000000", "9223372036854775807", "-1", "null"]
    {
        for call in [
            "repeat('x', N)",
            "lpad('x', N, 'yz')",
            "rpad('x', N, 'yz')",
            "range(0, N)",
            "generate_series(0, N)",
            "array_repeat(1, N)",
            "array_repeat(array_repeat(1, N), N)",
            "repeat(repeat('x', N), N)",
            "length(repeat('x', N))",
            "upper(repeat('x', N))",
            "replace(repeat('x', 10000), 'x', repeat('y', N))",
            "array_to_string(range(0, N), ',')",
            "array_length(range(0, N, 1), 1)",
            "md5(repeat('x', N))",
        ] {
            let call = call.replace('N', n);
            all.push(format!("select {call}"));
            all.push(format!("select count({call}) from customers"));
            all.push(format!("select max(length(cast({call} as text))) from customers"));
        }
        all.push(format!("select string_agg(repeat(customer_id, {n}), ',') from customers"));
        all.push(format!("select array_agg(repeat(customer_id, {n})) from customers"));
    }
    for call in [
        "length(array_to_string(range(0, 1000000), repeat('x', 16000000)))",
        "length(concat_ws(repeat('x', 33000000), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14))",
        "array_length(array_replace_n(array_repeat('a', 1000000), 'a', repeat('x', 16000000), \
         1000000))",
        "arrow_cast(null, 'FixedSizeBinary(2000000000)')",
        "arrow_cast(repeat('x', 33000000), 'LargeUtf8')",
        "levenshtein(repeat('x', 8000000), repeat('y', 8000000))",
    ] {
        all.push(format!("select {call} from customers"));
    }
    all.push(
        "select approx_percentile_cont(0.5, 4000000000) within group (order by txn_30d) \
         from customers"
            .to_owned(),
    );
    for n in [4, 10, 20, 40, 60] {
        let part = |at: usize| format!(", a{} as (select s||s as s from a{at})", at + 1);
        let parts: String = (0..n).map(part).collect();
        all.push(format!("with a0 as (select 'xxxxxxxx' as s){parts} select length(s) from a{n}"));
        let part = |at: usize| format!(", a{} as (select concat(s, s) as s from a{at})", at + 1);
        let parts: String = (0..n).map(part).collect();
        all.push(format!(
            "with a0 as (select customer_id as s from customers){parts} select max(s) from a{n}"
        ));
    }
    all
}

/// Rows that multiply.
fn multiplying() -> Vec<String> {
    let mut all = Vec::new();
    for joined in 1..=12 {
        let tables: Vec<String> = (0..=joined).map(|n| format!("customers c{n}")).collect();
        let from = tables.join(", ");
        for what in ["count(*)", "max(c0.customer_id)", "c0.customer_id"] {
            all.push(format!("select {what} from {from}"));
            all.push(format!("select {what} from {from} where c0.customer_id <> c1.customer_id"));
            all.push(format!(
                "select {what} from {from} where c0.customer_id < c1.customer_id limit 5"
            ));
        }
    }
    for n in [2, 6, 7, 20] {
        let columns = vec!["customer_id"; n].join(", ");
        for grouping in ["cube", "rollup", "grouping sets"] {
            all.push(format!("select count(*) from customers group by {grouping} ({columns})"));
        }
    }
    for n in ["1000", "1000000000", "1000000000000000"] {
        all.push(format!("select count(*) from generate_series(1, {n})"));
        all.push(format!(
            "select count(*) from generate_series(1, {n}) a, generate_series(1, {n}) b"
        ));
        all.push(format!("select sum(a.value) from generate_series(1, {n}) a join generate_series(1, {n}) b on a.value < b.value"));
        all.push(format!("select * from generate_series(1, {n})"));
        all.push(format!("select unnest(range(0, {n})) from customers"));
    }
    all
}

/// Attempts at what is not theirs.
fn reaching() -> Vec<String> {
    let mut all = Vec::new();
    for path in ["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/x.csv", "s3://bucket/x"] {
        for statement in [
            "select * from 'P'",
            "select * from \"P\"",
            "copy (select 1) to 'P'",
            "copy customers from 'P'",
            "create external table t stored as csv location 'P'",
            "select * from read_csv('P')",
            "select * from read_parquet('P')",
            "explain analyze copy (select 1) to 'P'",
            "insert into customers values ('P')",
            "select pg_read_file('P')",
            "select lo_import('P')",
            "load 'P'",
        ] {
            all.push(statement.replace('P', path));
        }
    }
    for statement in [
        "with recursive a as (select 1 as n union all select n + 1 from a) select count(*) from a",
        "create table t as select 1",
        "drop table customers",
        "delete from customers",
        "update customers set customer_id = ''",
        "truncate customers",
        "vacuum",
        "analyze",
        "create function f() returns int as 'select 1'",
        "alter system set x = 1",
        "grant all on customers to a",
        "do $$ begin perform 1; end $$",
        "call f()",
        "prepare transaction 'x'",
        "select pg_sleep(1000)",
        "select random()",
        "select arrow_metadata(1)",
        "listen a",
        "notify a",
        "select ",
        "\u{0}",
        "'",
        "\"",
        "/*",
        "$$",
        "select $1",
        "select 1/0",
        "select * from information_schema.df_settings",
        "explain analyze select count(*) from customers a, customers b, customers c, customers d",
    ] {
        all.push(statement.to_owned());
    }
    all
}
