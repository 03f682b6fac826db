// Package bridge carries candles from Kafka to NATS: New, Open, Run, Close.
//
//	Kafka `candles` ─▶ fetch ─▶ publish ─▶ settle (confirm, newest, position), in rounds
//	                  (take)    │    └────▶ candles.final.<period>.<symbol>  JetStream CANDLES:
//	                            │           closed, holed and final candles
//	                            └─────────▶ candles.<period>.<symbol>  core NATS: every update
//	bucket `candles`, <period>.<symbol>: the newest candle of each series, by start, then version
//	bucket `millrace-bridge`, <topic>.<partition>: how far all of this is done (see position)
//
// A symbol in a subject or key is schema.Token of it: letters, digits, - and _
// stand for themselves, any other byte is = and two hex digits.
//
// Each message has the headers Nats-Msg-Id (token|period|start in ms|version),
// Content-Type and Millrace-Schema, and one JSON object whose fields are the
// columns of the SQL table:
//
//	{"symbol":"BTCUSDT","period":"1m","start_time":"2024-08-08T23:55:00Z",
//	 "open":"61700.01","high":"61710","low":"61690.5","close":"61702.99",
//	 "volume":"12.5","quote_volume":"771270.4","trades":1503,
//	 "taker_buy_volume":"6.1","taker_buy_quote_volume":"376380.2",
//	 "first_trade_id":3701005000,"last_trade_id":3701006502,
//	 "status":"final","missing":0,"version":"72057594037933951"}
//
// Decimals and version are strings, exact and without trailing zeros;
// start_time is RFC 3339 in UTC; status is live, closed, holed or final (only
// final is proven whole); a window without trades has trades 0 and ids -1.
//
// # What a subscriber may rely on
//
// On a core subject a window's versions come in order and its last message is
// its newest. After a failure of NATS or of a bridge some come again: who keeps
// the highest version of each window is right at any time. In the stream each
// version of a closed candle is once: sent with its id, which the stream knows
// for two minutes, and after any break looked for in the stream itself (see
// recall).
//
// # Caveats
//
// A position moves only when everything before it is acknowledged, newest
// candles included. It is void when the topic, the stream or the bucket is not
// the one it speaks of; then the topic is read from its start, and what the
// stream kept of it comes again once it is older than two minutes.
//
// How often JetStream forces its files to the disk is the server's setting;
// package embed says what it is in `millrace dev`.
//
// The account must be allowed to publish on candles.>, $KV.>, $JS.API.> and to
// subscribe to _INBOX.>.
package bridge
