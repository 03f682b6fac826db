// Package collect joins the sources to the log: it gives each source a Stream
// of the Ingestor, and keeps the Stream's promises in step with what the source
// knows.
//
//	Live    symbols of a server that speaks Binance's protocol
//	group   symbols that share a connection (a binance.Source) and a Stream
//	poller  asks REST for what is new, in place of connections (poll.go)
//	series  one symbol's ids: what came, what is missing
//	hole    a stretch of ids that were not seen; it is fetched by REST
//	outage  REST's, told of once and once when it is over (outage.go)
//	Dump    one of Binance's public dumps, read from a file
//	Frames  recorded websocket frames, read from a file
//	Dumps   files one after the other, fetched where they must be
//	Journal which files are in the log already
//
// # Continuity
//
// Binance numbers a symbol's trades without holes. A series knows the next id,
// whatever connection brings it: a higher one leaves a hole, which is fetched.
//
//	log's tail, or anchor ──▶ next id ◀── live trades
//	                             │
//	                        hole ──▶ wait for late ones ──▶ the log ──▶ aggregates ──▶ single trades ──▶ Stream.Fill
//	                           └───▶ of days that are over: dumps ────────────────────────────────────────┘
//
// While a symbol has a hole, or nothing has told yet what it missed while there
// was no connection, the Stream's marks name it: they promise nothing of it.
// What another ingestor brought is found in the log and costs the exchange
// nothing (elsewhere.go). What tells of a hole is the next trade, or the exchange's own word on the last id
// (check.go), which also finds a stream that went silent.
//
// Where a symbol is new to the log, the trade before the history's boundary is
// its anchor, written before any trade of it, and what has happened since is a
// hole like any other. Days that are over of a new symbol's history, and of holes
// that are too long for REST or older than it reaches, come from the public
// dumps, one at a time (past.go). Where it is known, the end of the log tells the next id:
// nothing is kept anywhere else.
//
// Where no websocket gets through, REST tells the last ids in rounds, and what
// lies between is fetched as a hole at the symbol's end. W is the server's time
// before the question, less a margin, once all of that has come.
//
// What the processor misses stands in the topic of gaps, and is fetched too
// (gaps.go).
//
// A connection's Stream is down until the connection stands and has promised a
// time; it is down again when the connection is lost. A file's Stream ends with
// a mark computed from the file alone.
package collect
