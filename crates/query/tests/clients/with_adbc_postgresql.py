"""ADBC's driver for PostgreSQL: results by COPY and without it, parameters, metadata."""

import os
from decimal import Decimal

import adbc_driver_postgresql.dbapi as adbc
import pyarrow
from adbc_driver_postgresql import StatementOptions

from checks import CUSTOMERS, NET, OPEN_DAY, check, holds, last_at, name, net, refuses, txn_count

USE_COPY = StatementOptions.USE_COPY.value
QUERY = """select customer_id, window_days, txn_count, last_at, net::float8 as net
           from customer_categories order by customer_id"""


def fetch(connection, query, parameters=None, **options):
    with connection.cursor(adbc_stmt_kwargs=options) as cursor:
        cursor.execute(query, parameters)
        return cursor.fetch_arrow_table()


def results(connection, way, **options):
    table = fetch(connection, QUERY, **options)
    check(f"{way}: rows", table.num_rows, CUSTOMERS)
    kinds = {field.name: field.type for field in table.schema}
    check(f"{way}: an integer", kinds["txn_count"], pyarrow.int64())
    holds(f"{way}: an instant", pyarrow.types.is_timestamp(kinds["last_at"]) and
          kinds["last_at"].tz == "UTC", kinds)
    check(f"{way}: a row", table.slice(7, 1).to_pylist()[0], {
        "customer_id": name(7), "window_days": 30, "txn_count": txn_count(7), "last_at": last_at(7),
        "net": float(net(7)),
    })
    # The driver hands decimals on as their text.
    sums = fetch(connection, "select sum(net) as net, count(*) as n from customer_categories", **options)
    sums = sums.to_pylist()[0]
    check(f"{way}: a sum of money", (Decimal(sums["net"]), sums["n"]), (NET, CUSTOMERS))
    lists = fetch(connection, "select needs, as_of, null::bigint as none, true as yes from customers "
                              f"where customer_id = '{name(5)}'", **options)
    check(f"{way}: an array, a date, nothing, a truth", lists.to_pylist()[0],
          {"needs": [], "as_of": OPEN_DAY, "none": None, "yes": True})
    many = fetch(connection, "select * from features", **options)
    check(f"{way}: a wide table", many.num_rows, CUSTOMERS)
    none = fetch(connection, "select customer_id from customers where false", **options)
    check(f"{way}: no rows", (none.num_rows, none.schema.names), (0, ["customer_id"]))


def parameters(connection):
    got = fetch(connection, "select count(*) as n from customers where customer_id < $1", (name(10),))
    check("a text", got.to_pylist(), [{"n": 10}])
    got = fetch(connection, "select $1::bigint + 1 as n, $2::float8 * 2 as x", (41, 0.25))
    check("numbers", got.to_pylist(), [{"n": 42, "x": 0.5}])
    with connection.cursor() as cursor:
        schema = cursor.adbc_prepare("select customer_id from customers where sequence = $1")
        check("types of parameters", [field.type for field in schema], [pyarrow.int64()])
        schema = cursor.adbc_execute_schema("select customer_id, sequence from customers")
        check("types of columns", [(f.name, f.type) for f in schema],
              [("customer_id", pyarrow.string()), ("sequence", pyarrow.int64())])


def metadata(connection):
    check("the catalogue", connection.adbc_current_catalog, "cardlens")
    check("the schema", connection.adbc_current_db_schema, "public")
    info = connection.adbc_get_info()
    check("the vendor", info["vendor_name"], "PostgreSQL")
    holds("the version", info["vendor_version"].startswith("160006"), info["vendor_version"])
    kinds = connection.adbc_get_table_types()
    holds("types of tables", {"table", "view"} <= set(kinds), kinds)
    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    ours = next(c for c in objects if c["catalog_name"] == "cardlens")
    schemas = {s["db_schema_name"]: s["db_schema_tables"] for s in ours["catalog_db_schemas"]}
    holds("schemas", {"public", "ops"} <= set(schemas), list(schemas))
    tables = {t["table_name"]: t for t in schemas["public"]}
    check("a table", tables["customers"]["table_type"], "table")
    check("a view", tables["segment_flows"]["table_type"], "view")
    columns = sorted(tables["customers"]["table_columns"], key=lambda it: it["ordinal_position"])
    check("a column", (columns[0]["column_name"], columns[0]["ordinal_position"]), ("customer_id", 1))
    check("its comment", columns[0]["remarks"], "The customer.")
    check("constraints", tables["customers"]["table_constraints"], [])
    objects = connection.adbc_get_objects(depth="tables", db_schema_filter="ops")
    ops = objects.read_all().to_pylist()
    names = [t["table_name"] for c in ops for s in c["catalog_db_schemas"]
             for t in s["db_schema_tables"] or []]
    check("tables of ops", sorted(names),
          ["dead_letters", "decisions", "instances", "partitions", "queries", "rejected",
           "settings", "snapshots"])
    schema = connection.adbc_get_table_schema("customer_categories")
    holds("columns of a table", schema.names[:3] == ["customer_id", "category", "window_days"], schema)
    schema = connection.adbc_get_table_schema("partitions", db_schema_filter="ops")
    check("a column of ops", schema.field("position").type, pyarrow.int64())


uri = f"postgresql://somebody@127.0.0.1:{os.environ['PGPORT']}/cardlens"
with adbc.connect(uri, autocommit=True) as connection:
    results(connection, "by COPY")
    results(connection, "without COPY", **{USE_COPY: "false"})
    parameters(connection)
    metadata(connection)
    refuses("to write", Exception, lambda: fetch(connection, "create table a (b int)"), "25006")
    check("after a refusal", fetch(connection, "select 1 as n").to_pylist(), [{"n": 1}])
with adbc.connect(uri) as connection:
    check("inside a transaction", fetch(connection, "select 1 as n").to_pylist(), [{"n": 1}])
    connection.commit()
