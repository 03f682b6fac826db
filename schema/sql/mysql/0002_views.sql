-- One view per period, with the volume-weighted average price: quote volume by
-- volume, divided in decimal and rounded to 12 places; null without trades. Names
-- of tables may not tell upper case from lower, so a month is 1mo.
-- With the reader's own rights: a view must not stop working when the account
-- that migrated is removed.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_1s AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1s';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_1m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1m';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_3m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '3m';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_5m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '5m';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_15m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '15m';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_30m AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '30m';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_1h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1h';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_2h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '2h';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_4h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '4h';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_6h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '6h';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_8h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '8h';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_12h AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '12h';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_1d AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1d';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_3d AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '3d';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_1w AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1w';

CREATE OR REPLACE SQL SECURITY INVOKER VIEW candles_1mo AS
SELECT symbol, start_time, open, high, low, close, volume, quote_volume,
       CAST(quote_volume / NULLIF(volume, 0) AS DECIMAL(31,12)) AS vwap,
       trades, taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id,
       status, missing, version, updated_at
FROM candles WHERE period = '1M';
