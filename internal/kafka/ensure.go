package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
)

// settingsWait is how long a role waits for the one that made `ticks` to write
// the settings, before it writes its own: two that differ must not both be in
// the log.
const settingsWait = 3 * time.Second

// Ensure makes the topics that are missing, refuses those that contradict t,
// and sees to it that each new partition of `ticks` begins with a record of s.
// It compares the partitions only: whether s agrees with the settings found is
// for the caller to say (Lineage.Check).
func Ensure(ctx context.Context, client *kgo.Client, t Topics, s schema.Settings) (Lineage, error) {
	t.EnsureDefaults()
	if err := t.Validate(); err != nil {
		return Lineage{}, err
	}
	e := ensurer{client: client, admin: kadm.NewClient(client), topics: t}
	list := t.all()
	found, err := e.describe(ctx, list)
	if err != nil {
		return Lineage{}, err
	}
	if n := len(found[t.Ticks].Partitions); t.Partitions == 0 && n > 0 {
		t.Partitions = int32(n)
	}
	if t.Partitions != 0 {
		s.Partitions = t.Partitions
	}
	s.EnsureDefaults()
	if err := s.Validate(); err != nil {
		return Lineage{}, fmt.Errorf("kafka: settings: %w", err)
	}
	made, err := e.create(ctx, list, found, s.Partitions)
	if err != nil {
		return Lineage{}, err
	}
	found, err = e.await(ctx, list)
	if err != nil {
		return Lineage{}, err
	}
	if err := e.check(ctx, list, found, s.Partitions); err != nil {
		return Lineage{}, err
	}
	l := Lineage{
		Partitions: s.Partitions, topic: t.Ticks, gaps: t.Gaps(),
		Ticks: TopicID(found[t.Ticks].ID), Candles: TopicID(found[t.Candles].ID),
		Dead: TopicID(found[t.Dead()].ID), Gaps: TopicID(found[t.Gaps()].ID),
	}
	if l.Settings, l.Known, err = e.settings(ctx, &l, s, made); err != nil {
		return l, err
	}
	return l, e.changes(ctx, &l)
}

type ensurer struct {
	client *kgo.Client
	admin  *kadm.Client
	topics Topics
}

// describe gives what there is of the topics; those that are missing have no
// partitions.
func (e *ensurer) describe(ctx context.Context, list []topic) (kadm.TopicDetails, error) {
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = x.name
	}
	found, err := e.admin.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("kafka: look for topics: %w", err)
	}
	for _, x := range list {
		d := found[x.name]
		if d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) && !kerr.IsRetriable(d.Err) {
			return nil, fmt.Errorf("kafka: look for topic %s: %w", x.name, d.Err)
		}
	}
	return found, nil
}

// create makes what is missing and says whether `ticks` was made here.
func (e *ensurer) create(ctx context.Context, list []topic, found kadm.TopicDetails, partitions int32) (ticks bool, _ error) {
	replication := e.topics.Replication
	if replication == 0 {
		replication = -1 // the cluster's own
	}
	for _, x := range list {
		if len(found[x.name].Partitions) > 0 {
			continue
		}
		config := make(map[string]*string, len(x.config))
		for k, v := range x.config {
			config[k] = &v
		}
		r, err := e.admin.CreateTopic(ctx, partitions, replication, config, x.name)
		if errors.Is(err, kerr.TopicAlreadyExists) {
			continue // another role was faster; check has a look at it
		}
		if err != nil {
			return false, fmt.Errorf("kafka: make topic %s with %d partitions: %w%s", x.name, partitions, err, detail(r.ErrMessage))
		}
		ticks = ticks || x.name == e.topics.Ticks
	}
	return ticks, nil
}

func detail(message string) string {
	if message == "" {
		return ""
	}
	return " (" + message + ")"
}

// await waits until the whole cluster knows the topics and who leads them.
func (e *ensurer) await(ctx context.Context, list []topic) (kadm.TopicDetails, error) {
	var found kadm.TopicDetails
	err := retry(ctx, func() (err error) {
		if found, err = e.describe(ctx, list); err != nil {
			return err
		}
		for _, x := range list {
			d := found[x.name]
			if d.Err != nil {
				return fmt.Errorf("kafka: topic %s: %w", x.name, d.Err)
			}
			for _, p := range d.Partitions {
				if p.Err != nil {
					return fmt.Errorf("kafka: topic %s, partition %d: %w", x.name, p.Partition, p.Err)
				}
			}
		}
		return nil
	})
	return found, err
}

func (e *ensurer) check(ctx context.Context, list []topic, found kadm.TopicDetails, partitions int32) error {
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = x.name
		if n := len(found[x.name].Partitions); n != int(partitions) {
			hint := "set --partitions to it"
			if x.name != e.topics.Ticks {
				hint = "all topics of a log have as many"
			}
			return fmt.Errorf("kafka: topic %s has %d partitions, wanted %d: %s, or name another topic", x.name, n, partitions, hint)
		}
	}
	configs, err := e.admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("kafka: read the settings of topics: %w", err)
	}
	for _, x := range list {
		c, err := configs.On(x.name, nil)
		if err == nil {
			err = c.Err
		}
		if err != nil {
			return fmt.Errorf("kafka: read the settings of topic %s: %w", x.name, err)
		}
		for _, key := range x.checked {
			is := ""
			for _, v := range c.Configs {
				if v.Key == key {
					is = v.MaybeValue()
				}
			}
			if want := x.config[key]; !same(is, want) {
				return fmt.Errorf("kafka: topic %s has %s %q, wanted %q: change it with kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config %s=[%s], or name another topic",
					x.name, key, is, want, x.name, key, want)
			}
		}
	}
	return nil
}
