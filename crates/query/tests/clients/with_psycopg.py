"""psycopg 3: text and binary results, prepared statements, cursors, COPY, pipelines, cancellation."""

import threading
from datetime import date, timedelta
from decimal import Decimal

import psycopg
from psycopg import errors

from checks import (
    CUSTOMERS, ENDLESS, NET, OPEN_DAY, check, gross, holds, last_at, name, net, refuses, txn_count,
)

CATEGORIES = """select customer_id, window_days, txn_count, gross, net, last_at
                from customer_categories where customer_id = %s"""


def row(customer):
    return (name(customer), 30, txn_count(customer), gross(customer), net(customer),
            last_at(customer))


def values(connection):
    expected = ("text", 7, 2**40, Decimal("-12.50"), 0.25, True, None, date(2026, 2, 16), ["a", "b"])
    query = """select 'text', 7::int, 1099511627776::bigint, -12.50::numeric(18, 2), 0.25::float8, true,
               null::text, date '2026-02-16', array['a', 'b']"""
    for binary in (False, True):
        form = "binary" if binary else "text"
        cursor = connection.cursor(binary=binary)
        check(f"values in {form}", cursor.execute(query).fetchone(), expected)
        check(f"a row in {form}", cursor.execute(CATEGORIES, [name(7)]).fetchone(), row(7))
        cursor.execute("select needs, as_of, value_tier_since from customers where customer_id = %s",
                       [name(5)])
        needs, as_of, since = cursor.fetchone()
        check(f"an empty array in {form}", needs, [])
        check(f"a date in {form}", as_of, OPEN_DAY)
        holds(f"another date in {form}", OPEN_DAY - timedelta(400) < since <= OPEN_DAY, since)
        cursor.execute("select score, needs from customer_needs n join customers using (customer_id) "
                       "where n.customer_id = %s", [name(7)])
        for score, needs in cursor:
            holds(f"a score in {form}", isinstance(score, float) and 0 <= score <= 1, score)
            holds(f"an array in {form}", needs and all(type(n) is str for n in needs), needs)
        cursor.execute("select sum(net), count(*), avg(txn_count) from customer_categories")
        total, count, mean = cursor.fetchone()
        check(f"a sum of money in {form}", total, NET)
        check(f"a count in {form}", count, CUSTOMERS)
        holds(f"a mean in {form}", 1 < float(mean) < 9, mean)


def columns(connection):
    cursor = connection.execute("select count(*), sum(net), 1, net as \"Net of it\" "
                                "from customer_categories group by net limit 1")
    check("names of columns", [c.name for c in cursor.description],
          ["count", "sum", "?column?", "Net of it"])
    described = cursor.description[3]
    check("precision of money", (described.precision, described.scale), (18, 2))


def parameters(connection):
    one = lambda query, *given: connection.execute(query, given).fetchone()[0]
    check("a text", one("select %s::text", "it's \\ \"so\""), "it's \\ \"so\"")
    check("a number", one("select %s::bigint + 1", 41), 42)
    check("a decimal", one("select %s::numeric(18, 2) * 2", Decimal("10.25")), Decimal("20.50"))
    check("a date", one("select %s::date + 1", date(2026, 2, 28)), date(2026, 3, 1))
    check("nothing", one("select %s::text is null", None), True)
    check("a truth", one("select not %s::bool", True), False)
    check("a list", one("select count(*) from customers where customer_id = any(%s)",
                        [name(1), name(2), "nobody"]), 2)
    check("an instant", one("select count(*) from customer_categories where last_at = %s and "
                            "customer_id = %s", last_at(3), name(3)), 1)
    check("money against money", one("select count(*) from customer_categories where net = %s and "
                                     "customer_id = %s", net(4), name(4)), 1)
    check("a like", one("select count(*) from customers where customer_id like %s", "C0000%"), 10)
    check("a limit", len(connection.execute("select 1 from customers limit %s", [3]).fetchall()), 3)


def prepared(connection):
    connection.prepare_threshold = 2
    for customer in range(8):
        got = connection.execute(CATEGORIES, [name(customer)], binary=customer % 2 == 0).fetchone()
        if got != row(customer):
            check(f"prepared, customer {customer}", got, row(customer))
    check("a statement after it was prepared", got, row(7))
    connection.execute("deallocate all")
    check("after DEALLOCATE ALL", connection.execute(CATEGORIES, [name(8)]).fetchone(), row(8))
    for customer in range(8):
        connection.execute(CATEGORIES, [name(customer)])
    connection.execute("discard all")
    check("after DISCARD ALL", connection.execute("select 1").fetchone(), (1,))
    with psycopg.connect(autocommit=True, prepare_threshold=0) as eager:
        check("prepared at once", eager.execute(CATEGORIES, [name(9)]).fetchone(), row(9))
        check("and once more", eager.execute(CATEGORIES, [name(9)]).fetchone(), row(9))


def cursors(connection):
    with connection.transaction():
        with connection.cursor("rows") as cursor:
            cursor.itersize = 300
            cursor.execute("select customer_id from customers where customer_id >= %s order by 1",
                           [name(0)])
            check("columns of a named cursor", cursor.description[0].name, "customer_id")
            check("the first of a named cursor", cursor.fetchone(), (name(0),))
            check("the next of a named cursor", cursor.fetchmany(2), [(name(1),), (name(2),)])
            check("the rest of a named cursor", [r[0] for r in cursor],
                  [name(customer) for customer in range(3, CUSTOMERS)])
    with connection.cursor("held", withhold=True) as cursor:
        cursor.execute("select customer_id from customers order by 1")
        check("a cursor without a transaction", len(cursor.fetchmany(10)), 10)
    cursor = connection.cursor()
    rows = sum(1 for _ in cursor.stream("select customer_id from customers"))
    check("rows one by one", rows, CUSTOMERS)


def copies(connection):
    query = "select customer_id, net, null, last_at from customer_categories order by 1 limit 2"
    cursor = connection.cursor()
    with cursor.copy(f"copy ({query}) to stdout (format csv, header)") as copy:
        lines = b"".join(bytes(block) for block in copy).decode().splitlines()
    holds("the head of CSV", lines[0].startswith("customer_id,net,"), lines)
    check("a line of CSV", lines[1].split(",")[:3], [name(0), str(net(0)), ""])
    with cursor.copy(f"copy ({query}) to stdout") as copy:
        rows = list(copy.rows())
    check("rows of COPY in text", [r[:3] for r in rows],
          [(name(n), str(net(n)), None) for n in range(2)])
    with cursor.copy(f"copy ({query}) to stdout (format binary)") as copy:
        copy.set_types(["text", "numeric", "text", "timestamptz"])
        rows = list(copy.rows())
    check("rows of COPY in binary", rows, [(name(n), net(n), None, last_at(n)) for n in range(2)])
    with cursor.copy("copy customers (customer_id) to stdout") as copy:
        check("a table by COPY", sum(1 for _ in copy.rows()), CUSTOMERS)


def transactions(connection):
    with psycopg.connect() as other:
        check("a transaction", other.execute("select 1").fetchone(), (1,))
        refuses("a fault inside of it", errors.UndefinedColumn,
                lambda: other.execute("select nothing"), "42703")
        refuses("what follows a fault", errors.InFailedSqlTransaction,
                lambda: other.execute("select 1"), "25P02")
        other.rollback()
        check("after ROLLBACK", other.execute("select 2").fetchone(), (2,))
        with other.transaction():
            check("a savepoint", other.execute("select 3").fetchone(), (3,))
    refuses("to write", errors.ReadOnlySqlTransaction,
            lambda: connection.execute("create table a (b int)"), "25006")
    refuses("to insert", errors.ReadOnlySqlTransaction,
            lambda: connection.execute("insert into customers values (%s)", ["C"]), "25006")
    refuses("an unknown table", errors.UndefinedTable,
            lambda: connection.execute("select * from nobody"), "42P01")
    refuses("an unknown function", errors.UndefinedFunction,
            lambda: connection.execute("select no_such(1)"), "42883")
    refuses("a bad number", errors.InvalidTextRepresentation,
            lambda: connection.execute("select 'x'::int"), "22P02")


def pipelines(connection):
    with connection.pipeline() as pipeline:
        first = connection.execute(CATEGORIES, [name(1)])
        second = connection.execute(CATEGORIES, [name(2)])
        pipeline.sync()
        check("a pipeline", [first.fetchone(), second.fetchone()], [row(1), row(2)])

    def broken():
        with connection.pipeline():
            connection.execute("select nothing")
            connection.execute("select 1")

    refuses("a fault in a pipeline", errors.UndefinedColumn, broken, "42703")
    check("after it", connection.execute("select 1").fetchone(), (1,))


def cancellation(connection):
    timer = threading.Timer(0.5, connection.cancel_safe)
    timer.start()
    refuses("what was cancelled", errors.QueryCanceled, lambda: connection.execute(ENDLESS), "57014")
    timer.join()
    check("after cancellation", connection.execute("select 1").fetchone(), (1,))
    connection.execute("set statement_timeout to '200ms'")
    refuses("what took too long", errors.QueryCanceled, lambda: connection.execute(ENDLESS), "57014")
    connection.execute("reset statement_timeout")


def types(connection):
    info = psycopg.types.TypeInfo.fetch(connection, "numeric")
    check("a type by its name", (info.name, info.oid, info.array_oid), ("numeric", 1700, 1231))
    check("no such type", psycopg.types.TypeInfo.fetch(connection, "hstore"), None)
    holds("the version", connection.info.server_version // 10_000 == 16)
    check("a setting of the connection", connection.info.parameter_status("TimeZone"), "UTC")


with psycopg.connect(autocommit=True) as connection:
    for part in (values, columns, parameters, prepared, cursors, copies, transactions, pipelines,
                 cancellation, types):
        part(connection)
