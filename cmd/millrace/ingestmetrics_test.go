package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/ingest/collect"
	"millrace/internal/latency"
)

// statusMetrics gathers the metrics of a status that is given.
type statusMetrics struct {
	*ingestMetrics
	status *collect.Status
}

func (s statusMetrics) Collect(ch chan<- prometheus.Metric) {
	s.collecting(ch, s.status, statusTime)
}

func gather(t *testing.T, s *collect.Status) map[string]int {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(statusMetrics{newIngestMetrics(nil), s})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, f := range families {
		n[f.GetName()] = len(f.GetMetric())
		if f.GetName() == "millrace_ingest_symbols_untold" {
			n[f.GetName()] = int(value(f, ""))
		}
	}
	return n
}

// What the exchange names bounds neither the number of series nor their labels.
func TestSeriesAreBounded(t *testing.T) {
	var s collect.Status
	for i := range maxSymbolSeries + 10 {
		s.Symbols = append(s.Symbols, collect.SymbolStatus{Symbol: fmt.Sprintf("S%05d", i)})
	}
	s.Symbols[3].Symbol = "\xff\x00\"\n"
	s.Symbols[5].Symbol = s.Symbols[4].Symbol // on its way from one connection to another
	n := gather(t, &s)
	if n["millrace_ingest_symbol_held"] != maxSymbolSeries || n["millrace_ingest_symbols_untold"] != 9 {
		t.Errorf("%d series of symbols, %d untold", n["millrace_ingest_symbol_held"], n["millrace_ingest_symbols_untold"])
	}
}

// Two names that differ only in what no label can hold are one.
func TestNamesThatNoLabelHolds(t *testing.T) {
	s := collect.Status{Symbols: []collect.SymbolStatus{{Symbol: "A\xff"}, {Symbol: "A\xfe"}}}
	if n := gather(t, &s); n["millrace_ingest_symbol_held"] != 1 {
		t.Errorf("%d series", n["millrace_ingest_symbol_held"])
	}
}

// What is not known is absent, not 0.
func TestUnknownIsAbsent(t *testing.T) {
	s := collect.Status{Connections: []collect.ConnectionStatus{{}}, Symbols: []collect.SymbolStatus{{Symbol: "A"}}}
	n := gather(t, &s)
	for _, name := range []string{"connection_silence_seconds", "symbol_silence_seconds", "clock_offset_seconds", "rest_last_success_timestamp_seconds"} {
		if n["millrace_ingest_"+name] != 0 {
			t.Errorf("%s is told", name)
		}
	}
	if n["millrace_ingest_connection_up"] != 1 {
		t.Error("the connection is not told")
	}
}

func TestHistogramOfADay(t *testing.T) {
	var h latency.Histogram
	for _, d := range []time.Duration{100 * time.Microsecond, time.Millisecond, time.Second, 24 * time.Hour} {
		h.Observe(d)
	}
	s := collect.Status{Connections: []collect.ConnectionStatus{{}}}
	s.Connections[0].Lag = h.Snapshot()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(statusMetrics{newIngestMetrics(nil), &s})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "millrace_ingest_connection_lag_seconds" {
			continue
		}
		got := f.GetMetric()[0].GetHistogram()
		first, last := got.GetBucket()[0], got.GetBucket()[len(got.GetBucket())-1]
		if first.GetUpperBound() != 256e-6 || first.GetCumulativeCount() != 1 || last.GetCumulativeCount() != 3 || got.GetSampleCount() != 4 {
			t.Errorf("histogram %v", got)
		}
		if sum := got.GetSampleSum(); sum < 86401.0010 || sum > 86401.0012 {
			t.Errorf("the sum is %v seconds", sum)
		}
		return
	}
	t.Error("no histogram")
}

// TestCallsAreTold: how calls ended, and since when they fail.
func TestCallsAreTold(t *testing.T) {
	day := badDay()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(statusMetrics{newIngestMetrics(nil), &day.Status})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), "millrace_ingest_rest_")
		got[name] = value(f, "")
		for _, m := range f.GetMetric() {
			if name == "calls_total" {
				got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	at := float64(statusTime.Unix())
	for name, want := range map[string]float64{
		"ok": 100, "refused": 1, "limited": 1, "failed": 41, "last_success_timestamp_seconds": at - 70, "failing_since_timestamp_seconds": at - 69,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}
