// Package sim runs the whole processing path in one process under virtual time,
// with the faults that a seed decides, and holds what comes of it against the
// log. It has tests only: `make sim SEEDS=N FROM=N`, and a share in every test
// run (share_test.go).
//
//	market ─▶ collector: Ingestor, Stream ─▶ kfake ─▶ machine: Processor, Pebble on a disk that can crash
//	(made up)  (one or two)                (two nodes)  (one to three)   │ tap      │ wire
//	                                                                     SQLite    candles, gaps, ticks.dead
//
// The nouns: a plan is all that a seed decides (plan_test.go); a fault is one
// thing that goes wrong at a moment of it (fault_test.go, the map of all kinds);
// a machine keeps its disk while processors die on it; a wire is a process's
// network, a tap its way to the database; a life is one process from its start
// to its end; the oracle says what a partition's log makes, the naive way
// (oracle_test.go; what is published of it: rows_test.go), and check_test.go compares.
//
// A fuse kills at a step: before a write to the disk, before or after something
// is sent to Kafka, before a statement, after a commit. A kill -9 cuts wire and tap and copies the disk: whatever the dead process does
// while its goroutines wind down reaches nobody. A power cut keeps a random share
// of what was not synced.
//
// After the faults all is healed, and everything must be everywhere within
// minutes of virtual time. Then: dead letters, state, SQL, the last records of
// `candles` and the gaps are exactly what the log says; no writer lowered a
// version and no final candle changed, in `candles` and in SQL (there by triggers);
// no mark stands before what it speaks of.
//
// # Not simulated
//
// The sources before Stream, the bridge and NATS, MySQL's own locks (SQLite takes
// its place, behind a lock in virtual time), disks that refuse a write while a
// store is open (Pebble ends the process then; one that is full when the process
// starts is), replication between brokers (kfake has one log; a broker set back to
// a copy of its disk loses records), collecting old checkpoints. After a stretch
// was lost to retention, sinks may know more from a state that had seen it.
//
// A network of virtual time is infinitely fast: see burst in wire_test.go.
//
// # Seeds
//
// A seed fixes market, plan and moments; which goroutine runs first is Go's to
// decide. So a failing seed may pass when it is run again: -sim.tries runs it
// until it fails. A failing seed is made smaller, faults and trades left out as
// long as it fails, and prints the line that runs it again.
//
// mutants holds planted bugs; `make sim-mutants` says after how many seeds each is
// found. Kafka's client asks for the build tag synctests in a bubble.
package sim
