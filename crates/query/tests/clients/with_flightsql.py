"""ADBC's driver for Flight SQL: results, parameters, metadata, cancellation."""

import os
import threading
from datetime import date
from decimal import Decimal

import adbc_driver_flightsql.dbapi as adbc
import pyarrow

from checks import (
    CUSTOMERS, ENDLESS, NET, OPEN_DAY, check, gross, holds, last_at, name, net, refuses, txn_count,
)


def fetch(connection, query, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetch_arrow_table()


def results(connection):
    table = fetch(connection, "select customer_id, window_days, txn_count, gross, net, last_at "
                              "from customer_categories order by customer_id")
    check("rows", table.num_rows, CUSTOMERS)
    check("money has its type", table.schema.field("net").type, pyarrow.decimal128(18, 2))
    check("time has a zone", table.schema.field("last_at").type.tz, "+00:00")
    row = table.slice(7, 1).to_pylist()[0]
    check("a row", (row["customer_id"], row["txn_count"], row["gross"], row["net"]),
          (name(7), txn_count(7), gross(7), net(7)))
    holds("an instant", row["last_at"] == last_at(7), row)
    got = fetch(connection, "select sum(net) as net, count(*) as n from customer_categories")
    check("sums", got.to_pylist(), [{"net": NET, "n": CUSTOMERS}])
    got = fetch(connection, f"select needs, as_of from customers where customer_id = '{name(5)}'")
    check("an empty array and a date", got.to_pylist(), [{"needs": [], "as_of": OPEN_DAY}])
    check("a wide table", fetch(connection, "select * from features").num_rows, CUSTOMERS)
    got = fetch(connection, "select count(*), count(*) from customers")
    check("two columns of one name", got.schema.names, ["count", "count"])
    got = fetch(connection, "select customer_id from customers where false")
    check("no rows", (got.num_rows, got.schema.names), (0, ["customer_id"]))


def parameters(connection):
    got = fetch(connection, "select count(*) as n from customers where customer_id < $1", (name(10),))
    check("a text", got.to_pylist(), [{"n": 10}])
    got = fetch(connection, "select $1::bigint + 1 as n, $2::float8 * 2 as x, $3::date + 1 as d",
                (41, 0.25, date(2026, 2, 28)))
    check("values", got.to_pylist(), [{"n": 42, "x": 0.5, "d": date(2026, 3, 1)}])
    got = fetch(connection, "select count(*) as n from customer_categories where net = $1 and "
                            "customer_id = $2", (Decimal(net(4)), name(4)))
    check("money", got.to_pylist(), [{"n": 1}])
    with connection.cursor() as cursor:
        schema = cursor.adbc_prepare("select customer_id from customers where sequence = $1")
        check("types of parameters", [field.type for field in schema], [pyarrow.int64()])
        for least, expected in ((-1, CUSTOMERS), (1_000_000, 0)):
            cursor.execute("select count(*) as n from customers where sequence > $1", (least,))
            check(f"a statement with {least}", cursor.fetchone()[0], expected)
        schema = cursor.adbc_execute_schema("select customer_id, sequence from customers")
        check("types of columns", [(f.name, f.type) for f in schema],
              [("customer_id", pyarrow.string()), ("sequence", pyarrow.int64())])


def metadata(connection):
    info = connection.adbc_get_info()
    check("the vendor", info["vendor_name"], "cardlens")
    kinds = connection.adbc_get_table_types()
    check("types of tables", sorted(kinds), ["TABLE", "VIEW"])
    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    check("catalogues", [c["catalog_name"] for c in objects], ["cardlens"])
    schemas = {s["db_schema_name"]: s["db_schema_tables"] for s in objects[0]["catalog_db_schemas"]}
    check("schemas", sorted(schemas), ["ops", "public"])
    tables = {t["table_name"]: t for t in schemas["public"]}
    check("a table", tables["customers"]["table_type"], "TABLE")
    check("a view", tables["segment_flows"]["table_type"], "VIEW")
    columns = tables["customers"]["table_columns"]
    check("a column", (columns[0]["column_name"], columns[0]["ordinal_position"]), ("customer_id", 1))
    views = connection.adbc_get_objects(depth="tables", table_types_filter=["VIEW"]).read_all().to_pylist()
    names = [t["table_name"] for c in views for s in c["catalog_db_schemas"]
             for t in s["db_schema_tables"]]
    check("views only", sorted(names), ["segment_flows", "value_need_matrix"])
    schema = connection.adbc_get_table_schema("customer_categories")
    check("columns of a table", schema.names[:3], ["customer_id", "category", "window_days"])
    schema = connection.adbc_get_table_schema("partitions", db_schema_filter="ops")
    check("a column of ops", schema.field("position").type, pyarrow.int64())


def cancellation(connection):
    cursor = connection.cursor()

    def run():
        cursor.execute(ENDLESS)
        return cursor.fetchall()

    # It may come before the statement has begun.
    done = threading.Event()

    def cancel():
        while not done.wait(0.3):
            cursor.adbc_cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    error = refuses("what was cancelled", Exception, run)
    done.set()
    thread.join()
    holds("the reason of it", "cancel" in str(error).lower(), error)
    cursor.close()
    check("after cancellation", fetch(connection, "select 1 as n").to_pylist(), [{"n": 1}])


def faults(connection):
    for what, query, code in (
        ("to write", "create table a (b int)", "25006"),
        ("an unknown table", "select * from nobody", "42P01"),
        ("an unknown column", "select nothing from customers", "42703"),
    ):
        error = refuses(what, Exception, lambda: fetch(connection, query))
        holds(f"the code of it: {code}", f"[{code}]" in str(error), error)


uri = f"grpc://127.0.0.1:{os.environ['FLIGHT_PORT']}"
with adbc.connect(uri, autocommit=True) as connection:
    for part in (results, parameters, metadata, cancellation, faults):
        part(connection)
