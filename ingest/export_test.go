package ingest

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Race says that the race detector runs.
const Race = race

// Stub is an ingestor without Kafka: what is produced is acknowledged at once.
func Stub(t testing.TB) *Ingestor {
	return stub(t, func(_ context.Context, r *kgo.Record, done func(*kgo.Record, error)) { done(r, nil) }, 500)
}
