package bridge

import (
	"testing"
	"time"

	"millrace/schema"
)

func TestSeriesRemembersVersions(t *testing.T) {
	s := newSeries("BTCUSDT", schema.P1m)
	w := func(n int, v schema.Version) window { return window{schema.Time(n) * schema.Minute, v} }
	for i, x := range []struct {
		w    window
		want bool
	}{
		{w(1, 5), true}, {w(1, 5), false}, {w(1, 4), false}, {w(1, 6), true},
		{w(2, 1), true}, {w(1, 7), true}, {w(2, 0), false},
	} {
		if s.fresh(x.w) != x.want {
			t.Errorf("step %d: %+v is fresh: %v", i, x.w, !x.want)
		}
	}
	for n := 3; n < 3+remembered; n++ {
		if !s.fresh(w(n, 1)) {
			t.Errorf("window %d is not fresh", n)
		}
	}
	// Window 1 is forgotten: what comes of it passes, and takes no newer one's place.
	for range 2 {
		if !s.fresh(w(1, 1)) {
			t.Error("a forgotten window does not pass")
		}
	}
	if s.fresh(w(3, 1)) {
		t.Error("an old window took the place of a newer one")
	}
}

func TestEntryWindow(t *testing.T) {
	c := candle("BTCUSDT", schema.P1m, 3, 7, schema.Final)
	if w := entryWindow(c.AppendJSON(nil)); w != (window{c.Start, c.Version}) {
		t.Errorf("read back as %+v", w)
	}
	for _, data := range []string{"", "{}", "[]", `{"start_time":"2024-01-01T00:00:00Z"}`, `{"version":"x","start_time":"y"}`} {
		if w := entryWindow([]byte(data)); w != nothing || !(window{c.Start, c.Version}).newer(w) {
			t.Errorf("%q is read as %+v", data, w)
		}
	}
}

func TestConfigBounds(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"replicas":   func(c *Config) { c.Replicas = 6 },
		"batch":      func(c *Config) { c.BatchRecords = 1 << 20 },
		"in flight":  func(c *Config) { c.MaxInFlight = 1 },
		"age":        func(c *Config) { c.MaxAge = time.Minute },
		"bytes":      func(c *Config) { c.MaxBytes = -1 },
		"round":      func(c *Config) { c.RoundEvery = time.Hour },
		"topic":      func(c *Config) { c.Topic = "a..b" },
		"two logins": func(c *Config) { c.NATS.Token, c.NATS.User = "a", "b" },
		"half a key": func(c *Config) { c.NATS.CertFile = "a" },
		"scheme":     func(c *Config) { c.NATS.URLs = []string{"http://host:4222"} },
		"lone word":  func(c *Config) { c.NATS.URLs = []string{"host"} },
		"password":   func(c *Config) { c.NATS.Password = "x" },
		"broker":     func(c *Config) { c.Kafka.Brokers = []string{"x"} },
	} {
		var c Config
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{}); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}
