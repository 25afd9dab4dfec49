"""What the scripts of this folder share: telling what was checked, and ending at the first wrong
answer; and the customers, in memory or of an engine that has read their records, worked out once more
from their rule."""

import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

CUSTOMERS = 1_000
PARTITIONS = 4
OPEN_DAY = date(1970, 1, 1) + timedelta(days=20_500)
OPEN_AT = datetime.combine(OPEN_DAY, datetime.min.time(), timezone.utc)
# More rows than a statement reads in any test, by a query that needs no memory.
ENDLESS = "select count(*) from generate_series(1, 100000000000)"
CROSS_JOIN = ("select count(*) from customers a, customers b, customers c "
              "where a.customer_id < b.customer_id")


def check(what, got, expected):
    """Ends the script unless the answer is the right one, type and all."""
    if got != expected or type(got) is not type(expected):
        sys.exit(f"{what}:\n  expected {expected!r}\n  got      {got!r}")
    print(f"ok: {what}", flush=True)


def holds(what, condition, detail=""):
    """Ends the script unless something is so."""
    if not condition:
        sys.exit(f"{what}: not so: {detail!r}")
    print(f"ok: {what}", flush=True)


def refuses(what, error, call, code=None):
    """Ends the script unless a call fails in the way that it should; returns the error."""
    try:
        got = call()
    except error as caught:
        state = getattr(caught, "sqlstate", None) or getattr(caught, "pgcode", None)
        if code is not None and state != code:
            sys.exit(f"{what}: expected {code}, got {state!r}: {caught}")
        print(f"ok: {what}", flush=True)
        return caught
    sys.exit(f"{what}: expected {error}, got {got!r}")


def chance(customer, salt):
    return (customer * 7_919 + salt * 104_729 + 12_345) * 2_654_435_761 % 1_000


def name(customer):
    return f"C{customer:05}"


def gross(customer):
    """`gross` of customer_categories."""
    return Decimal(chance(customer, 5)).quantize(Decimal("0.01"))


def net(customer):
    """`net` of customer_categories."""
    return gross(customer) - Decimal(chance(customer, 6)) / 100


def last_at(customer):
    """`last_at` of customer_categories."""
    return OPEN_AT - timedelta(minutes=chance(customer, 7))


def txn_count(customer):
    """`txn_count` of customer_categories."""
    return 1 + chance(customer, 4) % 9


GROSS = sum((gross(customer) for customer in range(CUSTOMERS)), Decimal("0.00"))
NET = sum((net(customer) for customer in range(CUSTOMERS)), Decimal("0.00"))
