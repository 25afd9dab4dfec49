"""polars and connectorx: whole results as frames, by every way that they read."""

import os
from decimal import Decimal

import connectorx
import polars

from checks import CUSTOMERS, NET, OPEN_DAY, check, holds, last_at, name, net, txn_count

URI = f"postgresql://somebody@127.0.0.1:{os.environ['PGPORT']}/cardlens"
QUERY = """select customer_id, window_days, txn_count, last_at, net, gross::float8 as gross
           from customer_categories order by customer_id"""


def frames(engine):
    frame = polars.read_database_uri(QUERY, URI, engine=engine)
    check(f"{engine}: rows", frame.shape, (CUSTOMERS, 6))
    row = frame.row(7, named=True)
    check(f"{engine}: a text", row["customer_id"], name(7))
    check(f"{engine}: an integer", row["txn_count"], txn_count(7))
    check(f"{engine}: an instant", row["last_at"], last_at(7))
    holds(f"{engine}: money", abs(Decimal(str(row["net"])) - net(7)) < Decimal("0.001"), row)
    frame = polars.read_database_uri("select as_of, value_tier, null::bigint as none, true as yes "
                                     "from customers", URI, engine=engine)
    holds(f"{engine}: a date", set(frame["as_of"]) == {OPEN_DAY}, frame.head())
    check(f"{engine}: nothing", frame["none"].null_count(), CUSTOMERS)
    check(f"{engine}: a truth", frame["yes"].all(), True)
    frame = polars.read_database_uri("select sum(net)::float8 as net, count(*) as n "
                                     "from customer_categories", URI, engine=engine)
    holds(f"{engine}: sums", frame.row(0) == (float(NET), CUSTOMERS), frame)
    frame = polars.read_database_uri("select customer_id from customers where false", URI,
                                     engine=engine)
    check(f"{engine}: no rows", frame.shape, (0, 1))
    frame = polars.read_database_uri("select needs from customers order by customer_id", URI,
                                     engine=engine)
    check(f"{engine}: an empty array", list(frame["needs"][5]), [])


def protocols(protocol):
    frame = connectorx.read_sql(URI, QUERY, protocol=protocol, return_type="polars")
    check(f"connectorx by {protocol}: rows", frame.shape, (CUSTOMERS, 6))
    check(f"connectorx by {protocol}: an instant", frame.row(7, named=True)["last_at"], last_at(7))
    money = Decimal(str(frame.row(7, named=True)["net"]))
    holds(f"connectorx by {protocol}: money", abs(money - net(7)) < Decimal("0.001"), money)


for engine in ("connectorx", "adbc"):
    frames(engine)
for protocol in ("binary", "csv", "cursor", "simple"):
    protocols(protocol)
frame = connectorx.read_sql(URI, "select sequence, customer_id from customers",
                            partition_on="sequence", partition_num=3, return_type="arrow")
check("connectorx in parts", frame.num_rows, CUSTOMERS)
