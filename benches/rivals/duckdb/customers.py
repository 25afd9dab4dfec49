"""Answers statements over customers that were exported, a line of JSON each in and out.

`{"over": "arrow", "threads": 1, "sql": "..."}` is answered with what it cost and its rows as text;
`over` is `arrow`, the files read into memory before anything is measured, or `parquet`.
"""

import json
import sys
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow
from pyarrow import ipc

FOLDER = Path(sys.argv[1])
RELATIONS = ("customers", "features")
# Rows of a piece: what DuckDB hands to a thread at a time.
ROWS = 122_880


def held(relation):
    """All rows of an Arrow file, in memory, in pieces that DuckDB likes best."""
    rows = ipc.open_file((FOLDER / f"{relation}.arrow").read_bytes()).read_all().combine_chunks()
    return pyarrow.Table.from_batches(rows.to_batches(max_chunksize=ROWS))


def cell(value):
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return repr(value)
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


databases = {"arrow": duckdb.connect(), "parquet": duckdb.connect()}
for relation in RELATIONS:
    databases["arrow"].register(relation, held(relation))
    file = (FOLDER / f"{relation}.parquet").as_posix().replace("'", "''")
    databases["parquet"].execute(f"CREATE VIEW {relation} AS FROM read_parquet('{file}')")

# Ready, with how many rows there are.
counted = databases["arrow"].execute("SELECT count(*) FROM customers").fetchall()
print(json.dumps(counted[0][0]), flush=True)

for line in sys.stdin:
    question = json.loads(line)
    database = databases[question["over"]]
    database.execute(f"SET threads TO {int(question['threads'])}")
    wall, cpu = time.perf_counter(), time.process_time()
    rows = database.execute(question["sql"]).fetchall()
    cost = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    rows = [[cell(value) for value in row] for row in rows]
    print(json.dumps({"cost": cost, "rows": rows}), flush=True)
