-- W1 in SQL, point in time: what held right after each transaction, then where that changed.
--
-- Only the sums and counts that the rule asks for. A window of n days ends on and includes the
-- transaction's day, so it reaches back from its moment to the beginning of the day n - 1 before.
CREATE TEMP MACRO reach(ms, days) AS ms % 86400000 + (days - 1) * 86400000::BIGINT;

COPY (
    WITH transactions AS (
        SELECT
            customer,
            epoch_ms(CAST("time" AS TIMESTAMP)) AS ms,
            CASE kind WHEN 'refund' THEN -amount_minor ELSE amount_minor END AS amount,
            mcc
        FROM read_json(
            getvariable('input'),
            format = 'newline_delimited',
            columns = {
                customer: 'VARCHAR',
                "time": 'VARCHAR',
                kind: 'VARCHAR',
                amount_minor: 'BIGINT',
                mcc: 'VARCHAR'
            }
        )
    ),
    windows AS (
        SELECT
            customer,
            ms,
            count(*) OVER week AS n7,
            sum(amount) OVER week AS t7,
            count(*) OVER month AS n30,
            sum(amount) OVER month AS t30,
            count(*) OVER quarter AS n90,
            sum(amount) OVER quarter AS t90,
            sum(amount) OVER year AS t365,
            -- Flights and lodging; groceries, home, education and childcare; dining and
            -- entertainment; online retail, fashion and electronics; fuel and transit.
            sum(amount) FILTER (mcc IN ('4511', '7011')) OVER quarter AS travel,
            sum(amount) FILTER (mcc IN ('5411', '5712', '8211', '8351')) OVER quarter AS family,
            sum(amount) FILTER (mcc IN ('5812', '7832')) OVER quarter AS leisure,
            sum(amount) FILTER (mcc IN ('5964', '5651', '5732')) OVER quarter AS shopping,
            sum(amount) FILTER (mcc IN ('5541', '4111')) OVER quarter AS commuting
        FROM transactions
        WINDOW
            week AS (
                PARTITION BY customer ORDER BY ms
                RANGE BETWEEN reach(ms, 7) PRECEDING AND CURRENT ROW
            ),
            month AS (
                PARTITION BY customer ORDER BY ms
                RANGE BETWEEN reach(ms, 30) PRECEDING AND CURRENT ROW
            ),
            quarter AS (
                PARTITION BY customer ORDER BY ms
                RANGE BETWEEN reach(ms, 90) PRECEDING AND CURRENT ROW
            ),
            year AS (
                PARTITION BY customer ORDER BY ms
                RANGE BETWEEN reach(ms, 365) PRECEDING AND CURRENT ROW
            )
    ),
    codes AS (
        SELECT
            customer,
            ms,
            CASE
                WHEN n90 < 3 THEN 0
                WHEN coalesce(travel, 0) * 100 >= t90 * 25 THEN 1
                WHEN coalesce(family, 0) * 100 >= t90 * 40 THEN 2
                WHEN coalesce(leisure, 0) * 100 >= t90 * 35 THEN 3
                WHEN coalesce(shopping, 0) * 100 >= t90 * 35 THEN 4
                WHEN coalesce(commuting, 0) * 100 >= t90 * 25 THEN 5
                ELSE 6
            END
            + CASE
                WHEN t365 >= 500000 THEN 48
                WHEN t365 >= 200000 THEN 32
                WHEN t365 >= 50000 THEN 16
                ELSE 0
            END
            + CASE WHEN n30 >= 3 AND t30 * 2 > t90 THEN 64 ELSE 0 END
            + CASE WHEN n7 >= 3 AND t7 * 10 > t30 * 4 THEN 128 ELSE 0 END AS code
        FROM windows
    ),
    steps AS (
        SELECT
            customer,
            ms,
            lag(code, 1, -1) OVER (PARTITION BY customer ORDER BY ms) AS "from",
            code AS "to"
        FROM codes
    )
    SELECT format('{{"customer":"{}","time":{},"from":{},"to":{}}}', customer, ms, "from", "to")
    FROM steps
    WHERE "from" <> "to"
    ORDER BY ms
) TO (getvariable('output')) (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\0');
