-- One view per period, with the volume-weighted average price. SQLite divides in
-- floats, so vwap is rounded to about 15 digits here; null without trades. Names of
-- tables do not tell upper case from lower, so a month is 1mo.
CREATE VIEW IF NOT EXISTS candles_1s AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1s';

CREATE VIEW IF NOT EXISTS candles_1m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1m';

CREATE VIEW IF NOT EXISTS candles_3m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '3m';

CREATE VIEW IF NOT EXISTS candles_5m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '5m';

CREATE VIEW IF NOT EXISTS candles_15m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '15m';

CREATE VIEW IF NOT EXISTS candles_30m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '30m';

CREATE VIEW IF NOT EXISTS candles_1h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1h';

CREATE VIEW IF NOT EXISTS candles_2h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '2h';

CREATE VIEW IF NOT EXISTS candles_4h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '4h';

CREATE VIEW IF NOT EXISTS candles_6h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '6h';

CREATE VIEW IF NOT EXISTS candles_8h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '8h';

CREATE VIEW IF NOT EXISTS candles_12h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '12h';

CREATE VIEW IF NOT EXISTS candles_1d AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1d';

CREATE VIEW IF NOT EXISTS candles_3d AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '3d';

CREATE VIEW IF NOT EXISTS candles_1w AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1w';

CREATE VIEW IF NOT EXISTS candles_1mo AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume AS REAL) / NULLIF(CAST(volume AS REAL), 0) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1M';
