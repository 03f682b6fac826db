package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/ingest/collect"
	"millrace/internal/latency"
	"millrace/schema"
)

// ingestStatus is what /ingest/status.json serves: how an ingestor stands. The
// names and units are a promise to programs; names may be added. Times are RFC
// 3339 in UTC, null where there is none; what ends in _seconds is a number of
// them.
type ingestStatus struct {
	Time time.Time `json:"time"` // of this answer
	// Ready says that every connection stands, or has been away for a few seconds
	// only, and brings what can be used, that no symbol has been held and REST has
	// not failed for longer than a minute, and that Kafka acknowledges; Reasons say
	// why not, a line each.
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`

	Connections []connectionJSON `json:"connections"`
	Gaps        gapsJSON         `json:"gaps"`
	REST        restJSON         `json:"rest"`
	// ClockOffset is by how much the exchange's clock is ahead of the local one;
	// null while it is not known.
	ClockOffset *float64     `json:"clock_offset_seconds"`
	Log         logJSON      `json:"log"`
	Symbols     []symbolJSON `json:"symbols"`
}

// connectionJSON is a group of symbols and its connection, one after the other.
type connectionJSON struct {
	Connection int        `json:"connection"` // its number, from 0
	Symbols    int        `json:"symbols"`
	Up         bool       `json:"up"`
	UpSince    *time.Time `json:"up_since"`
	Frames     int64      `json:"frames"`  // received since the process started
	Refused    int64      `json:"refused"` // of them could not be used
	Bytes      int64      `json:"bytes"`
	NewestAt   *time.Time `json:"newest_frame_at"`
	Lag        spanJSON   `json:"lag"`      // from the exchange's sending to the receipt here
	Losses     int64      `json:"losses"`   // connections that ended unasked
	Renewals   int64      `json:"renewals"` // connections replaced by the next before they ended
	LastReason string     `json:"last_reason"`
	ReasonAt   *time.Time `json:"last_reason_at"`
	Trades     int64      `json:"trades"` // received, of the symbols of the moment
	// Polled says that REST is asked in place of a connection: then there are no
	// frames, but newest answers.
	Polled   bool       `json:"polled"`
	AnswerAt *time.Time `json:"newest_answer_at"`
}

// spanJSON is how long something took: a quarter too long at most.
type spanJSON struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50_seconds"`
	P99   float64 `json:"p99_seconds"`
	Worst float64 `json:"worst_seconds"`
}

type gapsJSON struct {
	Open   int64    `json:"open"`   // as the processor tells of these symbols
	Filled int64    `json:"filled"` // stretches of ids that were missing here and were fetched
	Fill   spanJSON `json:"fill"`   // from finding one to its last id
}

// restJSON is the request weight, which the exchange counts by address, and how
// the calls fare.
type restJSON struct {
	WeightUsed   int64          `json:"weight_used"`  // by own calls in the last minute
	WeightLimit  int64          `json:"weight_limit"` // the share that may be used
	ServerUsed   int64          `json:"server_weight_used"`
	ServerAt     *time.Time     `json:"server_weight_at"` // when the exchange said so
	Waiting      map[string]int `json:"waiting"`          // calls, by priority
	Limited      int64          `json:"limited"`          // answers of 429
	Banned       int64          `json:"banned"`           // answers of 418
	BlockedUntil *time.Time     `json:"blocked_until"`

	Calls         map[string]int64 `json:"calls"`  // that have ended: ok, refused, limited, failed
	Errors        int64            `json:"errors"` // of them limited or failed
	LastSuccessAt *time.Time       `json:"last_success_at"`
	// FailingSince is since when calls of some sort fail that succeeded before,
	// and Failing how many have; null and 0 while none do.
	FailingSince *time.Time `json:"failing_since"`
	Failing      int64      `json:"failing"`
	LastError    string     `json:"last_error"`
	LastErrorAt  *time.Time `json:"last_error_at"`
}

// logJSON is what Kafka has acknowledged.
type logJSON struct {
	Trades       int64    `json:"trades"`
	Records      int64    `json:"records"`
	Marks        int64    `json:"marks"`
	Bytes        int64    `json:"bytes"`
	Refused      int64    `json:"refused"`      // put into the dead letters
	Acknowledged spanJSON `json:"acknowledged"` // from a tick's receipt on

	// ReasonsRefused counts what was refused by reason.
	ReasonsRefused map[string]int64 `json:"refused_by_reason"`
	Waiting        waitingJSON      `json:"waiting"`
}

// waitingJSON is what Kafka has not acknowledged yet.
type waitingJSON struct {
	Trades  int64   `json:"trades"`
	Records int64   `json:"records"`
	Bytes   int64   `json:"bytes"`
	Oldest  float64 `json:"oldest_seconds"`  // that the oldest has waited
	Silence float64 `json:"silence_seconds"` // that nothing was acknowledged while something waited
	Full    bool    `json:"full"`            // no more is taken until some is acknowledged
	Error   string  `json:"last_error"`      // of the connections to Kafka since the newest acknowledgement
}

type symbolJSON struct {
	Symbol    string     `json:"symbol"`
	Status    string     `json:"status"` // the exchange's word: trading, halt, break, end_of_day, cancel_only, delisted; else unknown
	NextID    int64      `json:"next_id"`
	Trades    int64      `json:"trades"`        // received
	Copies    int64      `json:"copies"`        // of them had been seen before
	FilledIDs int64      `json:"filled_ids"`    // fetched
	Elsewhere int64      `json:"elsewhere_ids"` // missed here, and brought by another ingestor
	Held      bool       `json:"held"`          // marks promise nothing of it
	HeldSince *time.Time `json:"held_since"`
	HeardAt   *time.Time `json:"heard_at"` // when the newest trade came
	Silent    bool       `json:"silent"`   // for long against its own pace
	Holes     []holeJSON `json:"holes"`
}

// holeJSON is a stretch of ids that are missing here.
type holeJSON struct {
	First  int64     `json:"first_id"`
	Last   int64     `json:"last_id"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"` // why it can't be had; "" while it is being fetched
	// LastError is why the last call for it failed; it will be made again.
	LastError string `json:"last_error"`
}

const (
	// heldLong is how long a symbol may be held, or REST fail, before an operator
	// is told: a lost connection and a hole are over in seconds.
	heldLong = time.Minute
	// lostGrace is how long a connection that was lost may be away: the next one
	// stands within a second or two.
	lostGrace = 5 * time.Second
)

// statusOf puts what the ingestor tells into the form that is served. live is
// nil while nothing is being collected.
func statusOf(live *collect.Live, in ingest.Stats, now time.Time) *ingestStatus {
	var c collect.Status
	if live != nil {
		c = live.Status()
	}
	return statusFrom(&c, in, now)
}

func statusFrom(c *collect.Status, in ingest.Stats, now time.Time) *ingestStatus {
	s := &ingestStatus{
		Time: now.UTC(), Connections: []connectionJSON{}, Symbols: []symbolJSON{}, Reasons: append(reasonsOf(c, now), refusalReasons(c)...),
		Gaps: gapsJSON{c.OpenGaps, c.Filled, spanOf(c.Fill)},
		REST: restOf(&c.Budget, &c.Calls),
		Log:  logOf(&in),
	}
	if why := kafkaReason(&in.Waiting); why != "" {
		s.Reasons = slices.Insert(s.Reasons, 0, why)
	}
	s.Ready = len(s.Reasons) == 0
	if c.OffsetKnown {
		offset := c.Offset.Seconds()
		s.ClockOffset = &offset
	}
	for i := range c.Connections {
		x := &c.Connections[i]
		s.Connections = append(s.Connections, connectionJSON{
			Connection: i, Symbols: x.Symbols, Up: x.Up, UpSince: momentOf(x.Since), Frames: x.Frames, Refused: x.Refused, Bytes: x.Bytes,
			NewestAt: momentOf(frameOf(x)), Lag: spanOf(x.Lag), Losses: x.Losses, Renewals: x.Renews, LastReason: x.Why,
			ReasonAt: momentOf(x.WhyAt), Trades: x.Trades, Polled: x.Polled, AnswerAt: momentOf(x.Answered),
		})
	}
	for i := range c.Symbols {
		x := &c.Symbols[i]
		y := symbolJSON{
			Symbol: x.Symbol, Status: statusName(x.Status), NextID: x.Next, Trades: x.Trades, Copies: x.Copies, FilledIDs: x.Filled, Elsewhere: x.Elsewhere,
			Held: x.Held, HeldSince: momentOf(x.Since), HeardAt: momentOf(x.Heard), Silent: x.Silent, Holes: []holeJSON{},
		}
		for _, h := range x.Holes {
			y.Holes = append(y.Holes, holeJSON{h.First, h.Last, h.Since.UTC(), holeReason(h.Why), h.Trouble})
		}
		s.Symbols = append(s.Symbols, y)
	}
	return s
}

// reasonsOf tells why an ingestor is not ready.
func reasonsOf(c *collect.Status, now time.Time) []string {
	all := []string{}
	switch {
	case len(c.Connections) == 0 && c.Waiting != "":
		all = append(all, "no connection has been made yet, it is tried again and again: "+c.Waiting)
	case len(c.Connections) == 0:
		all = append(all, "no connection has been made yet")
	case !c.Begun:
		all = append(all, "not all connections have been made yet")
	}
	for i := range c.Connections {
		if x := &c.Connections[i]; !x.Up && (x.Lost.IsZero() || now.Sub(x.Lost) > lostGrace) {
			why := x.Why
			if why == "" {
				why = "it is being made"
			}
			all = append(all, fmt.Sprintf("connection %d of %s does not stand: %s", i, plural(x.Symbols, "symbol"), why))
		}
	}
	if since := c.Calls.FailingSince; !since.IsZero() && now.Sub(since) > heldLong {
		all = append(all, fmt.Sprintf("REST has failed since %s (%s), so what is missed can't be fetched: %s", clockTime(since, now), plural(c.Calls.Failing, "call"), c.Calls.LastErr))
	}
	for i := range c.Symbols {
		if x := &c.Symbols[i]; x.Held && now.Sub(x.Since) > heldLong {
			all = append(all, fmt.Sprintf("%s has been held for %s: %s", x.Symbol, short(now.Sub(x.Since)), plural(len(x.Holes), "hole")))
		}
	}
	return all
}

// holeReason adds what to do.
func holeReason(why string) string {
	if strings.HasSuffix(why, collect.NoDumps) {
		why += ": name them by --binance-dumps"
	}
	return why
}

// clockTime is the clock time in UTC, with the date where it is another one.
func clockTime(t, now time.Time) string {
	if t, now = t.UTC(), now.UTC(); t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.RFC3339)
}

func logOf(in *ingest.Stats) logJSON {
	w := &in.Waiting
	l := logJSON{
		Trades: in.Trades, Records: in.Records, Marks: in.Marks, Bytes: in.Bytes, Refused: in.Refused, Acknowledged: spanOf(in.Latency),
		ReasonsRefused: map[string]int64{},
		Waiting:        waitingJSON{Trades: w.Trades, Records: w.Records, Bytes: w.Bytes, Oldest: w.Oldest.Seconds(), Silence: w.Silence.Seconds(), Full: w.Full},
	}
	maps.Copy(l.ReasonsRefused, in.Reasons)
	if w.Why != nil {
		l.Waiting.Error = w.Why.Error()
	}
	return l
}

func restOf(b *binance.BudgetStats, c *binance.CallStats) restJSON {
	r := restJSON{
		WeightUsed: b.Used, WeightLimit: b.Cap, ServerUsed: b.ServerUsed, ServerAt: momentOf(b.ServerAt), Waiting: map[string]int{},
		Limited: b.Limited, Banned: b.Banned, BlockedUntil: momentOf(b.BlockedUntil),
		Calls: map[string]int64{}, Errors: c.Outcomes[binance.CallLimited] + c.Outcomes[binance.CallFailed],
		LastSuccessAt: momentOf(c.LastGood), FailingSince: momentOf(c.FailingSince), Failing: c.Failing, LastError: c.LastErr, LastErrorAt: momentOf(c.LastErrAt),
	}
	for o, n := range c.Outcomes {
		r.Calls[binance.Outcome(o).String()] = n
	}
	for p, n := range b.Waiting {
		r.Waiting[binance.Priority(p).String()] = n
	}
	return r
}

func spanOf(s latency.Snapshot) spanJSON {
	return spanJSON{s.Count, s.Quantile(0.5).Seconds(), s.Quantile(0.99).Seconds(), s.Quantile(1).Seconds()}
}

func statusName(s schema.TradingStatus) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "TRADING_STATUS_"))
}

// newestOf is when a connection's newest frame came, or the newest answer.
func newestOf(x *collect.ConnectionStatus) time.Time {
	if x.Polled {
		return x.Answered
	}
	return frameOf(x)
}

// frameOf is when a connection's newest frame came.
func frameOf(x *collect.ConnectionStatus) time.Time {
	if x.Last == 0 {
		return time.Time{}
	}
	return x.Last.Std()
}

func momentOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
