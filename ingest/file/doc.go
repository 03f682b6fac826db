// Package file reads what Binance's data looks like on disk, a row at a time:
//
//	Frames  recorded websocket frames, a line each: <local ns> <json>
//	Dump    Binance's public dumps of trades and of aggregate trades
//	Klines  Binance's own candles: a dump, or a REST answer
//	Store   a folder of public dumps that fetches what it doesn't have
//
// Each may be plain, gzip or zip (one csv inside); what it is shows in its
// first bytes, not in its name. Dumps come with and without a header line, in
// milliseconds and in microseconds, with True or true.
//
// A file beside which NAME.CHECKSUM lies is verified before a row of it is read,
// and one that unpacks to more than a dump could is refused.
//
// A dump's name tells its symbol, its kind and the day or month it covers whole
// (BTCUSDT-trades-2024-08-08.zip). A whole day proves its own left edge: see
// Dump.Anchor. A bad row ends the reading with an error that names the file and
// the line; the rows before it have been given out, nothing behind it is.
package file
