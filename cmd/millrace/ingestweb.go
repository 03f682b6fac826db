package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"millrace/ingest"
	"millrace/ingest/collect"
	"millrace/internal/latency"
)

// ingestWatch is what an operator sees of an ingestor.
type ingestWatch struct {
	in   *ingest.Ingestor
	live atomic.Pointer[collect.Live] // nil while nothing is being collected
}

func (w *ingestWatch) status() *ingestStatus {
	return statusOf(w.live.Load(), w.in.Stats(), time.Now())
}

// routes serves, beside what every process shows of itself:
//
//	/metrics              for Prometheus
//	/readyz               200 when the ingestor is ready, else 503 and why not
//	/ingest/status.json   an ingestStatus
func (w *ingestWatch) routes(mux *http.ServeMux, log *slog.Logger) {
	mux.Handle("GET /metrics", promhttp.HandlerFor(newIngestRegistry(w), promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 4,
	}))
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		text := "ready\n"
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if s := w.status(); !s.Ready {
			text = strings.Join(s.Reasons, "\n") + "\n"
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		if _, err := io.WriteString(rw, text); err != nil {
			log.Debug("a readiness check left", "err", err)
		}
	})
	mux.HandleFunc("GET /ingest/status.json", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		if err := writeJSON(rw, w.status()); err != nil {
			log.Debug("a reader of the ingestor's status left", "err", err)
		}
	})
}

// frame is what ingest's page and its log lines show.
func (w *ingestWatch) frame() frame {
	st := w.in.Stats()
	f := frame{Title: fmt.Sprintf("millrace ingest · %s in %s acknowledged · %d refused", plural(st.Trades, "tick"), plural(st.Records, "record"), st.Refused)}
	collected, stages := w.shown()
	if collected != "" {
		f.Title += " · " + collected
	}
	f.Stages = stages
	return f
}

// shown is how collecting stands, in a line, and how long a tick takes on its
// way into the log.
func (w *ingestWatch) shown() (string, []stageRow) {
	stats := w.in.Stats()
	acknowledged := latencyStage("tick received to acknowledged", stats.Latency)
	live := w.live.Load()
	if live == nil {
		return "", []stageRow{acknowledged}
	}
	c := live.Status()
	up := 0
	var lag latency.Snapshot
	for i := range c.Connections {
		if c.Connections[i].Up {
			up++
		}
		lag = lag.Merge(c.Connections[i].Lag)
	}
	line := fmt.Sprintf("%d of %s up · %s open · weight %d of %d", up, plural(len(c.Connections), "connection"), plural(c.OpenGaps, "gap"), c.Budget.Used, c.Budget.Cap)
	if since := c.Calls.FailingSince; !since.IsZero() {
		line += " · REST fails since " + clockTime(since, time.Now())
	}
	if c.Waiting != "" {
		line += " · waiting to " + c.Waiting
	}
	if why := kafkaReason(&stats.Waiting); why != "" {
		line += " · " + why
	}
	return line, []stageRow{latencyStage("tick sent to received", lag), acknowledged}
}
