"""ADBC's driver for Flight SQL, over TLS: a name and a password once, a token afterwards."""

import os
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
from adbc_driver_flightsql import DatabaseOptions

from checks import CUSTOMERS, check, holds, refuses

URI = f"grpc+tls://localhost:{os.environ['FLIGHT_PORT']}"
ROOTS = {DatabaseOptions.TLS_ROOT_CERTS.value: Path(os.environ["AUTHORITY"]).read_text()}


def count(name, password, roots=None):
    login = {"username": name, "password": password} if name else {}
    with adbc.connect(URI, db_kwargs={**(ROOTS if roots is None else roots), **login},
                      autocommit=True) as connection:
        with connection.cursor() as cursor:
            counts = []
            # The first logs in, those after it show their token.
            for _ in range(3):
                cursor.execute("select count(*) from customers")
                counts.append(cursor.fetchone()[0])
        return counts


check("a password, then tokens", count("analyst", "s3cret"), [CUSTOMERS] * 3)
wrong = refuses("a wrong password", Exception, lambda: count("analyst", "wrong"))
unknown = refuses("an unknown name", Exception, lambda: count("nobody", "wrong"))
holds("both in the same words", str(wrong) == str(unknown), (wrong, unknown))
error = refuses("no password", Exception, lambda: count(None, None))
holds("and is told to log in", "log in" in str(error), error)
refuses("an authority that is not known", Exception, lambda: count("analyst", "s3cret", {}))
plain = URI.replace("grpc+tls", "grpc")
refuses("without encryption", Exception, lambda: adbc.connect(
    plain, db_kwargs={"username": "analyst", "password": "s3cret"}, autocommit=True
).cursor().execute("select 1"))
