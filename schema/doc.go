// Package schema holds the words that all rooms share: what a trade, a window,
// a candle and a version are, the exact arithmetic on them, the calendar of the
// periods, the formats on Kafka's topics, and every name of a topic, subject,
// header and table.
//
//	Trade ──▶ Batch (one record on `ticks`) ──▶ Figures of a window ──▶ Candle
//	          beside it: Mark, Settings, Anchor, Watch, …               (one record on `candles`)
//
// All of it is pure: no clock, no randomness, no input or output. The formats
// are described in schemapb/millrace.proto; what runs once per tick is written
// by hand here (Batch, Candle) and tested against the generated code.
package schema
