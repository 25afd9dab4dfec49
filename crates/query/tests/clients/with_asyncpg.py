"""asyncpg: parameters, arrays, decimals, its own introspection of types, cursors, pools."""

import asyncio
import os
from datetime import date, timedelta
from decimal import Decimal

import asyncpg

from checks import (
    CUSTOMERS, ENDLESS, NET, OPEN_DAY, check, gross, holds, last_at, name, net, txn_count,
)


async def refuses(what, error, call):
    try:
        got = await call
    except error as caught:
        print(f"ok: {what}", flush=True)
        return caught
    raise SystemExit(f"{what}: expected {error}, got {got!r}")


async def values(connection):
    got = await connection.fetchrow(
        "select customer_id, window_days, txn_count, gross, net, last_at from customer_categories "
        "where customer_id = $1", name(7))
    check("a row", tuple(got), (name(7), 30, txn_count(7), gross(7), net(7), last_at(7)))
    got = await connection.fetchrow("select customer_id, needs, as_of from customers "
                                    "where customer_id = $1", name(5))
    check("an empty array", dict(got), {"customer_id": name(5), "needs": [], "as_of": OPEN_DAY})
    check("a sum of money", await connection.fetchval("select sum(net) from customer_categories"), NET)
    got = await connection.fetchrow("select true, null::text, 0.25::float8, 1::int, 2::smallint, "
                                    "array[1, 2]::int[], array['a', null]")
    check("values", tuple(got), (True, None, 0.25, 1, 2, [1, 2], ["a", None]))


async def parameters(connection):
    one = connection.fetchval
    check("a decimal", await one("select $1::numeric(18, 2) * 2", Decimal("10.25")), Decimal("20.50"))
    check("texts", await one("select count(*) from customers where customer_id = any($1::text[])",
                             [name(1), name(2), "nobody"]), 2)
    check("numbers", await one("select count(*) from customer_categories where txn_count = "
                               "any($1::bigint[]) and customer_id = $2", [txn_count(3)], name(3)), 1)
    check("a date", await one("select $1::date + 1", date(2026, 2, 28)), date(2026, 3, 1))
    check("an instant", await one("select count(*) from customer_categories where last_at = $1 "
                                  "and customer_id = $2", last_at(3), name(3)), 1)
    check("an instant before", await one("select count(*) from customer_categories where "
                                         "last_at < $1", last_at(3) - timedelta(days=9)), 0)
    check("money", await one("select count(*) from customer_categories where net = $1 and "
                             "customer_id = $2", net(4), name(4)), 1)
    check("nothing", await one("select $1::text is null", None), True)
    check("a truth", await one("select not $1::bool", True), False)
    check("a float", await one("select $1::float8 / 2", 0.5), 0.25)


async def statements(connection):
    statement = await connection.prepare("select customer_id, net from customer_categories "
                                         "where net > $1 order by net, customer_id limit 3")
    check("types of columns", [(c.name, c.type.name) for c in statement.get_attributes()],
          [("customer_id", "text"), ("net", "numeric")])
    check("types of parameters", [p.name for p in statement.get_parameters()], ["numeric"])
    for least in (0, 100, 900):
        got = await statement.fetch(Decimal(least))
        ordered = sorted((net(n), name(n)) for n in range(CUSTOMERS) if net(n) > least)[:3]
        check(f"a statement with {least}", [(r["net"], r["customer_id"]) for r in got], ordered)
    await connection.execute("select 1; select 2")
    holds("two statements", True)


async def cursors(connection):
    async with connection.transaction(readonly=True):
        seen = [r[0] async for r in connection.cursor(
            "select customer_id from customers where customer_id >= $1 order by 1", name(0),
            prefetch=64)]
        check("rows of a cursor", seen, [name(n) for n in range(CUSTOMERS)])
        cursor = await connection.cursor("select customer_id from customers order by 1")
        check("some rows", [r[0] for r in await cursor.fetch(2)], [name(0), name(1)])
        await cursor.forward(3)
        check("rows after a few", (await cursor.fetchrow())[0], name(5))
        async with connection.transaction():
            check("a savepoint", await connection.fetchval("select 1"), 1)


async def copies(connection, folder="/dev/null"):
    blocks = []

    async def keep(block):
        blocks.append(block)

    await connection.copy_from_query(
        "select customer_id, net from customer_categories order by 1", output=keep, format="csv")
    lines = b"".join(blocks).decode().splitlines()
    check("a line of COPY", lines[7], f"{name(7)},{net(7)}")
    blocks.clear()
    await connection.copy_from_table("customers", columns=["customer_id"], output=keep)
    check("a table by COPY", len(b"".join(blocks).splitlines()), CUSTOMERS)


async def faults(connection):
    await refuses("to write", asyncpg.ReadOnlySQLTransactionError,
                  connection.execute("create table a (b int)"))
    await refuses("an unknown table", asyncpg.UndefinedTableError,
                  connection.fetch("select * from nobody"))
    await refuses("what took too long", asyncio.TimeoutError, connection.fetch(ENDLESS, timeout=0.5))
    check("after cancellation", await connection.fetchval("select 1"), 1)
    await connection.execute("set statement_timeout = 300")
    await refuses("a timeout of the server", asyncpg.QueryCanceledError, connection.fetch(ENDLESS))
    await connection.reset()
    check("after a reset", await connection.fetchval("show statement_timeout"), "0")


async def pools():
    async with asyncpg.create_pool(min_size=2, max_size=4) as pool:
        async def one(customer):
            return await pool.fetchval("select net from customer_categories where customer_id = $1",
                                       name(customer))
        got = await asyncio.gather(*(one(customer) for customer in range(40)))
        check("a pool", got, [net(customer) for customer in range(40)])


async def main():
    port = int(os.environ["PGPORT"])
    connection = await asyncpg.connect(host="127.0.0.1", port=port, user="somebody",
                                       database="cardlens",
                                       server_settings={"application_name": "a notebook"})
    check("a setting given at the start", await connection.fetchval("show application_name"),
          "a notebook")
    for part in (values, parameters, statements, cursors, copies, faults):
        await part(connection)
    await connection.close()
    await pools()


asyncio.run(main())
