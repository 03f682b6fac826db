package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

func (a *app) deadCommand() command {
	return command{
		use:   "dead",
		short: "dead letters: list, look into, try again",
		long: "What could not be used stands in the topic of dead letters with its reason (`millrace help dead-letters` explains them). " +
			"These commands go through it, and send what was refused to ticks again.",
		example: "millrace dead list --since 24h\nmillrace dead retry --reason future --wait",
		subs:    []command{a.deadList(), a.deadShow(), a.deadRetry()},
		run: func(context.Context, *settings, []string) error {
			return usagef("wanted list, show or retry; see millrace dead --help")
		},
	}
}

// letter is one dead letter.
type letter struct {
	ID        string    `json:"letter"` // PARTITION/OFFSET in the topic of dead letters
	Time      time.Time `json:"time"`
	Reason    string    `json:"reason"`
	Text      string    `json:"text"`
	Symbol    string    `json:"symbol,omitempty"`
	TopicID   string    `json:"topic_id,omitempty"` // of the log it was refused in
	Partition int32     `json:"partition"`
	Offset    *int64    `json:"offset,omitempty"` // there; absent if it never was in a log
	Index     int       `json:"index"`            // of the trade in its record
	Bytes     int       `json:"bytes"`

	rec  *kgo.Record
	kind schema.Kind // 0: it can't be read
}

// newLetter reads a letter. What is missing in a header that others wrote stays
// empty.
func newLetter(rec *kgo.Record, tick *schema.Tick) *letter {
	x := &letter{ID: fmt.Sprintf("%d/%d", rec.Partition, rec.Offset), Time: rec.Timestamp.UTC(), Partition: rec.Partition, Bytes: len(rec.Value), rec: rec}
	for _, h := range rec.Headers {
		v := string(h.Value)
		switch h.Key {
		case schema.HeaderReason:
			x.Reason = v
		case schema.HeaderError:
			x.Text = v
		case schema.HeaderTopicID:
			x.TopicID = v
		case schema.HeaderPartition:
			if n, err := strconv.ParseInt(v, 10, 32); err == nil {
				x.Partition = int32(n)
			}
		case schema.HeaderOffset:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				x.Offset = &n
			}
		case schema.HeaderIndex:
			if n, err := strconv.Atoi(v); err == nil {
				x.Index = n
			}
		}
	}
	if tick.Decode(rec.Value) == nil {
		x.kind, x.Symbol = tick.Kind, symbolOf(tick)
	} else if schema.ValidateSymbol(string(rec.Key)) == nil {
		x.Symbol = string(rec.Key)
	}
	return x
}

// symbolOf gives the symbol that a record is of, "" where it is of none.
func symbolOf(t *schema.Tick) string {
	switch t.Kind {
	case schema.KindTrades:
		return string(t.Batch.Symbol)
	case schema.KindAnchor:
		return t.Anchor.Symbol
	case schema.KindWatch:
		return t.Watch.Symbol
	case schema.KindSeal:
		return t.Seal.Symbol
	case schema.KindNewSeries:
		return t.NewSeries.Symbol
	case schema.KindRepair:
		return t.Repair.Symbol
	}
	return ""
}

// deadFilter says which letters are meant.
type deadFilter struct {
	reason, symbol, since string
	limit                 int
	from                  time.Time
}

func (f *deadFilter) flags(fs *pflag.FlagSet) {
	fs.StringVar(&f.reason, "reason", "", "only those of this `REASON`")
	fs.StringVar(&f.symbol, "symbol", "", "only those of this `SYMBOL`")
	fs.StringVar(&f.since, "since", "", "only those written since a `TIME` (2024-08-08T12:00:00Z), or in the last 24h")
}

func (f *deadFilter) check(now time.Time) error {
	f.symbol = strings.ToUpper(f.symbol)
	if f.limit < 0 {
		return usagef("--limit: %d is below 0", f.limit)
	}
	if f.since == "" {
		return nil
	}
	if d, err := time.ParseDuration(f.since); err == nil {
		f.from = now.Add(-d)
		return nil
	}
	if t, err := parseMoment(f.since); err == nil {
		f.from = t
		return nil
	}
	return usagef("--since: %q is neither a time (2024-08-08T12:00:00Z) nor a duration (24h)", f.since)
}

func (f *deadFilter) takes(x *letter) bool {
	return (f.reason == "" || f.reason == x.Reason) && (f.symbol == "" || f.symbol == x.Symbol) && !x.Time.Before(f.from)
}

// morgue is the topic of dead letters.
type morgue struct {
	client *kgo.Client
	log    kafka.Lineage
	topic  string
}

func openMorgue(ctx context.Context, s *settings) (*morgue, error) {
	client, l, err := openLook(ctx, s, "dead")
	if err != nil {
		return nil, err
	}
	return &morgue{client, l, schema.DeadTopic(s.Log.Ticks)}, nil
}

// ends gives the offset behind the last letter of each partition.
func (m *morgue) ends(ctx context.Context) (map[int32]int64, error) {
	ends, err := kadm.NewClient(m.client).ListEndOffsets(ctx, m.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of %s: %w", m.topic, err)
	}
	out := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out, nil
}

// starts gives where the letters since a time begin.
func (m *morgue) starts(ctx context.Context, since time.Time) (map[int32]int64, error) {
	admin := kadm.NewClient(m.client)
	starts, err := admin.ListStartOffsets(ctx, m.topic)
	if err == nil && !since.IsZero() {
		starts, err = admin.ListOffsetsAfterMilli(ctx, since.UnixMilli(), m.topic)
	}
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the starts of %s: %w", m.topic, err)
	}
	out := map[int32]int64{}
	starts.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out, nil
}

// each calls f with every letter of the filter, once: a processor that died
// writes some again.
func (m *morgue) each(ctx context.Context, filter *deadFilter, progress func(done, total int64), f func(*letter) error) error {
	from, err := m.starts(ctx, filter.from)
	if err != nil {
		return err
	}
	to, err := m.ends(ctx)
	if err != nil {
		return err
	}
	var done, total int64
	for p := range to {
		total += max(to[p]-from[p], 0)
	}
	var tick schema.Tick
	for _, p := range sortedParts(to) {
		seen := map[string]bool{}
		err := kafka.Scan(ctx, m.client, m.topic, m.log.Dead, p, from[p], to[p], func(rec *kgo.Record) error {
			done++
			progress(done, total)
			if len(rec.Key) > 0 && seen[string(rec.Key)] {
				return nil
			}
			x := newLetter(rec, &tick)
			if !filter.takes(x) {
				return nil
			}
			if len(rec.Key) > 0 {
				seen[string(rec.Key)] = true
			}
			return f(x)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func sortedParts(m map[int32]int64) []int32 {
	var list []int32
	for p := range m {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// deadReport is what list tells.
type deadReport struct {
	Letters int64            `json:"letters"`
	Reasons map[string]int64 `json:"reasons"`
	Newest  []*letter        `json:"newest"`
}

func (a *app) deadList() command {
	var o struct {
		deadFilter
		json bool
	}
	return command{
		use:     "list",
		short:   "what was refused: where, which symbol, why, when",
		long:    "Counts the dead letters by reason and prints the newest. A letter is named by its place in the topic of dead letters; partition, offset and index say where in the log the refused tick stands.",
		example: "millrace dead list --reason straddle --limit 10\nmillrace dead list --symbol BTCUSDT --since 24h --json",
		groups:  lookGroups, leave: lookLeave,
		own: func(f *pflag.FlagSet) {
			o.flags(f)
			f.IntVar(&o.limit, "limit", 50, "print at most the newest `N`; 0 is all")
			jsonFlag(f, &o.json)
		},
		run: func(ctx context.Context, s *settings, _ []string) error {
			if err := o.check(time.Now()); err != nil {
				return err
			}
			m, err := openMorgue(ctx, s)
			if err != nil {
				return err
			}
			defer m.client.Close()
			r := &deadReport{Reasons: map[string]int64{}, Newest: []*letter{}}
			err = a.showCount(ctx, "reading dead letters", func(progress func(done, total int64)) error {
				return m.each(ctx, &o.deadFilter, progress, func(x *letter) error {
					r.take(x, o.limit)
					return nil
				})
			})
			if err != nil {
				return err
			}
			r.cut(o.limit)
			if o.json {
				return writeJSON(a.stdout, r)
			}
			_, err = io.WriteString(a.stdout, r.text())
			return err
		},
	}
}

// take counts a letter, and keeps it while it may be among the newest.
func (r *deadReport) take(x *letter, limit int) {
	r.Letters++
	r.Reasons[x.Reason]++
	x.rec = nil
	r.Newest = append(r.Newest, x)
	if limit > 0 && len(r.Newest) >= 2*limit+1000 {
		r.cut(limit)
	}
}

func (r *deadReport) cut(limit int) {
	slices.SortStableFunc(r.Newest, func(a, b *letter) int { return b.Time.Compare(a.Time) })
	if limit > 0 && len(r.Newest) > limit {
		clear(r.Newest[limit:])
		r.Newest = r.Newest[:limit]
	}
}

func (r *deadReport) text() string {
	var b strings.Builder
	if r.Letters == 0 {
		return "no dead letters\n"
	}
	rows := [][]string{{"letter", "time", "partition", "offset", "index", "symbol", "reason", "text"}}
	for _, x := range r.Newest {
		offset := "-"
		if x.Offset != nil {
			offset = fmt.Sprint(*x.Offset)
		}
		rows = append(rows, []string{x.ID, timeText(&x.Time), fmt.Sprint(x.Partition), offset, fmt.Sprint(x.Index), cmp.Or(clip(x.Symbol, 30), "-"), clip(x.Reason, 20), clip(x.Text, 120)})
	}
	writeTable(&b, rows, "llrrrlll")
	if n := r.Letters - int64(len(r.Newest)); n > 0 {
		fmt.Fprintf(&b, "… and %d older: see them with --limit 0\n", n)
	}
	b.WriteByte('\n')
	b.WriteString(plural(r.Letters, "dead letter") + ": " + counts(r.Reasons) + "\n")
	return b.String()
}

// counts gives numbers by name, the largest first.
func counts(m map[string]int64) string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
	for i, n := range names {
		names[i] = fmt.Sprintf("%s %d", cmp.Or(clip(n, 20), "without a reason"), m[n])
	}
	return strings.Join(names, ", ")
}

func (a *app) deadShow() command {
	var asJSON bool
	return command{
		use:     "show LETTER",
		short:   "one dead letter: its headers and what it holds",
		long:    "Prints a dead letter's headers and the trades or the record in it; of what can't be read the bytes.",
		example: "millrace dead show 2/118",
		groups:  lookGroups, leave: lookLeave, args: 1,
		own: func(f *pflag.FlagSet) { jsonFlag(f, &asJSON) },
		run: func(ctx context.Context, s *settings, args []string) error {
			if len(args) == 0 {
				return usagef("wanted the name of a letter; see millrace dead list")
			}
			m, err := openMorgue(ctx, s)
			if err != nil {
				return err
			}
			defer m.client.Close()
			x, err := m.find(ctx, args[0])
			if err != nil {
				return err
			}
			v := struct {
				*letter
				Record any    `json:"record,omitempty"`
				Hex    string `json:"hex,omitempty"`
			}{letter: x}
			var tick schema.Tick
			if tick.Decode(x.rec.Value) == nil {
				v.Record = contentOf(&tick)
			} else {
				v.Hex = hex.EncodeToString(x.rec.Value[:min(len(x.rec.Value), 1000)])
			}
			if asJSON {
				return writeJSON(a.stdout, v)
			}
			var b strings.Builder
			fmt.Fprintf(&b, "letter   %s, written %s\nreason   %s: %s\n", x.ID, timeText(&x.Time), x.Reason, x.Text)
			if x.Offset != nil {
				fmt.Fprintf(&b, "was      partition %d, offset %d, index %d of the log %s\n", x.Partition, *x.Offset, x.Index, x.TopicID)
			}
			if v.Hex != "" {
				fmt.Fprintf(&b, "bytes    %d, can't be read: %s\n", x.Bytes, v.Hex)
			} else {
				fmt.Fprintf(&b, "holds    %d bytes: ", x.Bytes)
				if err := writeJSON(&b, v.Record); err != nil {
					return err
				}
			}
			_, err = io.WriteString(a.stdout, b.String())
			return err
		},
	}
}

// contentOf gives what a record says, for JSON.
func contentOf(t *schema.Tick) any {
	switch t.Kind {
	case schema.KindTrades:
		type trade struct {
			ID, Last   int64
			Time       string
			Price, Qty string
			BuyerMaker bool
		}
		v := struct {
			Symbol string
			Trades []trade
		}{Symbol: string(t.Batch.Symbol)}
		for i := range t.Batch.Trades[:min(len(t.Batch.Trades), 1000)] {
			x := &t.Batch.Trades[i]
			v.Trades = append(v.Trades, trade{x.ID, x.Last, x.Time.String(), x.Price.String(), x.Qty.String(), x.BuyerMaker})
		}
		return v
	case schema.KindMark:
		return t.Mark
	case schema.KindSettings:
		return valuesOf(&t.Settings)
	case schema.KindAnchor:
		return t.Anchor
	case schema.KindWatch:
		return t.Watch
	case schema.KindSeal:
		return t.Seal
	case schema.KindNewSeries:
		return t.NewSeries
	}
	return t.Repair
}

// find reads the letter of a name.
func (m *morgue) find(ctx context.Context, name string) (*letter, error) {
	p, o, ok := strings.Cut(name, "/")
	partition, err1 := strconv.ParseInt(p, 10, 32)
	offset, err2 := strconv.ParseInt(o, 10, 64)
	if !ok || err1 != nil || err2 != nil || partition < 0 || partition >= int64(m.log.Partitions) || offset < 0 {
		return nil, usagef("%q is no letter's name, PARTITION/OFFSET: see millrace dead list", name)
	}
	rec, err := kafka.Read(ctx, m.client, m.topic, m.log.Dead, int32(partition), offset)
	if err != nil && !errors.Is(err, kafka.ErrOffset) {
		return nil, err
	}
	if err != nil || rec == nil || rec.Offset != offset {
		return nil, usagef("there is no dead letter %s: see millrace dead list", name)
	}
	var tick schema.Tick
	return newLetter(rec, &tick), nil
}

// showCount shows how far a long count is: a bar on a terminal, else nothing.
func (a *app) showCount(ctx context.Context, what string, work func(progress func(done, total int64)) error) error {
	return a.showBar(ctx, func(n, total int64, took time.Duration) string { return countBar(what, n, total, took) }, work)
}
