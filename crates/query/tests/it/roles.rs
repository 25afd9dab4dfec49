//! What roles see: masked columns, groups of customers only, some relations.

use std::sync::Arc;

use cardlens_query::budget::Limits;
use cardlens_query::front::{Front, Role, State};

use crate::support::{ask, everything, front};

async fn number(front: &Front, role: &Arc<Role>, sql: &str) -> i64 {
    let shown = ask(front, role, sql).await.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
    let digits = shown.lines().nth(3).unwrap_or("| 0 |").trim_matches(['|', ' ']).to_owned();
    digits.parse().unwrap_or_else(|_| panic!("{sql}: {shown}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masked_columns_read_as_null_whatever_is_asked_of_them() {
    let front = front(Limits::default()).await;
    let all = everything();
    let mask = vec!["spend_365d".to_owned(), "customer_id".to_owned()];
    let some = Arc::new(Role { name: "some".into(), mask, ..Role::default() });
    let known = "select count(spend_365d) from customers";
    assert!(number(&front, &all, known).await > 0);
    for sql in [
        known,
        "select count(*) from customers where spend_365d > 0",
        "select count(*) from features where customer_id >= ''",
        "select count(customer_id) from (select * from customers union all select * from customers)",
        "select count(c.customer_id) from customers c join customers d using (customer_id)",
        "select count(event_id) from segment_changes",
        "select count(evidence) from segment_changes",
        "select count(nearest_exit) from customer_needs",
    ] {
        assert_eq!(number(&front, &some, sql).await, 0, "{sql}");
    }
    assert!(number(&front, &some, "select count(spend_30d) from customers").await > 0);
    for sql in ["select * from explain_customer('C1')", "select * from customer_timeline('C1')"] {
        assert_eq!(ask(&front, &some, sql).await.unwrap_err().state, State::NotAllowed, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_are_too_small_are_left_out() {
    let front = front(Limits::default()).await;
    let all = everything();
    let groups = Arc::new(Role { name: "groups".into(), min_group: Some(11), ..Role::default() });
    let total = "select count(*) from customers";
    assert_eq!(number(&front, &groups, total).await, number(&front, &all, total).await);
    let by_day =
        "select count(*) from (select first_seen_on, count(*) n from customers group by 1) g";
    let large = format!("{by_day} where n >= 11");
    assert_eq!(number(&front, &groups, by_day).await, number(&front, &all, &large).await);
    let tiny = "select count(*) from customers where txn_30d = -1";
    assert_eq!(number(&front, &groups, tiny).await, 0, "an empty group has no row");
    for sql in [
        "select value_tier, count(*), avg(spend_30d) from customers group by value_tier",
        "select tier, sum(spend) from (select value_tier tier, spend_30d spend from customers) c \
         where spend > 0 group by tier",
        "select need, count(distinct source) from customer_needs group by need order by 2",
        "select * from value_need_matrix",
        "select * from segments",
    ] {
        ask(&front, &groups, sql).await.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_in_particular_is_shown() {
    let front = front(Limits::default()).await;
    let groups = Arc::new(Role { name: "groups".into(), min_group: Some(11), ..Role::default() });
    for sql in [
        "select * from customers",
        "select spend_30d from customers limit 1",
        "select distinct value_tier from customers",
        "select max(spend_30d) from customers",
        "select array_agg(customer_id) from customers",
        "select count(*) from customers where customer_id = 'C1'",
        "select count(*) from customers where customer_id in (select customer_id from features)",
        "select sum(case when txn_30d = 5 then spend_30d end) from customers",
        "select sum(spend_30d) filter (where txn_30d = 5) from customers",
        "select sum(x) from (select spend_30d * txn_30d as x from customers) c",
        "select count(*) from customers a join features b on a.customer_id < b.customer_id",
        "select count(*) from customers a left join features b on a.customer_id = b.customer_id",
        "select sum(spend_30d) over () from customers",
        "select m.id, m.v, count(*) from customers c cross join \
         (select customer_id id, sum(spend_365d) v from customers group by 1) m group by 1, 2",
        "select g.n, count(*) from customers c join (select value_tier t, count(*) n from customers \
         group by 1) g on c.value_tier = g.t group by 1",
        "select b.spend_365d, b.first_seen_on, count(*) from customers a cross join customers b \
         where a.txn_30d > 5 group by 1, 2",
        "explain analyze select count(*) from customers where spend_30d > 5",
        "select count(*) from (select * from customers order by spend_30d limit 1) c",
        "select 1 where exists (select 1 from customers where spend_30d > 5)",
        "select * from explain_customer('C1')",
        "select * from preview_rule('txn_30d > 5')",
    ] {
        match ask(&front, &groups, sql).await {
            Err(fault) => assert_eq!(fault.state, State::NotAllowed, "{sql}: {fault}"),
            Ok(shown) => panic!("{sql}: {shown}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_others_are_seen_by_operators_alone() {
    let front = front(Limits::default()).await;
    let role = |name: &str, operator| {
        Arc::new(Role { name: name.to_owned(), operator, ..Role::default() })
    };
    let (one, other) = (role("one", false), role("other", false));
    ask(&front, &one, "select count(*) from segments").await.unwrap();
    ask(&front, &other, "select nothing").await.unwrap_err();
    let ended = "select count(*) from ops.queries where state not in ('waiting', 'running')";
    assert_eq!(number(&front, &one, ended).await, 1);
    assert_eq!(number(&front, &other, ended).await, 1);
    // Both of those before, and the two that counted them.
    assert_eq!(number(&front, &role("on-call", true), ended).await, 4);
    let shown = ask(&front, &one, "select state, row_count, statement from ops.queries").await;
    let shown = shown.unwrap();
    assert!(shown.contains("answered | 1 "), "{shown}");
    assert!(!shown.contains("nothing"), "{shown}");
    let own = "select count(*) from pg_stat_activity where usename = 'other'";
    assert_eq!(number(&front, &one, own).await, 0);
    assert_eq!(number(&front, &other, own).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_reads_the_relations_that_it_was_given() {
    let front = front(Limits::default()).await;
    let relations = ["value_need_matrix", "segments", "ops.partitions"].map(str::to_owned);
    let relations = Some(relations.to_vec());
    let board = Arc::new(Role { name: "board".into(), relations, ..Role::default() });
    for sql in [
        "select count(*) from value_need_matrix",
        "select count(*) from cardlens.public.segments",
        "select count(*) from ops.partitions",
        "select count(*) from information_schema.tables where table_name = 'segments'",
    ] {
        assert!(number(&front, &board, sql).await > 0, "{sql}");
    }
    let told = "select count(*) from information_schema.columns where table_name = 'customers'";
    assert_eq!(number(&front, &board, told).await, 0);
    for sql in [
        "select count(*) from customers",
        "select count(*) from cardlens.public.customers",
        "select count(*) from segments s where exists (select 1 from features f)",
        "with c as (select * from customers) select count(*) from c",
        "explain select * from segment_flows",
        "select count(*) from ops.queries",
        "select * from explain_customer('C1')",
        "select * from customers_as_of(date '2026-02-10')",
        "select * from preview_rule('txn_30d > 5')",
    ] {
        let fault = ask(&front, &board, sql).await.err().unwrap_or_else(|| panic!("{sql}"));
        assert_eq!(fault.state, State::NotAllowed, "{sql}: {fault}");
    }
    // What is not there is told apart, and only what may be read is offered instead.
    for (role, name, hint) in [
        (&board, "segmnts", Some("did you mean segments?")),
        (&board, "custmers", None),
        (&everything(), "custmers", Some("did you mean customers?")),
        (&everything(), "public.partitions", Some("did you mean ops.partitions?")),
        (&everything(), "nothing", None),
    ] {
        let fault = ask(&front, role, &format!("select * from {name}")).await.unwrap_err();
        assert_eq!((fault.state, fault.hint.as_deref()), (State::NoTable, hint), "{name}: {fault}");
    }
}
