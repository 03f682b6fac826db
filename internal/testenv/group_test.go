package testenv_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/testenv"
)

// A member of a group that is killed while it waits to be let in is let in all
// the same, and expired by a broker once its session has passed. The fake keeps
// it, and its partitions, for ever: tests that kill members must take them out
// themselves. When this fails for the fake, they need not any more.
func TestWhoDiesWaitingIsExpired(t *testing.T) {
	t.Parallel()
	t.Run("kfake", func(t *testing.T) {
		t.Parallel()
		const session = 500 * time.Millisecond
		// It does so only if it has noticed that the connection is gone, which on
		// a busy machine may take long.
		for range 10 {
			fake := testenv.StartFake(t, kfake.GroupMinSessionTimeout(session))
			if g := newGroup(t, fake.Brokers, session); !g.expires(6 * session) {
				return
			}
		}
		t.Error("the fake expires it now: processor's tests need not do so")
	})
	t.Run("kafka", func(t *testing.T) {
		t.Parallel()
		const session = 6 * time.Second // the least that the broker takes
		if g := newGroup(t, testenv.SharedKafka(t).Brokers, session); !g.expires(10 * session) {
			t.Error("the broker kept it")
		}
	})
}

// group is one with a member that lives and one that died waiting.
type group struct {
	testing.TB
	name    string
	session time.Duration
	client  *kgo.Client // of the living member
	member  *kmsg.JoinGroupResponse
}

func newGroup(t *testing.T, brokers string, session time.Duration) *group {
	g := &group{TB: t, name: t.Name(), session: session}
	client := func() *kgo.Client {
		c, err := kgo.NewClient(kgo.SeedBrokers(brokers))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	g.client = client()
	g.enter("")
	dead := client()
	answered := make(chan error, 1)
	go func() {
		_, err := g.join(t.Context(), dead, "dead", "")
		answered <- err
	}()
	for g.beat() == 0 { // until the group makes ready for it
		select {
		case err := <-answered:
			t.Fatalf("let in at once: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	dead.Close()
	if err := <-answered; err == nil {
		t.Fatal("it was let in before it died")
	}
	for range 30 { // meanwhile the server learns that the connection is gone
		g.beat()
		<-time.After(10 * time.Millisecond)
	}
	g.enter(g.member.MemberID)
	return g
}

// enter lets the living member join, and makes the group stable.
func (g *group) enter(member string) {
	g.Helper()
	j, err := g.join(g.Context(), g.client, "alive", member)
	if err != nil || j.ErrorCode != 0 {
		g.Fatalf("join: %+v, %v", j, err)
	}
	g.member = j
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.InstanceID, r.MemberID, r.Generation = g.name, kmsg.StringPtr("alive"), j.MemberID, j.Generation
	r.ProtocolType, r.Protocol = j.ProtocolType, j.Protocol
	if resp, err := r.RequestWith(g.Context(), g.client); err != nil || resp.ErrorCode != 0 {
		g.Fatalf("sync: %+v, %v", resp, err)
	}
}

func (g *group) join(ctx context.Context, c *kgo.Client, instance, member string) (*kmsg.JoinGroupResponse, error) {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.InstanceID, r.MemberID, r.ProtocolType = g.name, &instance, member, "consumer"
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = int32(g.session.Milliseconds()), 60_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name = "p"
	r.Protocols = append(r.Protocols, p)
	return r.RequestWith(ctx, c)
}

// beat is the living member's heartbeat; it gives the error code.
func (g *group) beat() int16 {
	g.Helper()
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.InstanceID, r.MemberID, r.Generation = g.name, kmsg.StringPtr("alive"), g.member.MemberID, g.member.Generation
	resp, err := r.RequestWith(g.Context(), g.client)
	if err != nil {
		g.Fatal(err)
	}
	return resp.ErrorCode
}

// expires reports whether the dead member is out of the group within d.
func (g *group) expires(d time.Duration) bool {
	g.Helper()
	tick := time.NewTicker(g.session / 5)
	defer tick.Stop()
	for end := time.After(d); ; {
		select {
		case <-tick.C:
		case <-end:
			return false
		}
		g.beat()
		found, err := kadm.NewClient(g.client).DescribeGroups(g.Context(), g.name)
		if err != nil {
			g.Fatal(err)
		}
		out := true
		for _, m := range found[g.name].Members {
			out = out && (m.InstanceID == nil || *m.InstanceID != "dead")
		}
		if out {
			return true
		}
	}
}
