// Package double is the Binance double: a real HTTP and websocket server that
// speaks Binance's market data protocol, for tests, for demonstrations and for
// whoever has no way to the exchange.
//
//	recorded    frames of recordings, merged by local time, at real pace, at N
//	            times that, or flat out
//	synthetic   a market made of hashes: every trade is a function of (seed,
//	            symbol, absolute time), so a second start goes on where the
//	            first was, and REST answers any range of ids
//
//	market ──▶ hub ──▶ a queue per client ──▶ writer ──▶ socket
//	   └── tapes ──▶ REST
//
// One goroutine, the market's, makes events; it formats each once per form that
// a client wants and puts it into the clients' queues. Each client has a writer
// that packs many frames into one write, and a reader that answers control
// messages through the same queue. A pong waits until everything queued before
// its ping is written: so what the server had sent is in front of its pong, as
// on one socket of the real exchange.
//
// Exchange time (E, /api/v3/time) comes from the recording, or from the wall
// clock for the synthetic market; it never runs ahead of the trades that have
// been queued. Of a recording, only the trade streams are replayed (as trades
// and, put together, as aggregates); other streams can be subscribed and stay
// silent.
//
// A client that does not read is dropped once a write has waited for long. The
// server enforces what cuts a careless client off the real one: five messages a
// second, frames of at most 4,096 bytes, 1,024 streams, a pong within a minute.
package double
