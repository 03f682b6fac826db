// Package state is the function that Millrace is about: a partition's state is
// exactly f(records [0, offset)) of its log, and this is f and where it is kept.
//
//	Record ─▶ Partition.Apply: dedupe (interval) → rule (symbol) → count (delta)
//	                  │
//	          Store.Commit: deltas → windows of all periods → one Pebble batch with the position
//	                  │                                                 │
//	               Changes (what is published anew)                  View (what is published, by other goroutines)
//
// A symbol's applied trade ids are intervals, nearly always one. From them
// alone follows which windows are final, which trade is a copy, and what is a
// gap; so nothing about a window's completeness is stored twice. Empty windows
// are not rows: they are the runs between windows, and each window holds the
// offset of the record that changed the run before it last.
//
// A symbol whose ids begin anew, and a stretch that is repaired, have ids and
// windows of their own beside those before (book.go).
//
// Windows that nothing can change any more leave the memory; Pebble keeps them.
//
// Caveats. A Partition belongs to one goroutine and takes no lock; a View may
// be used by another. Commits are not synced: after a power cut the log is
// replayed from where the state stands. Void ids are refused as unsupported.
package state
