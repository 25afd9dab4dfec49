"""SQLAlchemy 2, as Superset and notebooks use it: reflection, queries, frames of pandas."""

import os
from datetime import datetime, timezone
from decimal import Decimal

import pandas
import sqlalchemy
from sqlalchemy import MetaData, create_engine, func, inspect, select, text
from sqlalchemy.dialects import postgresql

from checks import CUSTOMERS, NET, OPEN_DAY, check, gross, holds, last_at, name, net

TABLES = ["customer_categories", "customer_needs", "customers", "feature_catalog", "features",
          "merchant_categories", "rules", "segment_changes", "segments"]
VIEWS = ["segment_flows", "value_need_matrix"]


def reflection(engine, driver):
    inspector = inspect(engine)
    check(f"{driver}: the default schema", inspector.default_schema_name, "public")
    schemas = inspector.get_schema_names()
    holds(f"{driver}: schemas", {"public", "ops"} <= set(schemas), schemas)
    check(f"{driver}: tables", sorted(inspector.get_table_names()), TABLES)
    check(f"{driver}: tables of ops", sorted(inspector.get_table_names(schema="ops")),
          ["dead_letters", "decisions", "instances", "partitions", "queries", "rejected",
           "settings", "snapshots"])
    check(f"{driver}: views", sorted(inspector.get_view_names()), VIEWS)
    check(f"{driver}: materialized views", inspector.get_materialized_view_names(), [])
    holds(f"{driver}: a table there is", inspector.has_table("customers"))
    holds(f"{driver}: a table there is not", not inspector.has_table("nobody"))
    columns = {column["name"]: column for column in inspector.get_columns("customers")}
    expected = {
        "customer_id": postgresql.TEXT, "value_tier_since": postgresql.DATE,
        "needs": postgresql.ARRAY, "margin_365d": postgresql.NUMERIC,
        "last_txn_at": postgresql.TIMESTAMP, "sequence": postgresql.BIGINT,
        "partition": postgresql.INTEGER,
    }
    for column, kind in expected.items():
        got = columns[column]["type"]
        holds(f"{driver}: type of {column}", isinstance(got, kind), got)
    money = columns["margin_365d"]["type"]
    check(f"{driver}: precision of money", (money.precision, money.scale), (18, 2))
    holds(f"{driver}: time has a zone", columns["last_txn_at"]["type"].timezone)
    holds(f"{driver}: texts in an array", isinstance(columns["needs"]["type"].item_type,
                                                     postgresql.TEXT))
    holds(f"{driver}: NOT NULL", not columns["customer_id"]["nullable"], columns["customer_id"])
    check(f"{driver}: comment of a column", columns["customer_id"]["comment"], "The customer.")
    comment = inspector.get_table_comment("customers")["text"]
    holds(f"{driver}: comment of a table", comment.startswith("One row a customer"), comment)
    check(f"{driver}: primary key", inspector.get_pk_constraint("customers")["constrained_columns"], [])
    check(f"{driver}: foreign keys", inspector.get_foreign_keys("customers"), [])
    check(f"{driver}: indexes", inspector.get_indexes("customers"), [])
    check(f"{driver}: unique constraints", inspector.get_unique_constraints("customers"), [])
    check(f"{driver}: checks", inspector.get_check_constraints("customers"), [])
    check(f"{driver}: enums", inspector.get_enums(), [])
    check(f"{driver}: sequences", inspector.get_sequence_names(), [])
    view = {column["name"] for column in inspector.get_columns("value_need_matrix")}
    holds(f"{driver}: columns of a view", {"value_tier", "need", "customers"} <= view, view)


def metadata(engine, driver):
    known = MetaData()
    known.reflect(engine, views=True)
    check(f"{driver}: all reflected", sorted(known.tables), sorted(TABLES + VIEWS))
    ops = MetaData(schema="ops")
    ops.reflect(engine)
    check(f"{driver}: all of ops", sorted(ops.tables),
          ["ops.dead_letters", "ops.decisions", "ops.instances", "ops.partitions", "ops.queries",
           "ops.rejected", "ops.settings", "ops.snapshots"])
    return known


def queries(engine, driver, known):
    categories = known.tables["customer_categories"]
    customers = known.tables["customers"]
    with engine.connect() as connection:
        total = select(func.sum(categories.c.net), func.count())
        total = total.select_from(categories)
        check(f"{driver}: a sum", tuple(connection.execute(total).one()), (NET, CUSTOMERS))
        one = select(categories.c.gross, categories.c.net, categories.c.last_at)
        one = one.where(categories.c.customer_id == name(7))
        check(f"{driver}: a row", tuple(connection.execute(one).one()), (gross(7), net(7), last_at(7)))
        some = select(customers.c.customer_id).where(customers.c.customer_id.in_([name(1), name(2)]))
        some = some.order_by(customers.c.customer_id)
        check(f"{driver}: IN", connection.scalars(some).all(), [name(1), name(2)])
        page = select(customers.c.customer_id).order_by(customers.c.customer_id).limit(2).offset(3)
        check(f"{driver}: a page", connection.scalars(page).all(), [name(3), name(4)])
        month = func.date_trunc("month", categories.c.last_at)
        months = select(month, func.count()).group_by(month).order_by(month)
        got = connection.execute(months).all()
        check(f"{driver}: by month", got[0][0], datetime(2026, 2, 1, tzinfo=timezone.utc))
        check(f"{driver}: all months", sum(count for _, count in got), CUSTOMERS)
        joined = select(func.count()).select_from(customers.join(
            categories, customers.c.customer_id == categories.c.customer_id))
        check(f"{driver}: a join", connection.scalar(joined), CUSTOMERS)
        rows = connection.execution_options(stream_results=True, max_row_buffer=100)
        streamed = rows.execute(text("select customer_id from customers"))
        check(f"{driver}: streamed", sum(1 for _ in streamed), CUSTOMERS)


def frames(engine, driver):
    query = "select customer_id, as_of, spend_30d, txn_30d, last_txn_at from customers order by 1"
    frame = pandas.read_sql(query, engine)
    check(f"{driver}: shape of a frame", frame.shape, (CUSTOMERS, 5))
    check(f"{driver}: a date of it", frame["as_of"][0], OPEN_DAY)
    holds(f"{driver}: money of it", frame["spend_30d"].dtype == "float64", frame.dtypes)
    holds(f"{driver}: numbers of it", frame["txn_30d"].dtype == "int64", frame.dtypes)
    holds(f"{driver}: times of it", str(frame["last_txn_at"].dtype).endswith("UTC]"), frame.dtypes)
    exact = pandas.read_sql(query, engine, coerce_float=False)
    check(f"{driver}: exact money", type(exact["spend_30d"][0]), Decimal)
    given = pandas.read_sql(text("select count(*) as n from customers where customer_id < :last"),
                            engine, params={"last": name(10)})
    check(f"{driver}: with a parameter", int(given["n"][0]), 10)
    table = pandas.read_sql_table("segments", engine)
    holds(f"{driver}: a whole table", {"axis", "segment", "bundle"} <= set(table.columns), table.columns)
    parts = pandas.read_sql(query, engine, chunksize=300)
    check(f"{driver}: in parts", [len(part) for part in parts], [300, 300, 300, 100])


for driver in ("psycopg", "psycopg2"):
    url = f"postgresql+{driver}://somebody@127.0.0.1:{os.environ['PGPORT']}/cardlens"
    engine = create_engine(url)
    reflection(engine, driver)
    queries(engine, driver, metadata(engine, driver))
    frames(engine, driver)
    engine.dispose()
print(f"SQLAlchemy {sqlalchemy.__version__}, pandas {pandas.__version__}")
