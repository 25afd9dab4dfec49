"""Runs w1.sql on one thread: from a file of transactions to a file of changes."""

import sys
from pathlib import Path

import duckdb

INPUT, OUTPUT = sys.argv[1:]

database = duckdb.connect(config={"threads": 1})
database.execute("SET VARIABLE input = ?", [INPUT])
database.execute("SET VARIABLE output = ?", [OUTPUT])
database.execute(Path(__file__).with_name("w1.sql").read_text())
