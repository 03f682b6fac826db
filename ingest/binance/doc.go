// Package binance speaks Binance's market data protocol: the JSON and the SBE
// of its streams, its REST answers, and one websocket connection of combined streams.
//
//	Decoder     text frame ──▶ Event (a trade, an aggregate, an answer, a farewell)
//	SBEDecoder  binary frame ──▶ SBEEvent (the trades of one order)
//	conn        one websocket connection: frames ──▶ Out, with a promise of time
//	Source      one conn after another, the next one made before the last goes
//	Selection   which symbols: names, patterns, the first by volume
//	Client      the few REST calls that a collector needs, each within the Budget
//	ServerClock the server's time, asked once for all who want it
//
// Binance uses keys that differ only in case (m and M, t and T, e and E), which
// encoding/json does not tell apart. The Decoder does, and allocates nothing
// for a trade. REST answers are read with encoding/json, with both cases of
// such keys declared.
//
// The promise of time: Out.Progress(w) says that every trade of the
// connection's symbols with T ≤ w, from the moment the connection stood, has
// been handed over. w is always the exchange's time:
//
//	the newest E of a trade on this very connection, less a margin, or
//	the server's time S asked over REST before a ping was sent, less the margin,
//	once the pong is back: what the server had sent before is in front of it.
//
// All that comes from the network is bounded: a frame, a body, a snippet in an
// error, the depth of nesting.
package binance
