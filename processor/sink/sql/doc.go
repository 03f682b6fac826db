// Package sqlsink keeps candles, gaps and progress in MySQL, MariaDB or SQLite.
//
// The nouns: a Batch is what one flush brings; it becomes one transaction. A
// Progress says up to where in a log the tables have everything and who wrote
// that. A window is written if its version is strictly higher than the row's, so
// that a Batch may be sent again at any time.
//
//	Write:  begin ─▶ read progress, locked ─▶ is it what I wrote last? ──no──▶ roll back, *MovedError
//	          ─▶ write progress ─▶ upsert candles in the order of the primary key
//	          ─▶ replace gaps that are not newer ─▶ commit
//
// After *MovedError, and after any error that Retriable accepts, the caller
// Loads the progress again: a connection that breaks during the commit leaves
// its outcome unknown, and the row alone tells it.
//
// # Where the stores differ
//
//   - MySQL, MariaDB: DECIMAL columns, partitions by period and, where days are
//     kept, by day (see Maintain). VWAP in the views is a decimal.
//   - SQLite: decimals are text, VWAP is a float. The file is in WAL mode, so that
//     others can read while it is written. synchronous is NORMAL: a power cut may
//     take the last transactions, each of them whole. Rows and progress are
//     one transaction, so the progress goes back with the rows, the next Write
//     sees a *MovedError, and the caller finds from state what was lost.
//
// # Caveats
//
//   - Give every call a deadline: without one, a server that has vanished is
//     noticed only by TCP.
//   - DDL of MySQL cannot be rolled back: a migration cut short is run again,
//     and its statements allow that.
//   - A table of candles is dumped as text by Dump, the same for every store.
//
// Files: dsn, config, db (opening), mysql and sqlite (what differs), migrate,
// progress, write, candles, gaps, retention, dump, errors.
package sqlsink
