package processor

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// group is a group of balancers, without a broker.
type group struct {
	*testing.T
	partitions int32
	generation int32
	says       map[string]*told
	owned      map[string][]int32
	stands     map[string][]int32
}

// round has the members join and be told, in one generation; it says whether
// somebody gave something up, so that all join again.
func (g *group) round() (again bool) {
	g.Helper()
	members := make([]kmsg.JoinGroupResponseMember, 0, len(g.says))
	balancers := map[string]*balancer{}
	for name, says := range g.says {
		b := newBalancer("ticks", func() told { return *says }, nil)
		balancers[name] = b
		current := map[string][]int32{}
		if own := g.owned[name]; len(own) > 0 {
			current["ticks"] = slices.Clone(own)
		}
		gen := g.generation
		if g.owned[name] == nil {
			gen = -1
		}
		members = append(members, kmsg.JoinGroupResponseMember{MemberID: "id-" + name, InstanceID: &name,
			ProtocolMetadata: b.JoinGroupMetadata([]string{"ticks"}, current, gen)})
	}
	slices.SortFunc(members, func(a, b kmsg.JoinGroupResponseMember) int {
		if *a.InstanceID < *b.InstanceID {
			return -1
		}
		return 1
	})
	g.generation++
	leader := balancers[*members[0].InstanceID]
	m, topics, err := leader.MemberBalancer(members)
	if err != nil || len(topics) != 1 {
		g.Fatal(topics, err)
	}
	plan, err := m.(kgo.GroupMemberBalancerOrError).BalanceOrError(map[string]int32{"ticks": g.partitions})
	if err != nil {
		g.Fatal(err)
	}
	for _, a := range plan.IntoSyncAssignment() {
		name := a.MemberID[len("id-"):]
		got, err := balancers[name].ParseSyncAssignment(a.MemberAssignment)
		if err != nil {
			g.Fatal(err)
		}
		for _, p := range g.owned[name] {
			if !slices.Contains(got["ticks"], p) {
				again = true
				g.keep(name, p)
			}
		}
		g.owned[name] = append([]int32{}, got["ticks"]...)
		g.stands[name] = balancers[name].standsBy()
		if g.says[name].Standby > 0 {
			g.says[name].Warm = g.stands[name]
		}
		for _, p := range slices.Concat(g.owned[name], g.stands[name]) {
			g.keep(name, p)
		}
	}
	return again
}

func (g *group) keep(name string, p int32) {
	if s := g.says[name]; !slices.Contains(s.Kept, p) {
		s.Kept = append(s.Kept, p)
	}
}

func (g *group) settle() {
	g.Helper()
	for range 5 {
		if !g.round() {
			return
		}
	}
	g.Fatal("the group does not settle")
}

func (g *group) join(name string, standby int) {
	if g.says[name] == nil {
		g.says[name] = &told{}
	}
	g.says[name].Standby = standby
}

// die takes a member away; it keeps its folder.
func (g *group) die(name string) *told {
	s := g.says[name]
	s.Warm = nil
	delete(g.says, name)
	delete(g.owned, name)
	delete(g.stands, name)
	return s
}

// check holds what all were told against the rules.
func (g *group) check(copies int) {
	g.Helper()
	owner := map[int32]string{}
	low, high := int(g.partitions), 0
	for name, own := range g.owned {
		low, high = min(low, len(own)), max(high, len(own))
		for _, p := range own {
			if owner[p] != "" {
				g.Errorf("%d belongs to %s and %s", p, owner[p], name)
			}
			owner[p] = name
		}
	}
	if len(owner) != int(g.partitions) || high-low > 1 {
		g.Errorf("shares are not even or not whole: %v", g.owned)
	}
	by := map[int32]int{}
	for name, mine := range g.stands {
		for _, p := range mine {
			by[p]++
			if owner[p] == name {
				g.Errorf("%s stands by for its own %d", name, p)
			}
		}
	}
	willing := 0
	for name := range g.says {
		if g.says[name].Standby > 0 {
			willing++
		}
	}
	for p := range g.partitions {
		want := min(copies, willing)
		if g.says[owner[p]].Standby > 0 {
			want = min(copies, willing-1)
		}
		if by[p] != want {
			g.Errorf("%d has %d standbys, wanted %d: %v", p, by[p], want, g.stands)
		}
	}
}

// TestWhoStandsBy: whoever dies or comes, shares are even, each partition has its
// standbys, and what the dead one had goes to members that were warm.
func TestWhoStandsBy(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	orphans, warm := 0, 0
	for range 300 {
		g := &group{T: t, partitions: 1 + r.Int32N(24), says: map[string]*told{}, owned: map[string][]int32{}, stands: map[string][]int32{}}
		n, copies := 2+r.IntN(5), 1+r.IntN(2)
		for i := range n {
			g.join(fmt.Sprint("m", i), copies)
		}
		g.settle()
		g.check(copies)
		gone := slices.Sorted(maps.Keys(g.says))[r.IntN(n)]
		lost, before, stood := g.owned[gone], maps.Clone(g.owned), maps.Clone(g.stands)
		folder := g.die(gone)
		if g.round() {
			t.Error("somebody gave something up when another died")
		}
		g.check(copies)
		for name := range g.owned {
			for _, p := range g.owned[name] {
				if slices.Contains(lost, p) {
					orphans++
					if slices.Contains(stood[name], p) {
						warm++
					}
				} else if !slices.Contains(before[name], p) {
					t.Errorf("%d moved although its owner lives", p)
				}
			}
		}
		// It comes back, and has what it had.
		g.says[gone] = folder
		g.settle()
		g.check(copies)
		for _, p := range g.owned[gone] {
			if !slices.Contains(folder.Kept, p) {
				t.Errorf("%s came back to %v and not to what it has: %v", gone, g.owned[gone], folder.Kept)
			}
		}
		// One that is new, and keeps nothing warm for others.
		g.join("new", 0)
		g.settle()
		g.check(copies)
	}
	t.Logf("%d of %d orphans went to a standby", warm, orphans)
	if warm*100 < orphans*95 {
		t.Errorf("only %d of %d orphans went to a standby", warm, orphans)
	}
}

// TestToldIsCarried: members of before, that say nothing, are in the same group.
func TestToldIsCarried(t *testing.T) {
	says := told{Standby: 2, Warm: []int32{1, 3}, Kept: []int32{1, 3, 4}}
	var got told
	if rest := cutTold(appendTold([]byte("kgo's"), says), &got); string(rest) != "kgo's" || fmt.Sprint(got) != fmt.Sprint(says) {
		t.Errorf("%q %+v", rest, got)
	}
	for _, foreign := range []string{"", "kgo's", mark, "\xff\xff\xff\xff" + mark, "{}\x00\x00\x00\x03" + mark, "[}\x00\x00\x00\x02" + mark} {
		got = told{}
		if rest := cutTold([]byte(foreign), &got); string(rest) != foreign || got.Standby != 0 {
			t.Errorf("%q became %q and %+v", foreign, rest, got)
		}
	}
	plain := kgo.CooperativeStickyBalancer()
	ours := newBalancer("ticks", func() told { return says }, nil)
	raw := ours.JoinGroupMetadata([]string{"ticks"}, map[string][]int32{"ticks": {2}}, 7)
	old := plain.JoinGroupMetadata([]string{"ticks"}, nil, -1)
	members := []kmsg.JoinGroupResponseMember{{MemberID: "a", ProtocolMetadata: raw}, {MemberID: "b", ProtocolMetadata: old}}
	for _, leader := range []kgo.GroupBalancer{plain, ours} {
		m, _, err := leader.MemberBalancer(slices.Clone(members))
		if err != nil {
			t.Fatal(err)
		}
		plan, err := m.(kgo.GroupMemberBalancerOrError).BalanceOrError(map[string]int32{"ticks": 4})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range plan.IntoSyncAssignment() {
			x, err := plain.ParseSyncAssignment(a.MemberAssignment)
			y, err2 := ours.ParseSyncAssignment(a.MemberAssignment)
			if err != nil || err2 != nil || len(x["ticks"]) != 2 || fmt.Sprint(x) != fmt.Sprint(y) {
				t.Errorf("%v, %v: %v %v", x, y, err, err2)
			}
		}
	}
}
