// Package ingest brings trades into the log. Its subfolders are sources; each
// delivers into a Stream of the one Ingestor of the process.
//
//	source ──Trade──▶ Stream ──▶ packer (one per symbol) ──▶ record ──▶ `ticks`
//	       ──Progress─▶   └────▶ lane (one per partition) ─▶ mark   ──▶ `ticks`
//	       ──Refuse──▶ ─────────────────────────────────────────────▶ `ticks.dead`
//
//	Ingestor  owns the idempotent producer; Run flushes, marks, and ends with the first failure
//	Stream    a connection or a file, and the promise that goes with it
//	lane      what of a stream goes to one partition: what is on its way, the last mark
//	packer    the trades of one symbol that wait for company, for the linger at most
//
// The way of a trade is Stream.Trade, Stream.flush, Ingestor.send, Ingestor.acked.
//
// # Promises
//
// A mark with W says that every trade of its stream with T ≤ W is before it in
// that partition, but for the symbols it names. So a mark takes W first, then
// flushes the partition's packers, then waits until all of it is acknowledged,
// and only then is produced (mark.go).
//
// Each stream is an ingestor of its own in the log: its id is the process's
// random one and a number. A joint W would be the lowest of all: a file of 2019
// read beside a live connection would hold back every candle, and one opened
// after it would come below a W already promised.
//
// A stream that lost its connection writes no marks: its W stands still, and
// the log's rules no longer wait for it. When it is up again its symbols are
// named in its marks until what was missed has been filled (Down, Up, Release).
//
// # Caveats
//
// Nothing is dropped. While Kafka is away what is on its way grows up to the
// buffer's bound, then sources wait (Room, Trade): a connection is not read any
// more, the exchange ends it, and what it missed shows by its ids. A record that
// Kafka refuses for good ends Run, and no mark follows it.
//
// A stream's methods may be called from several goroutines; the order of a
// symbol's trades is the order of the calls.
package ingest
