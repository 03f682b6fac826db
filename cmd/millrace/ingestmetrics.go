package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/ingest/collect"
	"millrace/internal/latency"
)

// maxSymbolSeries is of how many symbols there are series; each has seven. All of the exchange's have room. Of others only the
// number is told.
const maxSymbolSeries = 4000

// Bounds of histograms are a microsecond doubled so many times: they are bounds
// of what is counted, so the figures are exact.
const (
	shortFrom, shortTo = 8, 25  // 256 µs to 34 s: on the way
	fillFrom, fillTo   = 17, 33 // 131 ms to 2.4 hours: to fill a hole
)

// newIngestRegistry makes a registry of an ingestor's metrics, and those of the
// process.
func newIngestRegistry(w *ingestWatch) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(newIngestMetrics(w), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// ingestMetrics reads what the ingestor counts anyway when it is scraped:
// nothing of it is on the way of a tick.
type ingestMetrics struct {
	watch *ingestWatch

	connSymbols, connUp, connFrames, connBytes, connSilence, connLag, connLosses, connRenewals, connRefused *prometheus.Desc
	trades, copies, filledIDs, elsewhere, held, silence, missing, holes, untold                             *prometheus.Desc
	gapsOpen, gapsFilled, fill                                                                              *prometheus.Desc
	used, limit, serverUsed, waiting, refusals, blocked, offset                                             *prometheus.Desc
	calls, success, failing                                                                                 *prometheus.Desc
	ackTrades, ackRecords, ackMarks, ackBytes, refused, ack                                                 *prometheus.Desc
	waitTrades, waitRecords, waitBytes, waitOldest, waitSilence, waitFull                                   *prometheus.Desc
}

func newIngestMetrics(w *ingestWatch) *ingestMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("millrace_ingest_"+name, help, labels, nil)
	}
	const conn, symbol = "connection", "symbol"
	return &ingestMetrics{
		watch: w,

		connSymbols:  desc("connection_symbols", "Symbols whose trades come by this connection.", conn),
		connUp:       desc("connection_up", "1 while the connection stands and promises progress, else 0. While it is 0 the candles of its symbols do not close by it.", conn),
		connFrames:   desc("connection_received_frames_total", "Websocket frames received.", conn),
		connRefused:  desc("connection_refused_frames_total", "Websocket frames that could not be used. If they are most of the frames, the server sends another format than was asked for.", conn),
		connBytes:    desc("connection_received_bytes_total", "Bytes of the websocket frames received.", conn),
		connSilence:  desc("connection_silence_seconds", "Time since the newest frame or, where REST is polled, the newest answer. If it grows while the market trades, the connection is dead or the exchange has stopped.", conn),
		connLag:      desc("connection_lag_seconds", "From the time at which the exchange says to have sent a trade to its receipt here, by the local clock put right by millrace_ingest_clock_offset_seconds.", conn),
		connLosses:   desc("connection_losses_total", "Connections that ended unasked. What was missed is fetched by REST; many losses cost weight.", conn),
		connRenewals: desc("connection_renewals_total", "Connections whose successor stood before they ended: the exchange ends each after 24 hours. Nothing is missed by it.", conn),

		trades:    desc("symbol_received_trades_total", "Trades received by the stream, copies among them.", symbol),
		copies:    desc("symbol_copies_total", "Trades received that had been seen before. They are expected around a renewal.", symbol),
		filledIDs: desc("symbol_filled_ids_total", "Trade ids that the stream did not bring and REST did.", symbol),
		elsewhere: desc("symbol_elsewhere_ids_total", "Trade ids that the stream did not bring and that were found in the log, brought by another ingestor.", symbol),
		held:      desc("symbol_held", "1 while marks promise nothing of the symbol, since ids are missing or it is not known yet what was missed. For longer than a minute it wants a look.", symbol),
		silence:   desc("symbol_silence_seconds", "Time since the newest trade. Many symbols trade rarely: compare with their usual pace.", symbol),
		missing:   desc("symbol_missing_ids", "Trade ids that are known to exist and have not come.", symbol),
		holes:     desc("symbol_holes", "Stretches of missing ids.", symbol),
		untold:    desc("symbols_untold", "Symbols collected of which there are no series here, since there are too many."),

		gapsOpen:   desc("gaps_open", "Gaps in these symbols that the processor tells of in the topic of gaps and that are not filled yet."),
		gapsFilled: desc("gaps_filled_total", "Stretches of missing ids that were filled."),
		fill:       desc("gap_fill_seconds", "From the discovery of a stretch of missing ids to the handing over of its last one."),

		used:       desc("rest_weight_used", "Request weight of own calls in the last minute."),
		limit:      desc("rest_weight_limit", "Request weight that own calls may have in a minute: a share of what the exchange allows an address."),
		serverUsed: desc("rest_server_weight_used", "Request weight in its current minute as the exchange told last, of all who call from this address. Far above rest_weight_used, others call too."),
		waiting:    desc("rest_waiting_calls", "Calls that wait for weight, by priority: clock before fill before history before rest.", "priority"),
		refusals:   desc("rest_refusals_total", "Answers of http 429 (too much weight) and 418 (banned). Any 418 wants a look.", "status"),
		blocked:    desc("rest_blocked_until_timestamp_seconds", "Unix time before which no call goes, as the exchange demanded; 0 if calls may go."),
		calls:      desc("rest_calls_total", "Calls that have ended, by outcome: ok; refused, which the exchange answered with no; limited, by http 429 or 418; failed, without a usable answer.", "outcome"),
		success:    desc("rest_last_success_timestamp_seconds", "Unix time of the newest call that was answered. Absent before the first. The clock is asked for once a second: if it stays behind, REST fails and what is missed can't be fetched."),
		failing:    desc("rest_failing_since_timestamp_seconds", "Unix time since when calls of some sort have failed that are not answered again; 0 while all is well."),
		offset:     desc("clock_offset_seconds", "By how much the exchange's clock is ahead of the local one. Absent while it is not known."),

		ackTrades:  desc("acknowledged_trades_total", "Trades that Kafka has acknowledged."),
		ackRecords: desc("acknowledged_records_total", "Records of all kinds that Kafka has acknowledged."),
		ackMarks:   desc("acknowledged_marks_total", "Marks that Kafka has acknowledged. If they stop, windows do not close."),
		ackBytes:   desc("acknowledged_bytes_total", "Bytes of the values of acknowledged records, before compression."),
		refused:    desc("refused_total", "Frames and trades that could not be used and were put into the dead letters, by reason.", "reason"),
		ack:        desc("acknowledgement_seconds", "From the receipt of a record's first trade to the record's acknowledgement by Kafka."),

		waitTrades:  desc("unacknowledged_trades", "Trades handed to Kafka's client that Kafka has not acknowledged."),
		waitRecords: desc("unacknowledged_records", "Records of all kinds that Kafka has not acknowledged."),
		waitBytes:   desc("unacknowledged_bytes", "Bytes of the records that Kafka has not acknowledged, before compression."),
		waitOldest:  desc("oldest_unacknowledged_seconds", "Time that the oldest unacknowledged record has waited, 0 if none waits. Above 5 the ingestor is not ready: Kafka is away, or behind."),
		waitSilence: desc("acknowledgement_silence_seconds", "Time for which Kafka has acknowledged nothing while something waited."),
		waitFull:    desc("buffer_full", "1 while sources are made to wait, since too much is unacknowledged: connections are not read, and what they miss is fetched later."),
	}
}

// Describe tells the descriptions, so that a registry finds a clash at once.
func (m *ingestMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.connSymbols, m.connUp, m.connFrames, m.connBytes, m.connSilence, m.connLag, m.connLosses, m.connRenewals, m.connRefused,
		m.trades, m.copies, m.filledIDs, m.elsewhere, m.held, m.silence, m.missing, m.holes, m.untold, m.gapsOpen, m.gapsFilled, m.fill,
		m.used, m.limit, m.serverUsed, m.waiting, m.refusals, m.blocked, m.offset, m.calls, m.success, m.failing,
		m.ackTrades, m.ackRecords, m.ackMarks, m.ackBytes, m.refused, m.ack,
		m.waitTrades, m.waitRecords, m.waitBytes, m.waitOldest, m.waitSilence, m.waitFull,
	} {
		ch <- d
	}
}

// Collect is one scrape.
func (m *ingestMetrics) Collect(ch chan<- prometheus.Metric) {
	out := metricSink(ch)
	m.log(out, m.watch.in.Stats())
	live := m.watch.live.Load()
	if live == nil {
		return
	}
	s := live.Status()
	m.collecting(out, &s, time.Now())
}

func (m *ingestMetrics) collecting(out metricSink, s *collect.Status, now time.Time) {
	for i := range s.Connections {
		m.connection(out, &s.Connections[i], strconv.Itoa(i), now)
	}
	told := map[string]bool{}
	untold := 0
	for i := range s.Symbols {
		x := &s.Symbols[i]
		name := strings.ToValidUTF8(x.Symbol, "?") // the exchange's word: it must not end a scrape
		switch {
		case told[name]: // on its way to another connection: a name has one series
		case len(told) == maxSymbolSeries:
			untold++
		default:
			told[name] = true
			m.symbol(out, x, name, now)
		}
	}
	out.gauge(m.untold, float64(untold))
	out.gauge(m.gapsOpen, float64(s.OpenGaps))
	out.counter(m.gapsFilled, s.Filled)
	out.histogram(m.fill, s.Fill, fillFrom, fillTo)
	m.rest(out, &s.Budget)
	m.fare(out, &s.Calls)
	if s.OffsetKnown {
		out.gauge(m.offset, s.Offset.Seconds())
	}
}

func (m *ingestMetrics) connection(out metricSink, c *collect.ConnectionStatus, name string, now time.Time) {
	out.gauge(m.connSymbols, float64(c.Symbols), name)
	out.gauge(m.connUp, one(c.Up), name)
	out.counter(m.connFrames, c.Frames, name)
	out.counter(m.connRefused, c.Refused, name)
	out.counter(m.connBytes, c.Bytes, name)
	if newest := newestOf(c); !newest.IsZero() {
		out.gauge(m.connSilence, max(0, now.Sub(newest).Seconds()), name)
	}
	out.histogram(m.connLag, c.Lag, shortFrom, shortTo, name)
	out.counter(m.connLosses, c.Losses, name)
	out.counter(m.connRenewals, c.Renews, name)
}

func (m *ingestMetrics) symbol(out metricSink, s *collect.SymbolStatus, name string, now time.Time) {
	missing := int64(0)
	for _, h := range s.Holes {
		missing += h.Last - h.First + 1
	}
	out.counter(m.trades, s.Trades, name)
	out.counter(m.copies, s.Copies, name)
	out.counter(m.filledIDs, s.Filled, name)
	out.counter(m.elsewhere, s.Elsewhere, name)
	out.gauge(m.held, one(s.Held), name)
	if !s.Heard.IsZero() {
		out.gauge(m.silence, max(0, now.Sub(s.Heard).Seconds()), name)
	}
	out.gauge(m.missing, float64(missing), name)
	out.gauge(m.holes, float64(len(s.Holes)), name)
}

func (m *ingestMetrics) rest(out metricSink, b *binance.BudgetStats) {
	out.gauge(m.used, float64(b.Used))
	out.gauge(m.limit, float64(b.Cap))
	out.gauge(m.serverUsed, float64(b.ServerUsed))
	for p, n := range b.Waiting {
		out.gauge(m.waiting, float64(n), binance.Priority(p).String())
	}
	out.counter(m.refusals, b.Limited, "429")
	out.counter(m.refusals, b.Banned, "418")
	out.gauge(m.blocked, unixSeconds(b.BlockedUntil))
}

// fare tells how the calls to REST fare.
func (m *ingestMetrics) fare(out metricSink, c *binance.CallStats) {
	for o, n := range c.Outcomes {
		out.counter(m.calls, n, binance.Outcome(o).String())
	}
	if !c.LastGood.IsZero() {
		out.gauge(m.success, unixSeconds(c.LastGood))
	}
	out.gauge(m.failing, unixSeconds(c.FailingSince))
}

// unixSeconds is 0 for no time.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func (m *ingestMetrics) log(out metricSink, s ingest.Stats) {
	out.counter(m.ackTrades, s.Trades)
	out.counter(m.ackRecords, s.Records)
	out.counter(m.ackMarks, s.Marks)
	out.counter(m.ackBytes, s.Bytes)
	known := collect.Reasons()
	for _, reason := range known { // a series begins at 0: its first rise is seen
		out.counter(m.refused, s.Reasons[reason], reason)
	}
	for reason, n := range s.Reasons {
		if !slices.Contains(known, reason) {
			out.counter(m.refused, n, reason)
		}
	}
	w := &s.Waiting
	out.gauge(m.waitTrades, float64(w.Trades))
	out.gauge(m.waitRecords, float64(w.Records))
	out.gauge(m.waitBytes, float64(w.Bytes))
	out.gauge(m.waitOldest, w.Oldest.Seconds())
	out.gauge(m.waitSilence, w.Silence.Seconds())
	out.gauge(m.waitFull, one(w.Full))
	out.histogram(m.ack, s.Latency, shortFrom, shortTo)
}

// metricSink takes the metrics of one scrape.
type metricSink chan<- prometheus.Metric

func (ch metricSink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (ch metricSink) counter(d *prometheus.Desc, n int64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

// histogram gives a fixed set of bounds: Prometheus compares scrapes bound by
// bound. What lies above the last is in the count alone, which is +Inf's.
func (ch metricSink) histogram(d *prometheus.Desc, s latency.Snapshot, from, to int, labels ...string) {
	buckets := make(map[float64]uint64, to-from+1)
	for _, b := range s.Octaves(from, to) {
		buckets[b.Below.Seconds()] = b.Count
	}
	ch <- prometheus.MustNewConstHistogram(d, s.Count, s.Sum.Seconds(), buckets, labels...)
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
