-- Decimals are text in canonical form ("61837.63", no trailing zeros): SQLite's
-- numbers are floats beyond 64 bits, and a figure must come back as it was.
-- Compare them as numbers with CAST(open AS REAL). Times are text in UTC,
-- "2024-08-08 23:55:00.000", which sorts as time does.
CREATE TABLE IF NOT EXISTS candles (
    symbol                 TEXT NOT NULL,
    period                 TEXT NOT NULL,
    start_time             TEXT NOT NULL,
    open                   TEXT NOT NULL,
    high                   TEXT NOT NULL,
    low                    TEXT NOT NULL,
    close                  TEXT NOT NULL,
    volume                 TEXT NOT NULL,
    quote_volume           TEXT NOT NULL,
    trades                 INTEGER NOT NULL,
    taker_buy_volume       TEXT NOT NULL,
    taker_buy_quote_volume TEXT NOT NULL,
    first_trade_id         INTEGER NOT NULL,
    last_trade_id          INTEGER NOT NULL,
    status                 TEXT NOT NULL CHECK (status IN ('live', 'closed', 'holed', 'final')),
    missing                INTEGER NOT NULL,
    version                INTEGER NOT NULL,
    updated_at             TEXT NOT NULL,
    PRIMARY KEY (symbol, period, start_time)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS candles_by_period ON candles (period, start_time);

-- A symbol's stretches of trade ids that are or were missing; filled_at is null
-- while one is open. after_time and before_time are the times of the trades on
-- either side, null where there is none.
CREATE TABLE IF NOT EXISTS gaps (
    symbol           TEXT NOT NULL,
    first_missing_id INTEGER NOT NULL,
    last_missing_id  INTEGER NOT NULL,
    after_time       TEXT,
    before_time      TEXT,
    found_at         TEXT NOT NULL,
    filled_at        TEXT,
    reason           TEXT NOT NULL,
    PRIMARY KEY (symbol, first_missing_id, last_missing_id, found_at)
) STRICT, WITHOUT ROWID;

-- Which set of gaps a symbol's rows are: an older set never replaces them.
CREATE TABLE IF NOT EXISTS gap_sets (
    symbol  TEXT NOT NULL PRIMARY KEY,
    applied INTEGER NOT NULL,
    opened  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Up to where in a log these tables have everything, and who wrote it last.
CREATE TABLE IF NOT EXISTS progress (
    topic_id      TEXT NOT NULL,
    log_partition INTEGER NOT NULL,
    next_offset   INTEGER NOT NULL,
    leader_epoch  INTEGER NOT NULL,
    record_hash   TEXT NOT NULL,
    writer        TEXT NOT NULL,
    updated_at    TEXT NOT NULL,
    PRIMARY KEY (topic_id, log_partition)
) STRICT, WITHOUT ROWID;
