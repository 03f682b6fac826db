package kafka

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// logEvery bounds how often one and the same line is written: a broker that
// is away makes kgo warn at each of its tries.
const logEvery = 30 * time.Second

// logger hands kgo's warnings and errors to slog. It is shut until the first
// answer came: what goes wrong before is Connect's error.
type logger struct {
	to   *slog.Logger
	open atomic.Bool

	mu   sync.Mutex
	last map[string]time.Time // by message
}

func (l *logger) Level() kgo.LogLevel {
	if l.to == nil || !l.open.Load() {
		return kgo.LogLevelNone
	}
	return kgo.LogLevelWarn
}

func (l *logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if level > l.Level() || !l.due(msg, time.Now()) {
		return
	}
	if level == kgo.LogLevelError {
		l.to.Error("kafka: "+msg, keyvals...)
		return
	}
	l.to.Warn("kafka: "+msg, keyvals...)
}

// due says whether a line may be written again. kgo's messages are constants,
// so there are only so many of them.
func (l *logger) due(msg string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, ok := l.last[msg]; ok && now.Sub(t) < logEvery {
		return false
	}
	if l.last == nil {
		l.last = make(map[string]time.Time)
	}
	l.last[msg] = now
	return true
}
