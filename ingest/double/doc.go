// Package double is the Binance double: a real HTTP and websocket server that
// speaks Binance's market data protocol, for tests, for demonstrations and for
// whoever has no way to the exchange.
//
//	recorded    frames of recordings, merged by local time, at real pace, at N
//	            times that, or flat out
//	synthetic   a market made of hashes: every trade is a function of (seed,
//	            symbol, absolute time), so a second start goes on where the
//	            first was, and REST answers any range of ids. It has the wall's
//	            time, or lies in the past and runs N times as fast (clock)
//
//	market ──▶ faults ──▶ hub ──▶ a queue per client ──▶ writer ──▶ socket
//	   ├── tapes ──▶ REST (meter, faults), dumps
//	   └── truth
//
// One goroutine, the market's, makes events; it formats each once per form that
// a client wants (JSON, SBE) and puts it into the clients' queues. Each client
// has a writer that packs many frames into one write, and a reader that answers
// control messages through the same queue. A pong waits until everything queued
// before its ping is written: so what the server had sent is in front of its
// pong, as on one socket of the real exchange.
//
// Exchange time (E, /api/v3/time) comes from the recording, or from the clock
// of the synthetic market; it never runs ahead of the trades that have been
// queued, nor of the wall. Of a recording, only the trade streams are replayed
// (as trades and, put together, as aggregates); other streams can be subscribed
// and stay silent.
//
// The server enforces what cuts a careless client off the real one: five
// messages a second, frames of at most 4,096 bytes, 1,024 streams, a pong within
// a minute, 300 attempts to connect in five minutes, 6,000 of request weight a
// minute with 429, then 418. Counters tell how near clients came. A client that
// does not read is dropped once a write has waited for long.
//
// A scenario (testdata/hardday.yaml shows all of it) makes connections, streams
// and answers fail. Faults never change what has been traded: truth is the same
// with and without them. Statuses and listings are part of the market: in a
// BREAK a symbol's own clock stands still (hours), so that its ids go on
// without a hole.
//
// What the real one has on hosts of its own is here under a path: SBE streams
// under /sbe, dumps under /data/spot/daily. /double/counters is the double's own.
package double
