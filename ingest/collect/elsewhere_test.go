package collect

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"millrace/ingest/binance"
	"millrace/ingest/double"
)

// relay passes connections on to an address, and can cut them all.
type relay struct {
	net.Listener
	mu   sync.Mutex // guards what follows
	open []net.Conn
	work sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l}
	r.work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.open = append(r.open, in, out)
			r.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				r.work.Go(func() {
					_, _ = io.Copy(pair[0], pair[1]) // it ends when either end does
					_ = in.Close()
					_ = out.Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.cut()
		r.work.Wait()
	})
	return r
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.open {
		_ = c.Close()
	}
	r.open = nil
}

// TestAnotherHasBroughtIt: one of two ingestors loses its connection again and
// again while REST gives no trades. What it missed stands in the log, brought by
// the other: it finds it there, and its marks speak for every symbol again.
func TestAnotherHasBroughtIt(t *testing.T) {
	t.Parallel()
	b := newBench(t, double.Config{Synthetic: recent(150, 12)})
	ws, rest := b.double.URLs()
	there, err := url.Parse(rest)
	if err != nil {
		t.Fatal(err)
	}
	line := newRelay(t, there.Host)
	var away atomic.Bool
	pass := httputil.NewSingleHostReverseProxy(there)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() && strings.HasSuffix(strings.ToLower(r.URL.Path), "trades") {
			http.Error(w, "no trades here", http.StatusServiceUnavailable)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	defer front.Close()
	other := b.collect()
	b.settled(other)
	b.until("every symbol is in the log", func() bool {
		for _, x := range other.Status().Symbols {
			if x.Trades+x.Filled == 0 {
				return false
			}
		}
		return true
	})
	loses := b.collect(func(l *Live) {
		l.Source.WS = strings.Replace(ws, there.Host, line.Addr().String(), 1)
		if l.Source.REST, err = binance.NewClient(front.URL, ""); err != nil {
			t.Fatal(err)
		}
	})
	b.settled(loses)
	away.Store(true)
	for range 4 {
		b.until("the connection stands", func() bool { return loses.Status().Connections[0].Up })
		before := loses.Trades()
		line.cut()
		b.until("trades come again", func() bool { return loses.Trades() > before+100 })
	}
	b.settled(loses)
	found := int64(0)
	for _, x := range loses.Status().Symbols {
		found += x.Elsewhere
	}
	if found == 0 {
		t.Error("nothing was found in the log")
	}
	loses.stop()
	other.stop()
	log := b.log()
	b.whole(log)
	b.kept(log, false)
}
