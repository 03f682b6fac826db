// Package processor consumes `ticks`, keeps each partition's state, and brings
// what it publishes to the sinks.
//
//	Kafka ticks ─▶ feeder ─▶ owner: decode → apply → dead letters acknowledged → commit
//	                         (one a partition)                │
//	                                                 one Mailbox a sink ─▶ sink.SQL, sink.Topic
//	                      ─▶ standby: decode → apply → commit, for another member's partition
//	Kafka group ─▶ Processor.assigned, revoked: who is an owner, who stands by
//
// The nouns: an owner is the goroutine to which a partition and its store belong
// while this process has it assigned; it takes no lock. A micro-batch is what it
// applies and commits at once: as much as was fetched, up to a bound.
//
// The position is the store's, never the group's: group commits serve
// displays of lag, and tell standbys whose dead letters are written. On assignment the record before the position is read again;
// if it is another one, the log has changed under the state and the processor
// stops instead of guessing.
//
// Caveats. Processors that run at the same time need a data folder each. A
// folder keeps the member's name in the group, so a process that is killed and
// started again has its partitions back at once.
package processor
