package double

import (
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Limits are what the server allows one address.
type Limits struct {
	// Weight is the request weight of one minute by the wall clock: 6,000.
	Weight int64
	// Warnings are the 429s that an address is answered within one Retry-After
	// before it is banned for going on: 5. Calls under way at the same time
	// can't know of each other's.
	Warnings int
	// Ban is how long the first ban lasts, 2 minutes. Each next lasts twice as
	// long, three days at most.
	Ban time.Duration
	// Connections are the attempts in five minutes: 300.
	Connections int
}

const (
	longestBan    = 72 * time.Hour
	attemptWindow = 5 * time.Minute
	maxAddresses  = 10_000 // whose counts are kept
)

func (l *Limits) ensureDefaults() {
	if l.Weight == 0 {
		l.Weight = 6000
	}
	if l.Warnings == 0 {
		l.Warnings = 5
	}
	if l.Ban == 0 {
		l.Ban = 2 * time.Minute
	}
	if l.Connections == 0 {
		l.Connections = 300
	}
}

// verdict is what a call is answered for what it weighs.
type verdict struct {
	used   int64 // in this minute, this call's among it
	status int   // 200, 429 or 418
	wait   time.Duration
	until  time.Time // the end of the ban
}

// account is what one address has done.
type account struct {
	minute   int64 // since the epoch
	used     int64
	warnings int // 429s in this minute
	banned   time.Time
	ban      time.Duration // of the next
	attempts []time.Time   // to connect, within the window
}

// meter keeps the accounts. Its clock is an argument: the windows of weight are
// minutes of the wall clock, whatever the market's time is.
type meter struct {
	limits Limits

	mu         sync.Mutex // guards what is below
	accounts   map[string]*account
	weightPeak int64
	attempted  int64
	peak       int // of attempts
	tooMany    int64
	bans       int64
}

func newMeter(l Limits) *meter { return &meter{limits: l, accounts: make(map[string]*account)} }

// account finds an address's account. A double is asked by few; where it is
// asked by very many, old counts give way to new ones.
func (m *meter) account(addr string) *account {
	a := m.accounts[addr]
	if a == nil {
		if len(m.accounts) >= maxAddresses {
			clear(m.accounts)
		}
		a = &account{ban: m.limits.Ban}
		m.accounts[addr] = a
	}
	return a
}

// charge counts a call. Refused ones count as well, as at the real one.
func (m *meter) charge(addr string, weight int64, now time.Time) verdict {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.account(addr)
	if minute := now.Unix() / 60; minute != a.minute {
		a.minute, a.used, a.warnings = minute, 0, 0
	}
	a.used += weight
	m.weightPeak = max(m.weightPeak, a.used)
	v := verdict{used: a.used, status: http.StatusOK}
	switch {
	case now.Before(a.banned):
		v.status = http.StatusTeapot
	case a.used <= m.limits.Weight:
		return v
	case a.warnings < m.limits.Warnings:
		a.warnings++
		m.tooMany++
		v.status, v.wait = http.StatusTooManyRequests, time.Unix((a.minute+1)*60, 0).Sub(now)
		return v
	default:
		v.status = http.StatusTeapot
		a.banned = now.Add(a.ban)
		a.ban = min(2*a.ban, longestBan)
	}
	m.bans++
	v.wait, v.until = a.banned.Sub(now), a.banned
	return v
}

// attempt counts an attempt to connect; false where there were too many.
func (m *meter) attempt(addr string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.account(addr)
	for len(a.attempts) > 0 && now.Sub(a.attempts[0]) >= attemptWindow {
		a.attempts = a.attempts[1:]
	}
	m.attempted++
	m.peak = max(m.peak, len(a.attempts)+1)
	if len(a.attempts) > m.limits.Connections {
		return false // one above the limit is remembered, no more
	}
	a.attempts = append(a.attempts, now)
	return len(a.attempts) <= m.limits.Connections
}

func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// refuse answers what is over the limit.
func (v *verdict) refuse(c *call, limit int64) {
	if v.status == http.StatusTeapot {
		c.fail(-1003, "Way too much request weight used; IP banned until "+strconv.FormatInt(v.until.UnixMilli(), 10)+
			". Please use WebSocket Streams for live updates to avoid bans.")
	} else {
		c.fail(-1003, "Too much request weight used; current limit is "+strconv.FormatInt(limit, 10)+
			" request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.")
	}
	c.status, c.wait = v.status, v.wait
}

// seconds are those of a Retry-After: whole ones, rounded up, never none.
func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}
