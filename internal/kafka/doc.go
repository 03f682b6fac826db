// Package kafka is how every room reaches Kafka: one way to connect, one way
// to make and check the topics, one way to read a single record again.
//
//	Config   where the brokers are and how to log in; Connect makes the client
//	Topics   the four topics and how they are laid out; Ensure makes and checks them
//	Lineage  one life of the topics: their ids, and the settings their log begins with
//
// # Caveats
//
// Records are partitioned by hand: every client is made with kgo's manual
// partitioner, and who produces sets Record.Partition (schema.Partition).
//
// All four topics have the same number of partitions, so that what concerns
// partition p of `ticks` is in partition p of the others.
//
// A partition of `ticks` begins with the settings of its log. Retention may
// take that record away later; who has no state of the partition then has no
// settings of it either (Lineage.Settings are taken from any partition that
// still has them).
package kafka
