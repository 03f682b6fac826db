package testenv

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// Proxy stands between clients and a server, and does to their connections what
// networks do. It is toxiproxy in this process.
type Proxy struct {
	Addr string // host:port for the clients

	tb    testing.TB
	proxy *toxiproxy.Proxy
	ears  ears
}

// Direction is that in which bytes go.
type Direction string

const (
	ToServer Direction = "upstream"
	ToClient Direction = "downstream"
)

// StartProxy gives the test a proxy before a server, which need not run yet.
func StartProxy(tb testing.TB, server string) *Proxy {
	tb.Helper()
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Addr: loopback(port), tb: tb}
	log := zerolog.New(io.Discard)
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), log)
	p.proxy = toxiproxy.NewProxy(api, "proxy", p.Addr, server)
	p.ears.id = earsOf.put(&p.ears)
	for _, d := range []Direction{ToServer, ToClient} {
		p.add("deaf", d, fmt.Sprintf(`"id": %d, "direction": %q`, p.ears.id, d))
	}
	p.Mend()
	tb.Cleanup(func() {
		p.Clear()
		p.proxy.Stop()
		earsOf.Delete(p.ears.id)
	})
	return p
}

// Cut ends all connections and takes no new ones until Mend.
func (p *Proxy) Cut() { p.proxy.Stop() }

// Mend takes connections again.
func (p *Proxy) Mend() {
	p.tb.Helper()
	if err := p.proxy.Start(); err != nil {
		p.tb.Fatalf("proxy on %s: %v", p.Addr, err)
	}
}

// Delay holds all bytes back, both ways, for about so long until Clear.
func (p *Proxy) Delay(by, jitter time.Duration) {
	p.tb.Helper()
	for _, d := range []Direction{ToServer, ToClient} {
		p.add("latency", d, fmt.Sprintf(`"latency": %d, "jitter": %d`, by.Milliseconds(), jitter.Milliseconds()))
	}
}

// SlowClose has who closes a connection close it that much earlier than the
// other side hears of it, until Clear.
func (p *Proxy) SlowClose(by time.Duration) {
	p.tb.Helper()
	for _, d := range []Direction{ToServer, ToClient} {
		p.add("slow_close", d, fmt.Sprintf(`"delay": %d`, by.Milliseconds()))
	}
}

// Deafen swallows what goes in a direction on the connections that stand now,
// for as long as they stand: a router that has forgotten them. New ones work.
func (p *Proxy) Deafen(d Direction) { p.ears.of(d).deafBefore.Store(p.ears.born.Add(1)) }

// Hang takes connections and swallows all that clients send, on old ones and on
// new ones, until Clear, which ends them.
func (p *Proxy) Hang() {
	p.tb.Helper()
	p.add("timeout", ToServer, `"timeout": 0`)
}

// Clear ends Delay, SlowClose and Hang.
func (p *Proxy) Clear() {
	p.tb.Helper()
	for _, d := range []Direction{ToServer, ToClient} {
		for _, kind := range []string{"latency", "slow_close", "timeout"} {
			name := kind + "_" + string(d)
			if p.proxy.Toxics.GetToxic(name) == nil {
				continue
			}
			if err := p.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
				p.tb.Errorf("proxy on %s: %v", p.Addr, err)
			}
		}
	}
}

func (p *Proxy) add(kind string, d Direction, attributes string) {
	p.tb.Helper()
	_, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": {%s}}`, kind, d, attributes)))
	if err != nil {
		p.tb.Fatalf("proxy on %s: %s: %v", p.Addr, kind, err)
	}
}

// ears know which connections of a proxy are deaf: in each direction, those that
// were there before a moment. Toxiproxy's own kinds do something to all
// connections, or to a random share of them.
type ears struct {
	id                 int64
	born               atomic.Int64 // of the newest connection
	toServer, toClient ear
}

type ear struct{ deafBefore atomic.Int64 }

func (e *ears) of(d Direction) *ear {
	if d == ToServer {
		return &e.toServer
	}
	return &e.toClient
}

// registry finds ears by number: a toxic is made of JSON.
type registry struct {
	sync.Map
	last atomic.Int64
}

var earsOf registry

func (r *registry) put(e *ears) int64 {
	id := r.last.Add(1)
	r.Store(id, e)
	return id
}

// deaf is a toxic that is always there.
type deaf struct {
	ID        int64     `json:"id"`
	Direction Direction `json:"direction"`
}

// NewState is called when a connection is made.
func (t *deaf) NewState() any {
	e, ok := earsOf.Load(t.ID)
	if !ok {
		return int64(0)
	}
	return e.(*ears).born.Add(1)
}

func (t *deaf) Pipe(stub *toxics.ToxicStub) {
	e, ok := earsOf.Load(t.ID)
	if !ok {
		stub.Close()
		return
	}
	mine, born := e.(*ears).of(t.Direction), stub.State.(int64)
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			switch {
			case c == nil:
				stub.Close()
				return
			case born >= mine.deafBefore.Load():
				stub.Output <- c
			}
		}
	}
}

func init() { toxics.Register("deaf", new(deaf)) }
