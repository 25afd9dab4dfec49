"""psycopg2: values, cancellation from a second thread, statement_timeout on a cross join."""

import io
import threading
from datetime import date
from decimal import Decimal

import psycopg2
from psycopg2 import errors, extensions, extras

from checks import (
    CROSS_JOIN, CUSTOMERS, ENDLESS, check, gross, holds, last_at, name, net, refuses, txn_count,
)


def run(connection, query, given=None):
    with connection.cursor() as cursor:
        cursor.execute(query, given)
        return cursor.fetchall()


def values(connection):
    got = run(connection, "select customer_id, window_days, txn_count, gross, net, last_at from "
                          "customer_categories where customer_id = %s", [name(7)])
    check("a row", got, [(name(7), 30, txn_count(7), gross(7), net(7), last_at(7))])
    got = run(connection, "select true, null, 0.25::float8, date '2026-02-16', array['a', 'b'], "
                          "%s::numeric(18, 2)", [Decimal("1.50")])
    check("values", got, [(True, None, 0.25, date(2026, 2, 16), ["a", "b"], Decimal("1.50"))])
    got = run(connection, "select count(*) from customers where customer_id in %s",
              [(name(1), name(2))])
    check("a tuple", got, [(2,)])
    got = run(connection, "select count(*) from customers where customer_id = any(%s)",
              [[name(1), name(2)]])
    check("a list", got, [(2,)])
    with connection.cursor(cursor_factory=extras.RealDictCursor) as cursor:
        cursor.execute("select count(*), max(customer_id) as last from customers")
        check("rows by name", dict(cursor.fetchone()), {"count": CUSTOMERS, "last": name(999)})
    with connection.cursor() as cursor:
        check("many statements", cursor.mogrify("%s", ["it's"]), b"'it''s'")
        cursor.execute("select 1; select 2")
        check("the last of two statements", cursor.fetchall(), [(2,)])


def cursors(connection):
    connection.autocommit = False
    with connection.cursor("rows") as cursor:
        cursor.itersize = 300
        cursor.execute("select customer_id from customers order by 1")
        check("some of a named cursor", cursor.fetchmany(2), [(name(0),), (name(1),)])
        check("the rest of a named cursor", sum(1 for _ in cursor), CUSTOMERS - 2)
    connection.rollback()
    connection.autocommit = True
    lines = io.StringIO()
    with connection.cursor() as cursor:
        query = "copy (select customer_id, net from customer_categories order by 1) to stdout csv"
        cursor.copy_expert(query, lines)
    check("a line of COPY", lines.getvalue().splitlines()[7], f"{name(7)},{net(7)}")


def cancellation(connection):
    timer = threading.Timer(0.5, connection.cancel)
    timer.start()
    refuses("what a second thread cancelled", errors.QueryCanceled,
            lambda: run(connection, ENDLESS), "57014")
    timer.join()
    check("after cancellation", run(connection, "select 1"), [(1,)])
    run(connection, "set statement_timeout to 300; select 1")
    refuses("a cross join that took too long", errors.QueryCanceled,
            lambda: run(connection, CROSS_JOIN), "57014")
    run(connection, "set statement_timeout to default; select 1")
    check("after the timeout", run(connection, "select 1"), [(1,)])


def others_go_on():
    """While one connection joins everything with everything, another is answered."""
    busy, other = connect(), connect()
    failed = []

    def join():
        try:
            run(busy, CROSS_JOIN)
        except errors.QueryCanceled:
            failed.append(True)

    thread = threading.Thread(target=join)
    thread.start()
    for _ in range(20):
        got = run(other, "select count(*) from customers")
        if got != [(CUSTOMERS,)]:
            check("a connection beside a cross join", got, [(CUSTOMERS,)])
    holds("a connection beside a cross join is answered", True)
    while thread.is_alive():
        busy.cancel()
        thread.join(0.2)
    check("and the cross join was cancelled", failed, [True])
    busy.close()
    other.close()


def transactions(connection):
    refuses("to write", errors.ReadOnlySqlTransaction,
            lambda: run(connection, "drop table customers"), "25006")
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True, autocommit=False)
    check("a serializable transaction", run(connection, "select 1"), [(1,)])
    connection.commit()
    refuses("a fault in a transaction", errors.UndefinedTable,
            lambda: run(connection, "select 1 from nobody"), "42P01")
    check("its status", connection.get_transaction_status(), extensions.TRANSACTION_STATUS_INERROR)
    connection.rollback()
    check("its status after ROLLBACK", connection.get_transaction_status(),
          extensions.TRANSACTION_STATUS_IDLE)
    connection.set_session(isolation_level="DEFAULT", readonly=None, autocommit=True)
    connection.reset()


def connect():
    connection = psycopg2.connect("")
    connection.autocommit = True
    return connection


connection = connect()
for part in (values, cursors, cancellation, transactions):
    part(connection)
connection.close()
others_go_on()
