// Package collect joins the sources to the log: it gives each source a Stream
// of the Ingestor, and keeps the Stream's promises in step with what the source
// knows.
//
//	Live    websocket connections, each a binance.Source with a Stream
//	Dump    one of Binance's public dumps, read from a file
//	Frames  recorded websocket frames, read from a file
//	Dumps   files one after the other, fetched where they must be
//	Journal which files are in the log already
//
// A connection's Stream is down until the connection stands and has promised a
// time; it is down again when the connection is lost. A file's Stream ends with
// a mark computed from the file alone.
package collect
