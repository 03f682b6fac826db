package kafka

import (
	"fmt"

	"millrace/schema"
)

// TopicID is Kafka's id of one life of a topic: one that is deleted and made
// anew has the name and another id.
type TopicID [16]byte

// Lineage is one life of the topics.
type Lineage struct {
	Partitions                 int32
	Ticks, Candles, Dead, Gaps TopicID
	// Settings are the newest of the log of `ticks`: those with which it begins,
	// or what they were changed to. Known is false if retention has taken them
	// from every partition and they were never changed; they are then those that
	// were handed to Ensure.
	Settings schema.Settings
	Known    bool
	// Changes are what was recorded of changes, by partition, the oldest first.
	Changes map[int32][]Change

	topic string          // the name of `ticks`
	gaps  string          // and of `gaps`
	first schema.Settings // with which the log begins, if began
	began bool
}

// Topic gives the name of `ticks`.
func (l *Lineage) Topic() string { return l.topic }

// Check refuses settings that differ from the log's. To compare only what a
// user has set, start from a copy of l.Settings and put those in.
func (l *Lineage) Check(want schema.Settings) error {
	if d := want.Diff(&l.Settings); d != "" {
		return fmt.Errorf("topic %s has other settings: %s; run with the log's, or name another topic", l.topic, d)
	}
	return nil
}
