package processor

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// choice is how the group's leader decides who owns and who stands by.
//
// For each partition it chooses those members to whom the sticky rule would give
// it if its owner went away: the ones with the smallest share, counting what the
// owner's other partitions would bring them. Among equals the one that is warm
// already, else the highest hash of its name and the partition. So a standby is
// nearly always the one who takes over, and the shares stay even. Where it is
// not, the partition is restored as any other.
type choice struct {
	says    map[string]told
	members []string          // ids, in the order of their names
	name    map[string]string // by id: the name that lasts
	owner   map[int32]string  // who has it now; absent: nobody
	target  map[int32]string  // who is to have it
	by      map[string][]int32
}

func newChoice(says map[string]told) *choice {
	return &choice{says: says, name: map[string]string{}, owner: map[int32]string{}, target: map[int32]string{}, by: map[string][]int32{}}
}

func (c *choice) join(id, name string) {
	c.name[id] = name
	c.members = append(c.members, id)
	slices.SortFunc(c.members, func(a, b string) int { return cmp.Compare(c.name[a], c.name[b]) })
}

// warmth is how little a member lacks of a partition's state.
func (c *choice) warmth(id string, p int32) int {
	t := c.says[id]
	switch {
	case slices.Contains(t.Warm, p):
		return 2
	case slices.Contains(t.Kept, p):
		return 1
	}
	return 0
}

func (c *choice) owned(id string) (out []int32) {
	for p, t := range c.target {
		if t == id {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

func (c *choice) shares() map[string]int {
	n := map[string]int{}
	for _, id := range c.target {
		n[id]++
	}
	return n
}

func (c *choice) partitions() []int32 { return slices.Sorted(maps.Keys(c.target)) }

// prefer exchanges what moves so that more of it goes where its state is. No
// share becomes less even by it, and what stays where it is stays.
func (c *choice) prefer() {
	for c.better() { // each time by at least one, and warmth is bounded
	}
}

// better makes one exchange, if one is left.
func (c *choice) better() bool {
	share := c.shares()
	for _, p := range c.partitions() {
		to := c.target[p]
		from, owned := c.owner[p]
		if from == to {
			continue
		}
		for _, q := range c.partitions() {
			if other := c.target[q]; other != to && c.worth(other, p)+c.worth(to, q) > c.worth(to, p)+c.worth(other, q) {
				c.target[p], c.target[q] = other, to
				return true
			}
		}
		if owned {
			continue
		}
		for _, id := range c.members {
			if share[id] < share[to] && c.worth(id, p) > c.worth(to, p) {
				c.target[p] = id
				return true
			}
		}
	}
	return false
}

// worth is how good it is that a member has a partition. To stay is worth more
// than two that are warm.
func (c *choice) worth(id string, p int32) int {
	if c.owner[p] == id {
		return 5
	}
	return c.warmth(id, p)
}

// stand chooses who stands by. A partition that is not given yet is on its way:
// its next owner warms it up meanwhile.
func (c *choice) stand(given map[int32]bool) {
	copies := 0
	for _, id := range c.members {
		copies = max(copies, c.says[id].Standby)
	}
	share := c.shares()
	for _, gone := range c.members {
		extra := map[string]int{}
		mine := c.owned(gone)
		for range copies {
			for _, p := range mine {
				best, found := "", false
				for _, id := range c.members {
					if id == gone || c.says[id].Standby == 0 || slices.Contains(c.by[id], p) {
						continue
					}
					if !found || c.before(id, best, p, share[id]+extra[id], share[best]+extra[best]) {
						best, found = id, true
					}
				}
				if found {
					extra[best]++
					c.by[best] = append(c.by[best], p)
				}
			}
		}
	}
	for _, p := range c.partitions() {
		if id := c.target[p]; !given[p] && c.says[id].Standby > 0 {
			c.by[id] = append(c.by[id], p)
		}
	}
	for _, by := range c.by {
		slices.Sort(by)
	}
}

// before tells whether a stands by for p rather than b.
func (c *choice) before(a, b string, p int32, shareA, shareB int) bool {
	hash := func(id string) uint64 { return xxhash.Sum64String(c.name[id] + "|" + strconv.Itoa(int(p))) }
	return cmp.Or(cmp.Compare(shareA, shareB), cmp.Compare(c.warmth(b, p), c.warmth(a, p)), cmp.Compare(hash(b), hash(a))) < 0
}

// sayChoice says what this process chose as the group's leader.
func (p *Processor) sayChoice(c *choice) {
	by := map[int32][]string{}
	for id, mine := range c.by {
		for _, part := range mine {
			by[part] = append(by[part], c.name[id])
		}
	}
	for _, part := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[part])
		p.log.Info("who stands by", "partition", part, "owner", c.name[c.target[part]], "standby", by[part])
	}
}
