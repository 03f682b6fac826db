package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// attentionMost is how many symbols are printed unless all are asked for.
const attentionMost = 20

// text gives the tables of a status. before is an earlier one of the same
// ingestor; frames a second are counted from there.
func (s *ingestStatus) text(before *ingestStatus, most int) string {
	var b strings.Builder
	s.writeConnections(&b, before)
	s.writeFigures(&b)
	s.writeAttention(&b, most)
	return b.String()
}

func (s *ingestStatus) writeConnections(b *strings.Builder, before *ingestStatus) {
	rows := [][]string{{"connection", "up for", "symbols", "frames/s", "trades/s", "lag p50", "lag p99", "silence", "losses", "renewals", "last reason"}}
	for i := range s.Connections {
		c := &s.Connections[i]
		up := "down"
		if c.Up && c.UpSince != nil {
			up = ago(s.Time, c.UpSince)
		}
		frames, trades, newest := "-", "-", c.NewestAt
		if took := s.Time.Sub(before.Time).Seconds(); took > 0 && i < len(before.Connections) {
			frames, trades = rate(before.Connections[i].Frames, c.Frames, took), rate(before.Connections[i].Trades, c.Trades, took)
		}
		if c.Polled {
			frames, newest = "-", c.AnswerAt
		}
		reason := cmp.Or(clip(c.LastReason, 120), "-")
		if c.ReasonAt != nil {
			reason = ago(s.Time, c.ReasonAt) + " ago: " + reason
		}
		rows = append(rows, []string{
			fmt.Sprint(c.Connection), up, fmt.Sprint(c.Symbols), frames, trades, seconds(c.Lag.P50), seconds(c.Lag.P99), ago(s.Time, newest),
			fmt.Sprint(c.Losses), fmt.Sprint(c.Renewals), reason,
		})
	}
	writeTable(b, rows, "rrrrrrrrrrl")
}

// rate is how much a figure has grown a second; it may have been counted anew.
func rate(before, now int64, took float64) string {
	if now < before {
		return "-"
	}
	return fmt.Sprintf("%.0f", float64(now-before)/took)
}

func (s *ingestStatus) writeFigures(b *strings.Builder) {
	g, r := &s.Gaps, &s.REST
	fmt.Fprintf(b, "\ngaps     %d open, %d filled", g.Open, g.Filled)
	if g.Fill.Count > 0 {
		fmt.Fprintf(b, ", time to fill p50 %s, worst %s", seconds(g.Fill.P50), seconds(g.Fill.Worst))
	}
	fmt.Fprintf(b, "\nweight   %d of %d used in the last minute", r.WeightUsed, r.WeightLimit)
	if r.ServerAt != nil {
		fmt.Fprintf(b, ", %d by the exchange's count", r.ServerUsed)
	}
	waiting := 0
	for _, n := range r.Waiting {
		waiting += n
	}
	fmt.Fprintf(b, ", %s waiting", plural(waiting, "call"))
	if waiting > 0 {
		var parts []string
		for p, n := range r.Waiting {
			if n > 0 {
				parts = append(parts, fmt.Sprintf("%s %d", clip(p, 20), n))
			}
		}
		slices.Sort(parts)
		fmt.Fprintf(b, " (%s)", strings.Join(parts, ", "))
	}
	if r.Limited+r.Banned > 0 {
		fmt.Fprintf(b, ", %s of 429, %d of 418", plural(r.Limited, "answer"), r.Banned)
	}
	if r.BlockedUntil != nil {
		fmt.Fprintf(b, ", blocked until %s", r.BlockedUntil.Format(time.RFC3339))
	}
	s.writeCalls(b)
	b.WriteString("\nclock    ")
	if o := s.ClockOffset; o == nil {
		b.WriteString("the exchange's is not known yet")
	} else if *o >= 0 {
		fmt.Fprintf(b, "the exchange's is %s ahead", seconds(*o))
	} else {
		fmt.Fprintf(b, "the exchange's is %s behind", seconds(-*o))
	}
	l := &s.Log
	fmt.Fprintf(b, "\nlog      %s in %s acknowledged, p50 %s, p99 %s; %d refused", plural(l.Trades, "tick"), plural(l.Records, "record"),
		seconds(l.Acknowledged.P50), seconds(l.Acknowledged.P99), l.Refused)
	if w := &l.Waiting; w.Oldest >= 1 { // what is merely on its way is no news
		fmt.Fprintf(b, "; %s in %s not acknowledged, the oldest for %s", countOf(w.Trades, "tick"), countOf(w.Records, "record"), seconds(w.Oldest))
		if w.Error != "" {
			fmt.Fprintf(b, ": %s", clip(w.Error, 120))
		}
	}
	b.WriteByte('\n')
}

// writeCalls tells how the calls to REST fare.
func (s *ingestStatus) writeCalls(b *strings.Builder) {
	r := &s.REST
	total := int64(0)
	for _, n := range r.Calls {
		total += n
	}
	if r.FailingSince != nil {
		fmt.Fprintf(b, "\nREST     has failed since %s (%s): %s", clockTime(*r.FailingSince, s.Time), plural(r.Failing, "call"), clip(r.LastError, 200))
	} else {
		fmt.Fprintf(b, "\nREST     %s", plural(total, "call"))
	}
	if r.Errors > 0 {
		fmt.Fprintf(b, "; %d of %d have failed since the start", r.Errors, total)
	}
	if r.LastSuccessAt != nil {
		fmt.Fprintf(b, ", the newest answer %s ago", ago(s.Time, r.LastSuccessAt))
	} else if total > 0 {
		b.WriteString(", none answered yet")
	}
}

// writeResting names symbols that are collected and not traded now.
func (s *ingestStatus) writeResting(b *strings.Builder) {
	var list []string
	for i := range s.Symbols {
		if x := &s.Symbols[i]; x.Status != "trading" && x.Status != "unknown" {
			list = append(list, clip(x.Symbol, 30)+" "+clip(x.Status, 20))
		}
	}
	if len(list) > 0 {
		fmt.Fprintf(b, "resting  %d not traded now: %s\n", len(list), some(list))
	}
}

// writeAttention lists the symbols that need attention, the worst first.
func (s *ingestStatus) writeAttention(b *strings.Builder, most int) {
	s.writeResting(b)
	var list []*symbolJSON
	for i := range s.Symbols {
		if x := &s.Symbols[i]; x.Held || x.Silent || len(x.Holes) > 0 {
			list = append(list, x)
		}
	}
	if len(list) == 0 {
		fmt.Fprintf(b, "symbols  %d, none needs attention\n", len(s.Symbols))
		return
	}
	slices.SortStableFunc(list, func(x, y *symbolJSON) int {
		return cmp.Or(-cmp.Compare(s.heldFor(x), s.heldFor(y)), -cmp.Compare(len(x.Holes), len(y.Holes)), cmp.Compare(x.Symbol, y.Symbol))
	})
	fmt.Fprintf(b, "symbols  %d, of them %d need attention:\n\n", len(s.Symbols), len(list))
	rows := [][]string{{"symbol", "status", "held for", "heard", "missing ids", "what"}}
	for _, x := range list[:min(len(list), most)] {
		missing := int64(0)
		for _, h := range x.Holes {
			missing += h.Last - h.First + 1
		}
		rows = append(rows, []string{clip(x.Symbol, 30), clip(x.Status, 20), ago(s.Time, x.HeldSince), ago(s.Time, x.HeardAt), fmt.Sprint(missing), x.what()})
	}
	writeTable(b, rows, "llrrrl")
	if n := len(list) - most; n > 0 {
		fmt.Fprintf(b, "… and %d more: see them with --all\n", n)
	}
}

func (s *ingestStatus) heldFor(x *symbolJSON) time.Duration {
	if x.HeldSince == nil {
		return 0
	}
	return s.Time.Sub(*x.HeldSince)
}

// what says in words what is the matter: of holes the first that can't be had,
// or that is hard to get.
func (x *symbolJSON) what() string {
	var parts []string
	if n := len(x.Holes); n > 0 {
		h := x.Holes[0]
		for _, o := range x.Holes {
			if o.Reason != "" {
				h = o
				break
			}
			if h.LastError == "" {
				h = o
			}
		}
		state := "being fetched"
		if h.Reason != "" {
			state = "can't be had: " + h.Reason
		} else if h.LastError != "" {
			state += ", last error: " + h.LastError
		}
		parts = append(parts, fmt.Sprintf("%s, ids %d to %d: %s", plural(n, "hole"), h.First, h.Last, clip(state, 120)))
	} else if x.Held {
		parts = append(parts, "held until it is known what was missed")
	}
	if x.Silent {
		parts = append(parts, "silent")
	}
	return strings.Join(parts, "; ")
}

// ago is how long t was before now.
func ago(now time.Time, t *time.Time) string {
	if t == nil {
		return "-"
	}
	return short(max(now.Sub(*t).Round(time.Millisecond), time.Millisecond))
}

func seconds(s float64) string { return short(time.Duration(s * float64(time.Second))) }

// writeTable sets each column to the left or to the right, as l or r says.
func writeTable(b *strings.Builder, rows [][]string, sides string) {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, cell := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			if i > 0 {
				line.WriteString("  ")
			}
			pad(&line, cell, widths[i], sides[i] == 'r')
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
