package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// frame is what dev shows at one moment: the newest window of some series, and
// how long each stage takes.
type frame struct {
	Title  string      `json:"title"` // one line: what runs, for how long, how much of it
	Notes  []string    `json:"notes"` // a line each: addresses, what is wrong
	Rows   []candleRow `json:"candles"`
	Stages []stageRow  `json:"stages"`
}

// candleRow is a candle as it is shown; figures are as exact as they are.
type candleRow struct {
	Symbol string    `json:"symbol"`
	Period string    `json:"period"`
	Start  time.Time `json:"start_time"`
	Open   string    `json:"open"`
	High   string    `json:"high"`
	Low    string    `json:"low"`
	Close  string    `json:"close"`
	Volume string    `json:"volume"`
	Trades int64     `json:"trades"`
	Status string    `json:"status"`
}

// stageRow is how long one stage took lately.
type stageRow struct {
	Name  string        `json:"stage"`
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
}

// column of the table of candles. rank is the order in which columns are left
// out where the terminal is narrow: the highest first, 0 never.
type column struct {
	title string
	right bool
	rank  int
	cell  func(*candleRow) string
}

var columns = []column{
	{"symbol", false, 0, func(r *candleRow) string { return r.Symbol }},
	{"period", false, 0, func(r *candleRow) string { return r.Period }},
	{"start", false, 5, func(r *candleRow) string { return startText(r) }},
	{"open", true, 4, func(r *candleRow) string { return r.Open }},
	{"high", true, 2, func(r *candleRow) string { return r.High }},
	{"low", true, 2, func(r *candleRow) string { return r.Low }},
	{"close", true, 0, func(r *candleRow) string { return r.Close }},
	{"volume", true, 3, func(r *candleRow) string { return r.Volume }},
	{"trades", true, 1, func(r *candleRow) string { return fmt.Sprint(r.Trades) }},
	{"status", false, 0, func(r *candleRow) string { return r.Status }},
}

// startText gives the clock time; windows of a day and more start at midnight,
// so these show the date.
func startText(r *candleRow) string {
	if t := r.Start.UTC(); strings.HasSuffix(r.Period, "d") || strings.HasSuffix(r.Period, "w") || strings.HasSuffix(r.Period, "M") {
		return t.Format(time.DateOnly)
	}
	return r.Start.UTC().Format(time.TimeOnly)
}

// render gives the lines that fit into width columns and height lines. Candles
// give way first where it is too high.
func (f *frame) render(width, height int) []string {
	var head, tail []string
	if f.Title != "" {
		head = append(head, f.Title)
	}
	head = append(head, f.Notes...)
	if len(f.Stages) > 0 {
		tail = append(tail, "")
		tail = append(tail, stageLines(f.Stages)...)
	}
	lines := head
	room := height - len(head) - len(tail) - 2 // a blank line and the titles
	if n := min(len(f.Rows), room); n > 0 {
		lines = append(lines, "")
		lines = append(lines, candleLines(f.Rows[:n], width)...)
	}
	lines = append(lines, tail...)
	lines = lines[:min(len(lines), max(height, 1))]
	for i := range lines {
		lines[i] = clip(strings.TrimRight(lines[i], " "), width)
	}
	return lines
}

func candleLines(rows []candleRow, width int) []string {
	cells := make([][]string, len(columns)) // by column, titles first
	widths := make([]int, len(columns))
	total, gap := -2, "  "
	for c, col := range columns {
		cells[c] = append(cells[c], col.title)
		for i := range rows {
			cells[c] = append(cells[c], col.cell(&rows[i]))
		}
		for _, s := range cells[c] {
			widths[c] = max(widths[c], utf8.RuneCountInString(s))
		}
		total += widths[c] + 2
	}
	if total > width { // closer together before anything is left out
		total, gap = total-len(columns)+1, " "
	}
	left := make([]bool, len(columns))
	for rank := 5; rank > 0 && total > width; rank-- {
		for c, col := range columns {
			if col.rank == rank {
				left[c] = true
				total -= widths[c] + len(gap)
			}
		}
	}
	lines := make([]string, len(rows)+1)
	for i := range lines {
		var b strings.Builder
		for c, col := range columns {
			if left[c] {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(gap)
			}
			pad(&b, cells[c][i], widths[c], col.right)
		}
		lines[i] = b.String()
	}
	return lines
}

func stageLines(stages []stageRow) []string {
	name := len("stage")
	for _, s := range stages {
		name = max(name, utf8.RuneCountInString(s.Name))
	}
	lines := []string{fmt.Sprintf("%-*s  %10s  %8s  %8s", name, "stage", "count", "p50", "p99")}
	for _, s := range stages {
		var b strings.Builder
		pad(&b, s.Name, name, false)
		fmt.Fprintf(&b, "  %10d  %8s  %8s", s.Count, short(s.P50), short(s.P99))
		lines = append(lines, b.String())
	}
	return lines
}

// line gives the frame as one plain line, for a log or a file.
func (f *frame) line() string {
	parts := []string{f.Title}
	for _, s := range f.Stages {
		parts = append(parts, fmt.Sprintf("%s p50 %s p99 %s", s.Name, short(s.P50), short(s.P99)))
	}
	return strings.Join(append(parts, f.Notes...), " · ")
}

// short gives d with three digits at most: 834µs, 1.25ms, 12.3s.
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	}
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

func pad(b *strings.Builder, s string, width int, right bool) {
	blank := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
	if right {
		b.WriteString(blank + s)
	} else {
		b.WriteString(s + blank)
	}
}

// clip cuts what is over width and takes out what would move the cursor:
// symbols come from outside.
func clip(s string, width int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			r = '?'
		}
		if n++; n > width {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
