-- The widths of the decimals. A price has an int64 mantissa, 19 digits, of which
-- 0 to 12 are decimals: at most 19 before the point and 12 behind it, DECIMAL(31,12).
-- A sum has at most 36 digits (schema/sum.go). A volume has 0 to 12 decimals:
-- 36 before the point, 12 behind, DECIMAL(48,12). A quote volume is price times
-- quantity, 0 to 24 decimals: 36 before, 24 behind, DECIMAL(60,24). So every
-- figure fits exactly; what does not fit is refused (strict mode), never rounded.
--
-- All times are UTC. DATETIME holds what is written to it, whatever the time
-- zone of the server or the session; TIMESTAMP would not.
--
-- Symbols and periods compare byte for byte: 1m is a minute and 1M a month.
--
-- The partitions make it cheap to drop the old rows of a short period: one
-- for each period, in the byte order of the names. Where days are kept, the
-- sink splits days off a period's partition and drops the old ones.
CREATE TABLE IF NOT EXISTS candles (
    symbol                 VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    period                 VARCHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    start_time             DATETIME(3) NOT NULL,
    open                   DECIMAL(31,12) NOT NULL,
    high                   DECIMAL(31,12) NOT NULL,
    low                    DECIMAL(31,12) NOT NULL,
    close                  DECIMAL(31,12) NOT NULL,
    volume                 DECIMAL(48,12) NOT NULL,
    quote_volume           DECIMAL(60,24) NOT NULL,
    trades                 BIGINT NOT NULL,
    taker_buy_volume       DECIMAL(48,12) NOT NULL,
    taker_buy_quote_volume DECIMAL(60,24) NOT NULL,
    first_trade_id         BIGINT NOT NULL,
    last_trade_id          BIGINT NOT NULL,
    status                 ENUM('live','closed','holed','final') NOT NULL,
    missing                BIGINT NOT NULL,
    version                BIGINT NOT NULL,
    updated_at             DATETIME(6) NOT NULL,
    PRIMARY KEY (symbol, period, start_time),
    KEY candles_by_period (period, start_time)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
PARTITION BY RANGE COLUMNS (period, start_time) (
    PARTITION p_12h VALUES LESS THAN ('12h', MAXVALUE),
    PARTITION p_15m VALUES LESS THAN ('15m', MAXVALUE),
    PARTITION p_1mo VALUES LESS THAN ('1M', MAXVALUE),
    PARTITION p_1d VALUES LESS THAN ('1d', MAXVALUE),
    PARTITION p_1h VALUES LESS THAN ('1h', MAXVALUE),
    PARTITION p_1m VALUES LESS THAN ('1m', MAXVALUE),
    PARTITION p_1s VALUES LESS THAN ('1s', MAXVALUE),
    PARTITION p_1w VALUES LESS THAN ('1w', MAXVALUE),
    PARTITION p_2h VALUES LESS THAN ('2h', MAXVALUE),
    PARTITION p_30m VALUES LESS THAN ('30m', MAXVALUE),
    PARTITION p_3d VALUES LESS THAN ('3d', MAXVALUE),
    PARTITION p_3m VALUES LESS THAN ('3m', MAXVALUE),
    PARTITION p_4h VALUES LESS THAN ('4h', MAXVALUE),
    PARTITION p_5m VALUES LESS THAN ('5m', MAXVALUE),
    PARTITION p_6h VALUES LESS THAN ('6h', MAXVALUE),
    PARTITION p_8h VALUES LESS THAN ('8h', MAXVALUE)
);

-- A symbol's stretches of trade ids that are or were missing; filled_at is null
-- while one is open. after_time and before_time are the times of the trades on
-- either side, null where there is none.
CREATE TABLE IF NOT EXISTS gaps (
    symbol           VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    first_missing_id BIGINT NOT NULL,
    last_missing_id  BIGINT NOT NULL,
    after_time       DATETIME(6) NULL,
    before_time      DATETIME(6) NULL,
    found_at         DATETIME(6) NOT NULL,
    filled_at        DATETIME(6) NULL,
    reason           VARCHAR(255) NOT NULL,
    PRIMARY KEY (symbol, first_missing_id, last_missing_id, found_at)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which set of gaps a symbol's rows are: an older set never replaces them.
CREATE TABLE IF NOT EXISTS gap_sets (
    symbol  VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    applied BIGINT NOT NULL,
    opened  BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Up to where in a log these tables have everything, and who wrote it last.
-- Offset and partition are reserved words here and there, hence the names.
CREATE TABLE IF NOT EXISTS progress (
    topic_id      CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    log_partition INT NOT NULL,
    next_offset   BIGINT NOT NULL,
    leader_epoch  INT NOT NULL,
    record_hash   CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    writer        VARCHAR(255) NOT NULL,
    updated_at    DATETIME(6) NOT NULL,
    PRIMARY KEY (topic_id, log_partition)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
