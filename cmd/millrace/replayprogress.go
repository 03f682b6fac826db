package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"millrace/ingest/collect"
)

// progressEvery is how often a replay without a terminal logs how far it is.
const progressEvery = 10 * time.Second

// showProgress shows how far a replay is, until ctx ends: a bar on a terminal,
// else a line of the log now and then.
func showProgress(ctx context.Context, d *collect.Dumps, sc *screen, log *slog.Logger) error {
	m := newMeter(time.Now())
	if sc.live() {
		return sc.run(ctx, func() frame {
			p := d.Progress()
			return m.frame(&p, time.Now())
		})
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p, now := d.Progress(), time.Now()
			rate := m.rate(&p, now)
			log.Info("progress", "files", fmt.Sprintf("%d/%d", p.Done, p.Files), "file", p.Name, "read", byteText(p.Bytes),
				"fetched", byteText(p.Fetched), "trades", p.Trades, "trades/s", int64(rate), "left", m.left(&p, now))
		}
	}
}

// meter makes speeds of the figures of one run.
type meter struct {
	began, at time.Time
	trades    int64
	speed     float64 // trades a second, of late
}

func newMeter(began time.Time) *meter { return &meter{began: began, at: began} }

// rate gives the trades a second of the last seconds.
func (m *meter) rate(p *collect.Progress, now time.Time) float64 {
	if s := now.Sub(m.at).Seconds(); s > 0 {
		// What is three seconds old counts a third of what is new.
		keep := math.Exp(-s / 3)
		m.speed = keep*m.speed + (1-keep)*float64(p.Trades-m.trades)/s
		m.at, m.trades = now, p.Trades
	}
	return m.speed
}

// done gives how much of the work is done, 0 to 1. Files whose sizes aren't
// known yet count as the mean of those that are.
func done(p *collect.Progress) float64 {
	if p.Files == p.Done {
		return 1
	}
	if p.Sized <= 0 || p.Total <= 0 {
		return 0
	}
	work := p.Files - p.Known - len(p.Unpublished)
	whole := float64(p.Total) / float64(p.Sized) * float64(max(work, 1))
	return min(float64(p.Bytes)/whole, 1)
}

// left gives how long the rest will take, or "?" where that can't be told.
func (m *meter) left(p *collect.Progress, now time.Time) string {
	f, took := done(p), now.Sub(m.began)
	if f <= 0.001 || took < time.Second {
		return "?"
	}
	return time.Duration(float64(took) * (1 - f) / f).Round(time.Second).String()
}

// frame gives the bar and the figures.
func (m *meter) frame(p *collect.Progress, now time.Time) frame {
	const cells = 24
	rate := m.rate(p, now)
	f := done(p)
	full := int(f * cells)
	parts := []string{
		fmt.Sprintf("[%s%s] %3.0f %%", strings.Repeat("#", full), strings.Repeat(".", cells-full), f*100),
		fmt.Sprintf("%d/%d files", p.Done, p.Files),
		byteText(p.Bytes),
		plural(p.Trades, "trade"),
		fmt.Sprintf("%.0f/s", rate),
		m.left(p, now) + " left",
	}
	name := p.Name
	switch {
	case name == "" && p.Done < p.Files:
		name = "waiting for the next file"
	case name == "":
		name = "done"
	}
	if p.Fetched > 0 {
		name += " · " + byteText(p.Fetched) + " fetched"
	}
	return frame{Title: strings.Join(parts, " · "), Notes: []string{name}}
}

// byteText gives a number of bytes with three digits or so.
func byteText(n int64) string {
	v, unit := float64(n), 0
	units := [...]string{"B", "kB", "MB", "GB", "TB"}
	for v >= 1000 && unit < len(units)-1 {
		v, unit = v/1000, unit+1
	}
	if unit == 0 || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[unit])
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}
