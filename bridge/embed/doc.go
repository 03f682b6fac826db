// Package embed is a NATS server with JetStream in this process, for
// `millrace dev`.
//
// # What survives what
//
// JetStream hands each message to the operating system before it acknowledges,
// and forces it to the disk every second (syncEvery; NATS's own default is two
// minutes). So the end of the process, by kill -9 too, loses nothing; a power
// cut loses up to the last second. To force each message would cost a disk
// flush for each candle, and buys little here: the log in Kafka is the truth,
// and a bridge notices a stream that is shorter than its position says, and
// then sends again from the log's start.
//
// A server that runs on its own sets this itself (`sync_interval` or
// `sync: always` in its configuration); with three replicas an acknowledged
// message is on two machines whatever the interval.
package embed
