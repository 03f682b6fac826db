package processor

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// balancer is kgo's cooperative-sticky balancer, by its own name and rules, to
// which two things are added. A partition that moves goes to a member that has
// its state, where the shares stay as even as they were. And the leader tells
// each member which partitions it stands by for (choice.go): who stands by is
// part of the group's word, like who owns.
//
// What a member tells of itself, and what the leader tells it, stand in the
// protocol's user data, behind what kgo writes there. A member that says nothing
// has no state and stands by for nothing; so members of before can be in the
// group, and lead it.
type balancer struct {
	kgo.GroupBalancer // cooperative-sticky
	topic             string
	tell              func() told     // of this member, as it joins
	chosen            func(c *choice) // the leader's choice; may be nil

	mu   sync.Mutex // guards what follows
	word []int32    // what the group has this member stand by for
}

// told is what a member says of itself.
type told struct {
	Standby int     `json:"standby,omitempty"` // how many members beside the owner are to keep a partition warm
	Warm    []int32 `json:"warm,omitempty"`    // partitions that it stands by for, with the state open
	Kept    []int32 `json:"kept,omitempty"`    // of which there is state in its folder
}

func newBalancer(topic string, tell func() told, chosen func(*choice)) *balancer {
	return &balancer{GroupBalancer: kgo.CooperativeStickyBalancer(), topic: topic, tell: tell, chosen: chosen}
}

// mark ends user data of ours: its length comes before.
const mark = "millrace"

func appendTold(userData []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return userData
	}
	userData = append(userData, b...)
	userData = binary.BigEndian.AppendUint32(userData, uint32(len(b)))
	return append(userData, mark...)
}

// cutTold takes what appendTold added away again, and reads it into v.
func cutTold(userData []byte, v any) []byte {
	rest, ok := bytes.CutSuffix(userData, []byte(mark))
	if !ok || len(rest) < 4 {
		return userData
	}
	at := len(rest) - 4
	n := int(binary.BigEndian.Uint32(rest[at:]))
	if n > at || json.Unmarshal(rest[at-n:at], v) != nil {
		return userData
	}
	return rest[:at-n]
}

// JoinGroupMetadata adds what this member says of itself.
func (b *balancer) JoinGroupMetadata(topics []string, current map[string][]int32, generation int32) []byte {
	raw := b.GroupBalancer.JoinGroupMetadata(topics, current, generation)
	var meta kmsg.ConsumerMemberMetadata
	if err := meta.ReadFrom(raw); err != nil {
		return raw
	}
	meta.UserData = appendTold(meta.UserData, b.tell())
	return meta.AppendTo(nil)
}

// ParseSyncAssignment takes the word that this member stands by for.
func (b *balancer) ParseSyncAssignment(raw []byte) (map[string][]int32, error) {
	m, err := b.GroupBalancer.ParseSyncAssignment(raw)
	if err != nil {
		return nil, err
	}
	var word told
	var a kmsg.ConsumerMemberAssignment
	if a.ReadFrom(raw) == nil {
		cutTold(a.UserData, &word)
	}
	b.mu.Lock()
	b.word = word.Warm
	b.mu.Unlock()
	return m, nil
}

func (b *balancer) standsBy() []int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.word)
}

// MemberBalancer reads what the members say. It runs where the leader is.
func (b *balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	l := &leading{b: b, says: map[string]told{}}
	members = slices.Clone(members)
	for i := range members {
		var meta kmsg.ConsumerMemberMetadata
		if meta.ReadFrom(members[i].ProtocolMetadata) != nil {
			continue // NewConsumerBalancer tries harder, and explains
		}
		var t told
		meta.UserData = cutTold(meta.UserData, &t)
		l.says[members[i].MemberID] = t
		members[i].ProtocolMetadata = meta.AppendTo(nil)
	}
	c, err := kgo.NewConsumerBalancer(l, members)
	return c, c.MemberTopics(), err
}

// leading balances once.
type leading struct {
	b    *balancer
	says map[string]told // by member id
}

// Balance shares the partitions out as the sticky balancer does, and chooses.
func (l *leading) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	plain, ok := kgo.StickyBalancer().(kgo.ConsumerBalancerBalance)
	if !ok {
		b.SetError(fmt.Errorf("kgo's sticky balancer has changed"))
		return nil
	}
	plan, ok := plain.Balance(b, topics).(*kgo.BalancePlan)
	if !ok {
		b.SetError(fmt.Errorf("kgo's sticky balancer has changed"))
		return nil
	}
	c := newChoice(l.says)
	generation := map[int32]int32{}
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		name := m.MemberID
		if m.InstanceID != nil {
			name = *m.InstanceID
		}
		c.join(m.MemberID, name)
		for _, o := range meta.OwnedPartitions {
			if o.Topic != l.b.topic {
				continue
			}
			for _, p := range o.Partitions {
				if g, ok := generation[p]; !ok || meta.Generation > g {
					generation[p], c.owner[p] = meta.Generation, m.MemberID
				}
			}
		}
	})
	all := plan.AsMemberIDMap()
	for id, mine := range all {
		for _, p := range mine[l.b.topic] {
			c.target[p] = id
		}
	}
	c.prefer()
	for id, mine := range all {
		if own := c.owned(id); len(own) > 0 {
			mine[l.b.topic] = own
		} else {
			delete(mine, l.b.topic)
		}
	}
	plan.AdjustCooperative(b) // what moves is given up first
	given := map[int32]bool{}
	for _, mine := range all {
		for _, p := range mine[l.b.topic] {
			given[p] = true
		}
	}
	c.stand(given)
	if l.b.chosen != nil {
		l.b.chosen(c)
	}
	return &spoken{plan: plan, c: c}
}

// spoken is a plan with what each member stands by for.
type spoken struct {
	plan *kgo.BalancePlan
	c    *choice
}

// IntoSyncAssignment writes both.
func (s *spoken) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment {
	out := s.plan.IntoSyncAssignment()
	for i := range out {
		by := s.c.by[out[i].MemberID]
		var a kmsg.ConsumerMemberAssignment
		if len(by) == 0 || a.ReadFrom(out[i].MemberAssignment) != nil {
			continue
		}
		a.UserData = appendTold(a.UserData, told{Warm: by})
		out[i].MemberAssignment = a.AppendTo(nil)
	}
	return out
}
