package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"millrace/ingest"
	"millrace/ingest/collect"
)

// kafkaLate is how long a record may wait for its acknowledgement before an
// operator is told. A new leader of a partition is there in less.
const kafkaLate = 5 * time.Second

// kafkaReason tells why nothing, or not all, reaches the log; "" if all does.
func kafkaReason(w *ingest.Waiting) string {
	if w.Oldest < kafkaLate {
		return ""
	}
	n, noun, wait := w.Trades, "trade", "wait"
	if n == 0 {
		n, noun = w.Records, "record"
	}
	if n == 1 {
		wait = "waits"
	}
	what := countOf(n, noun)
	text := fmt.Sprintf("Kafka is behind with its acknowledgements: the oldest of %s has waited for %s", what, short(w.Oldest))
	if w.Silence >= kafkaLate {
		text = fmt.Sprintf("Kafka has not acknowledged anything for %s: %s %s", short(w.Silence), what, wait)
	}
	if w.Full {
		text += ", and no more are taken until some are"
	}
	if w.Why != nil {
		text += fmt.Sprintf(" (%v)", w.Why)
	}
	return text
}

// countOf is plural with the number's thousands set apart.
func countOf(n int64, noun string) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if n != 1 {
		noun += "s"
	}
	return digits + " " + noun
}

// refusalReasons tells which connections bring mostly what cannot be used.
func refusalReasons(c *collect.Status) []string {
	var all []string
	for i := range c.Connections {
		if x := &c.Connections[i]; 2*x.RecentRefused > x.Recent {
			all = append(all, fmt.Sprintf("connection %d brings what cannot be used: %d of its newest %s were refused; see the dead letters", i, x.RecentRefused, plural(x.Recent, "frame")))
		}
	}
	return all
}

// kafkaTeller logs once when Kafka stays away, once when sources have to wait
// for it, and once when it is back.
type kafkaTeller struct {
	log  *slog.Logger
	late time.Duration // the longest that a record waited; 0 while Kafka is well
	full bool
}

func (k *kafkaTeller) look(w *ingest.Waiting) {
	switch why := kafkaReason(w); {
	case why != "" && k.late == 0:
		k.log.Warn(why)
		k.late = w.Oldest
	case why != "":
		k.late = max(k.late, w.Oldest)
	case k.late > 0:
		k.log.Info("Kafka acknowledges again", "after", k.late.Round(time.Second))
		k.late, k.full = 0, false
	}
	if w.Full && k.late > 0 && !k.full {
		k.full = true
		k.log.Warn("nothing more is taken until Kafka acknowledges: connections are not read, the exchange may end them, and what they miss is fetched later", "waiting bytes", w.Bytes)
	}
}

// tellKafka looks at what waits until ctx ends.
func tellKafka(ctx context.Context, in *ingest.Ingestor, log *slog.Logger) error {
	k := kafkaTeller{log: log}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s := in.Stats()
			k.look(&s.Waiting)
		case <-ctx.Done():
			return nil
		}
	}
}
