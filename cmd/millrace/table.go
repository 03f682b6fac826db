package main

import (
	"math"
	"time"

	"millrace/ingest/binance"
	"millrace/processor"
)

// Groups of settings, in the order of help and `millrace config`.
const (
	gKafka   = "Kafka"
	gLog     = "The log"
	gProduce = "Producing"
	gBinance = "Binance"
	gProcess = "Processing"
	gKeeping = "Checkpoints"
	gSQL     = "SQL store"
	gNATS    = "NATS"
	gMarket  = "Recordings and the made-up market"
	gDouble  = "The double"
	gReplay  = "Dumps to replay"
	gDev     = "In dev only"
	gRun     = "This process"
)

// Where Binance itself is.
const (
	defaultREST  = "https://api.binance.com"
	defaultDumps = "https://data.binance.vision/data/spot"
)

var allGroups = []string{gKafka, gLog, gProduce, gBinance, gProcess, gKeeping, gSQL, gNATS, gMarket, gDouble, gReplay, gDev, gRun}

// setting is one row of the table of all settings.
type setting struct {
	name  string
	group string
	def   string
	help  string
	field func(*settings) field
	// onFlagOnly: neither environment nor file may give it. What deletes is
	// asked for each time.
	onFlagOnly bool
	// fileOf names the setting whose value stands in the file this one names.
	// readFile reads it, if it is not one line to be taken as it is.
	fileOf   string
	readFile func(path string) (string, error)
}

func env(name string) string {
	b := []byte(envPrefix + name)
	for i, c := range b {
		switch {
		case c == '-':
			b[i] = '_'
		case c >= 'a' && c <= 'z':
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// tlsRows are the same for each server.
func tlsRows(of, group string, at func(*settings) *tlsSettings) []setting {
	return []setting{
		{name: of + "-tls", group: group, def: "false", help: "connect with TLS; on as well when a file for it is set",
			field: func(s *settings) field { return flagged(&at(s).On) }},
		{name: of + "-ca", group: group, help: "authorities to trust, PEM; without it the system's",
			field: func(s *settings) field { return text(&at(s).CA, "FILE", anyText) }},
	}
}

// certRows are for the servers to which a client can show a certificate.
func certRows(of, group string, at func(*settings) *tlsSettings) []setting {
	return []setting{
		{name: of + "-cert", group: group, help: "certificate to show, PEM",
			field: func(s *settings) field { return text(&at(s).Cert, "FILE", anyText) }},
		{name: of + "-key", group: group, help: "its private key, PEM",
			field: func(s *settings) field { return text(&at(s).Key, "FILE", anyText) }},
	}
}

// table is every setting there is. What a flag, a variable, a YAML key and a
// line of help say comes from here and nowhere else.
var table = rows(
	[]setting{
		{name: "kafka", group: gKafka, def: "127.0.0.1:9092", help: "brokers to begin with; dev embeds its own unless it is set",
			field: func(s *settings) field { return hostPorts(&s.Kafka.Brokers) }},
	},
	tlsRows("kafka", gKafka, func(s *settings) *tlsSettings { return &s.Kafka.TLS }),
	certRows("kafka", gKafka, func(s *settings) *tlsSettings { return &s.Kafka.TLS }),
	[]setting{
		{name: "kafka-sasl", group: gKafka, def: "none", help: "how to log in",
			field: func(s *settings) field {
				return oneOf(&s.Kafka.SASL, "none", "plain", "scram-sha-256", "scram-sha-512")
			}},
		{name: "kafka-user", group: gKafka, help: "user to log in as",
			field: func(s *settings) field { return text(&s.Kafka.User, "NAME", anyText) }},
		{name: "kafka-password", group: gKafka, help: "its password; better in a file or in the environment",
			field: func(s *settings) field { return password(&s.Kafka.Password) }},
		{name: "kafka-password-file", group: gKafka, fileOf: "kafka-password", help: "file that holds the password",
			field: func(s *settings) field { return text(&s.Kafka.PassFile, "FILE", anyText) }},

		{name: "ticks-topic", group: gLog, def: "ticks", help: "topic of what happened; dead letters go to NAME.dead",
			field: func(s *settings) field { return text(&s.Log.Ticks, "NAME", needed) }},
		{name: "candles-topic", group: gLog, def: "candles", help: "compacted topic of candles",
			field: func(s *settings) field { return text(&s.Log.Candles, "NAME", needed) }},
		{name: "partitions", group: gLog, def: "4", help: "partitions of a new topic; an existing one must agree if this is set",
			field: func(s *settings) field { return whole(&s.Log.Partitions, 1, 10000) }},
		{name: "replication", group: gLog, def: "0", help: "copies of each partition of a new topic; 0 leaves it to the cluster",
			field: func(s *settings) field { return whole(&s.Log.Replication, 0, 100) }},
		{name: "ticks-retention", group: gLog, def: "168h", help: "how long a new topic of ticks keeps them",
			field: func(s *settings) field { return span(&s.Log.TicksRetention, time.Minute, 100*365*24*time.Hour) }},
		{name: "candles-retention", group: gLog, def: "720h", help: "how long a new topic of candles keeps them; older ones come from SQL",
			field: func(s *settings) field { return span(&s.Log.CandlesRetention, time.Minute, 100*365*24*time.Hour) }},
		{name: "compression", group: gLog, def: "lz4", help: "codec of what is written to a new topic",
			field: func(s *settings) field {
				return oneOf(&s.Log.Compression, "none", "snappy", "lz4", "zstd")
			}},
		{name: "periods", group: gLog, def: "1s,1m,5m,15m,1h,4h,1d", help: "candles to make, in a new log; an existing one must agree if this is set",
			field: func(s *settings) field { return periods(&s.Log.Periods) }},
		{name: "three-day-anchor", group: gLog, def: "1970-01-01", help: "a day on which a candle of 3d starts, in a new log",
			field: func(s *settings) field { return moment(&s.Log.ThreeDay) }},
		{name: "empty-seconds", group: gLog, def: "false", help: "publish seconds without a trade too, in a new log",
			field: func(s *settings) field { return flagged(&s.Log.EmptySeconds) }},

		{name: "linger", group: gProduce, def: "2ms", help: "longest a trade waits to be packed with others",
			field: func(s *settings) field { return span(&s.Produce.Linger, 100*time.Microsecond, time.Second) }},
		{name: "batch-max", group: gProduce, def: "500", help: "most trades of one record",
			field: func(s *settings) field { return whole(&s.Produce.BatchMax, 1, 16384) }},
		{name: "margin", group: gProduce, def: "250ms", help: "how far behind the exchange's clock time is promised",
			field: func(s *settings) field { return span(&s.Produce.Margin, 0, 10*time.Second) }},

		{name: "symbols", group: gBinance, help: "symbols to collect: names, patterns (*USDT), the N with the greatest volume of the day (top:N, or top:N:USDT of those quoted in USDT), less exclusions (-*UPUSDT); small letters count as capitals; for a dump, the symbol its file name doesn't tell",
			field: func(s *settings) field { return selection(&s.Binance.Symbols) }},
		{name: "streams", group: gBinance, def: streamsTrade, help: "what to collect from: streams of single trades or of aggregates, binary streams (SBE, with an API key), or REST where no websocket gets through",
			field: func(s *settings) field {
				return oneOf(&s.Binance.Streams, streamsTrade, streamsAgg, streamsSBE, streamsREST)
			}},
		{name: "binance-ws", group: gBinance, def: "wss://stream.binance.com:9443", help: "server of the websocket streams; for sbe wss://stream-sbe.binance.com:9443 unless it is set",
			field: func(s *settings) field { return at(&s.Binance.WS, "URL", "wss://", "ws://") }},
		{name: "binance-rest", group: gBinance, def: defaultREST, help: "server of the REST interface",
			field: func(s *settings) field { return at(&s.Binance.REST, "URL", "https://", "http://") }},
		{name: "binance-dumps", group: gBinance, def: defaultDumps, help: "server of the public dumps; a live source of another market than Binance's needs its own",
			field: func(s *settings) field { return at(&s.Binance.Dumps, "URL", "https://", "http://") }},
		{name: "history", group: gBinance, def: "hour", help: "how far back a symbol that is new to the log is fetched: to the start of the hour, day, week or month",
			field: func(s *settings) field { return oneOf(&s.Binance.History, "hour", "day", "week", "month") }},
		{name: "binance-ca", group: gBinance, help: "authorities to trust beside the system's, PEM",
			field: func(s *settings) field { return text(&s.Binance.CA, "FILE", anyText) }},
		{name: "binance-proxy", group: gBinance, help: "proxy for websockets and REST, such as socks5://user:password@host:1080; without it that of HTTPS_PROXY",
			field: func(s *settings) field {
				return at(&s.Binance.Proxy, "URL", "http://", "https://", "socks5://", "socks5h://")
			}},
		{name: "binance-api-key", group: gBinance, help: "API key, which only the SBE streams ask for; better in a file or in the environment",
			field: func(s *settings) field { return password(&s.Binance.Key) }},
		{name: "binance-api-key-file", group: gBinance, fileOf: "binance-api-key", readFile: binance.ReadAPIKey, help: "file that holds the API key",
			field: func(s *settings) field { return text(&s.Binance.KeyFile, "FILE", anyText) }},
		{name: "weight-share", group: gBinance, def: "0.5", help: "part of the request weight that Binance allows an address which this process may use",
			field: func(s *settings) field { return number(&s.Binance.Share, 0.05, 1) }},

		{name: "micro-batch", group: gProcess, def: "0s", help: "commit this often; 0 commits what has come as soon as it has",
			field: func(s *settings) field { return span(&s.Process.MicroBatch, 0, time.Minute) }},
		{name: "standby", group: gProcess, def: "0", help: "how many other processors keep the state of each partition warm from the log, so that one of them goes on as soon as the group has noticed that its processor left (at once) or died (10 s); of the group's members the highest counts, and one with 0 keeps none",
			field: func(s *settings) field { return whole(&s.Process.Standby, 0, processor.MaxStandby) }},
		{name: "keep-days", group: gProcess, help: "days of a period that the SQL store keeps, such as 1s=7,1m=90; what isn't named is kept for ever",
			field: func(s *settings) field { return keeps(&s.Process.Keep) }},
		{name: "candles-transactions", group: gProcess, def: "false", help: "write each flush of candles as one transaction of Kafka's, for readers that read committed and can't compare versions; wants brokers from 4.0 on, and the same of every processor of the log",
			field: func(s *settings) field { return flagged(&s.Process.Transactions) }},
		{name: "transaction-timeout", group: gProcess, def: "10s", help: "after how long the broker aborts a transaction whose processor is gone; until then readers wait",
			field: func(s *settings) field { return span(&s.Process.TransactionTimeout, time.Second, 15*time.Minute) }},

		{name: "checkpoints", group: gKeeping, help: "where copies of the state are kept: a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, azblob://CONTAINER/PREFIX, or none; credentials come from the environment. dev keeps them in its data folder unless it is set, process none",
			field: func(s *settings) field { return text(&s.Keeping.Store, "STORE", checkStore) }},
		{name: "checkpoint-every", group: gKeeping, def: "10m", help: "how often one is taken of each partition, beside the work; one more when it is given up",
			field: func(s *settings) field { return span(&s.Keeping.Every, time.Second, 7*24*time.Hour) }},
		{name: "checkpoint-keep", group: gKeeping, def: "3", help: "the newest ones that stay, however old",
			field: func(s *settings) field { return whole(&s.Keeping.Count, 1, 100000) }},
		{name: "checkpoint-keep-for", group: gKeeping, def: "24h", help: "how long the others stay",
			field: func(s *settings) field { return span(&s.Keeping.For, 0, 100*365*24*time.Hour) }},
		{name: "checkpoint-upload", group: gKeeping, def: "0", help: "megabytes a second that are uploaded at most; 0 is no bound",
			field: func(s *settings) field { return number(&s.Keeping.Upload, 0, 1e6) }},

		{name: "sql", group: gSQL, help: "mysql://user:password@host:port/database or sqlite:FILE; dev writes millrace.db in its data folder unless it is set, process none",
			field: func(s *settings) field { return at(&s.SQL.DSN, "DSN", "mysql://", "sqlite:") }},
		{name: "sql-password", group: gSQL, help: "the password, instead of in the DSN; better in a file or in the environment",
			field: func(s *settings) field { return password(&s.SQL.Password) }},
		{name: "sql-password-file", group: gSQL, fileOf: "sql-password", help: "file that holds the password",
			field: func(s *settings) field { return text(&s.SQL.PassFile, "FILE", anyText) }},
	},
	tlsRows("sql", gSQL, func(s *settings) *tlsSettings { return &s.SQL.TLS }),
	[]setting{
		{name: "nats", group: gNATS, def: "nats://127.0.0.1:4222", help: "servers, separated by commas; dev embeds its own unless it is set",
			field: func(s *settings) field { return at(&s.NATS.URL, "URL,…", "nats://", "tls://", "ws://", "wss://") }},
	},
	tlsRows("nats", gNATS, func(s *settings) *tlsSettings { return &s.NATS.TLS }),
	certRows("nats", gNATS, func(s *settings) *tlsSettings { return &s.NATS.TLS }),
	[]setting{
		{name: "nats-user", group: gNATS, help: "user to log in as",
			field: func(s *settings) field { return text(&s.NATS.User, "NAME", anyText) }},
		{name: "nats-password", group: gNATS, help: "its password; better in a file or in the environment",
			field: func(s *settings) field { return password(&s.NATS.Password) }},
		{name: "nats-password-file", group: gNATS, fileOf: "nats-password", help: "file that holds the password",
			field: func(s *settings) field { return text(&s.NATS.PassFile, "FILE", anyText) }},
		{name: "nats-token", group: gNATS, help: "token to log in with",
			field: func(s *settings) field { return password(&s.NATS.Token) }},
		{name: "nats-token-file", group: gNATS, fileOf: "nats-token", help: "file that holds the token",
			field: func(s *settings) field { return text(&s.NATS.TokenFile, "FILE", anyText) }},
		{name: "nats-creds", group: gNATS, help: "credentials file (JWT and seed)",
			field: func(s *settings) field { return text(&s.NATS.Creds, "FILE", anyText) }},
		{name: "nats-nkey", group: gNATS, help: "file with the seed of an NKey",
			field: func(s *settings) field { return text(&s.NATS.NKey, "FILE", anyText) }},
		{name: "nats-replicas", group: gNATS, def: "1", help: "copies of the stream and the buckets, when they are made",
			field: func(s *settings) field { return whole(&s.NATS.Replicas, 1, 5) }},
		{name: "stream-age", group: gNATS, def: "168h", help: "how long the stream keeps candles, when it is made",
			field: func(s *settings) field { return span(&s.NATS.StreamAge, 2*time.Minute, 100*365*24*time.Hour) }},
		{name: "bridge-group", group: gNATS, def: "millrace-bridge", help: "consumer group in which bridges share the work",
			field: func(s *settings) field { return text(&s.NATS.Group, "NAME", needed) }},

		{name: "from", group: gMarket, help: "recorded frames or dumps to play, one after the other; may stand more than once",
			field: func(s *settings) field { return files(&s.Market.From) }},
		{name: "speed", group: gMarket, def: "1", help: "how fast recorded frames are played; 0 is flat out",
			field: func(s *settings) field { return number(&s.Market.Speed, 0, 1e6) }},
		{name: "rate", group: gMarket, def: "200", help: "trades a second of the made-up market, all symbols together",
			field: func(s *settings) field { return number(&s.Market.Rate, 0.001, 1e6) }},
		{name: "seed", group: gMarket, def: "1", help: "the made-up market is a function of this and the time",
			field: func(s *settings) field { return seed(&s.Market.Seed) }},
		{name: "market-symbols", group: gMarket, def: "20", help: "how many symbols it has",
			field: func(s *settings) field { return whole(&s.Market.Symbols, 1, 5000) }},
		{name: "until-done", group: gMarket, def: "false", help: "end when all of --from has gone its way; the double, when its recording or market is at its end too",
			field: func(s *settings) field { return flagged(&s.Dev.UntilDone) }},
		{name: "listen", group: gMarket, def: "127.0.0.1:9443", help: "where the double serves",
			field: func(s *settings) field { return text(&s.Market.Listen, "HOST:PORT", hostPort) }},

		{name: "market-start", group: gDouble, help: "time in the past at which the made-up market begins to be sent; without it, it has the wall's time",
			field: func(s *settings) field { return optionalMoment(&s.Double.Start) }},
		{name: "pace", group: gDouble, def: "1", help: "how many times as fast as the wall it goes from market-start on",
			field: func(s *settings) field { return number(&s.Double.Pace, 0.001, 1e5) }},
		{name: "market-until", group: gDouble, help: "market time at which it ends; REST goes on",
			field: func(s *settings) field { return optionalMoment(&s.Double.Until) }},
		{name: "wait-for", group: gDouble, help: "symbols that must have a subscriber before it begins; a recording waits for all of its own",
			field: func(s *settings) field { return symbols(&s.Double.WaitFor) }},
		{name: "rest-retention", group: gDouble, def: "0s", help: "how far back trades can be asked for by their ids, in market time; 0 is for ever",
			field: func(s *settings) field { return span(&s.Double.Retention, 0, 100*365*24*time.Hour) }},
		{name: "scenario", group: gDouble, help: "what goes wrong, and when: YAML, such as ingest/double/testdata/hardday.yaml",
			field: func(s *settings) field { return text(&s.Double.Scenario, "FILE", anyText) }},
		{name: "days", group: gReplay, help: "days of the symbols to fetch from Binance and replay, both ends included",
			field: func(s *settings) field { return days(&s.Replay.Days) }},
		{name: "kind", group: gReplay, def: "trades", help: "what to fetch",
			field: func(s *settings) field { return oneOf(&s.Replay.Kind, "trades", "aggTrades") }},
		{name: "monthly", group: gReplay, def: "false", help: "fetch a whole month as one file, where it is published",
			field: func(s *settings) field { return flagged(&s.Replay.Monthly) }},
		{name: "require-checksum", group: gReplay, def: "false", help: "refuse a file without NAME.CHECKSUM beside it",
			field: func(s *settings) field { return flagged(&s.Replay.RequireChecksum) }},
		{name: "again", group: gReplay, def: "false", onFlagOnly: true, help: "replay what is in the log already",
			field: func(s *settings) field { return flagged(&s.Replay.Again) }},

		{name: "kafka-port", group: gDev, def: "9092", help: "port of the embedded Kafka on 127.0.0.1; 0 takes a free one",
			field: func(s *settings) field { return whole(&s.Dev.KafkaPort, 0, math.MaxUint16) }},
		{name: "nats-port", group: gDev, def: "4222", help: "port of the embedded NATS on 127.0.0.1; 0 takes a free one",
			field: func(s *settings) field { return whole(&s.Dev.NATSPort, 0, math.MaxUint16) }},
		{name: "http-port", group: gDev, def: "8080", help: "port of HTTP on 127.0.0.1; 0 takes a free one",
			field: func(s *settings) field { return whole(&s.Dev.HTTPPort, 0, math.MaxUint16) }},
		{name: "fresh", group: gDev, def: "false", onFlagOnly: true, help: "delete the data folder's contents first, after asking",
			field: func(s *settings) field { return flagged(&s.Dev.Fresh) }},
		{name: "yes", group: gDev, def: "false", onFlagOnly: true, help: "don't ask",
			field: func(s *settings) field { return flagged(&s.Dev.Yes) }},

		{name: "data", group: gRun, def: "./millrace-data", help: "folder of what this process keeps; one process at a time uses it",
			field: func(s *settings) field { return text(&s.Run.Data, "DIR", needed) }},
		{name: "http", group: gRun, help: "where a role serves HTTP; off unless set",
			field: func(s *settings) field { return text(&s.Run.HTTP, "HOST:PORT", optionalHostPort) }},
		{name: "for", group: gRun, def: "0s", help: "end after this long, in good order; 0 is never",
			field: func(s *settings) field { return span(&s.Run.For, 0, math.MaxInt64) }},
		{name: "log-level", group: gRun, def: "info", help: "least level that is logged",
			field: func(s *settings) field { return oneOf(&s.Run.LogLevel, "debug", "info", "warn", "error") }},
		{name: "log-format", group: gRun, def: "text", help: "form of a log line, on standard error",
			field: func(s *settings) field { return oneOf(&s.Run.LogFormat, "text", "json") }},
	},
)

func rows(parts ...[]setting) []setting {
	var all []setting
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
