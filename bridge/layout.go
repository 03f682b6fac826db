package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace/schema"
)

// store is what a bridge keeps in NATS.
type store struct {
	js                jetstream.JetStream
	stream            jetstream.Stream
	newest, positions jetstream.KeyValue
}

// life tells one life of a stream from another, and how far it had come. A
// position carries it of the streams it stands for.
type life struct {
	Created time.Time `json:"created"`
	Seq     uint64    `json:"seq"`
}

// in reports whether a stream as it is now can hold what l tells of.
func (l life) in(now life) bool { return l.Created.Equal(now.Created) && l.Seq <= now.Seq }

func streamConfig(c *Config) jetstream.StreamConfig {
	most := c.MaxBytes
	if most == 0 {
		most = -1
	}
	return jetstream.StreamConfig{
		Name:        schema.FinalStream,
		Description: "closed, holed and final candles",
		// Not candles.>: an update that may still grow has no place in it.
		Subjects:   []string{schema.SubjectFinalPrefix + ">"},
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardOld,
		MaxAge:     c.MaxAge,
		MaxBytes:   most,
		Storage:    jetstream.FileStorage,
		Replicas:   c.Replicas,
		Duplicates: dedupeWindow,
		// One read of a subject's last candle needs no consumer.
		AllowDirect: true,
	}
}

func bucketConfig(c *Config, name, description string) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: name, Description: description, History: 1, Storage: jetstream.FileStorage, Replicas: c.Replicas,
	}
}

// openStore makes what is missing and refuses what contradicts c.
func openStore(ctx context.Context, conn *nats.Conn, c *Config) (*store, error) {
	// Never reached: what may be in flight is bounded before it (Config.MaxInFlight),
	// but for what a cut connection leaves behind until the client has noticed.
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(4*c.MaxInFlight))
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
			return nil, fmt.Errorf("nats at %s has no jetstream for this account: %w; start it with -js", c.NATS, err)
		}
		return nil, fmt.Errorf("ask nats at %s for jetstream: %w", c.NATS, err)
	}
	s := &store{js: js}
	if s.stream, err = openStream(ctx, js, streamConfig(c)); err != nil {
		return nil, err
	}
	if s.newest, err = openBucket(ctx, js, bucketConfig(c, schema.CandlesBucket, "the newest candle of each series")); err != nil {
		return nil, err
	}
	s.positions, err = openBucket(ctx, js, bucketConfig(c, schema.PositionBucket, "how far into Kafka all of it is here"))
	return s, err
}

func openStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another bridge was faster
			stream, err = js.Stream(ctx, want.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("make the stream %s for %s: %w", want.Name, want.Subjects[0], err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the stream %s: %w", want.Name, err)
	}
	is := stream.CachedInfo().Config
	var d differences
	d.add("subjects", slices.Equal(is.Subjects, want.Subjects), strings.Join(is.Subjects, " "), want.Subjects[0])
	d.add("storage", is.Storage == want.Storage, is.Storage, want.Storage)
	d.add("replicas", is.Replicas == want.Replicas, is.Replicas, want.Replicas)
	d.add("retention", is.Retention == want.Retention, is.Retention, want.Retention)
	d.add("discard", is.Discard == want.Discard, is.Discard, want.Discard)
	d.add("max age", is.MaxAge == want.MaxAge, is.MaxAge, want.MaxAge)
	d.add("max bytes", is.MaxBytes == want.MaxBytes, is.MaxBytes, want.MaxBytes)
	d.add("max messages", is.MaxMsgs <= 0 && is.MaxMsgsPerSubject <= 0, max(is.MaxMsgs, is.MaxMsgsPerSubject), "no bound")
	d.add("duplicate window", is.Duplicates == want.Duplicates, is.Duplicates, want.Duplicates)
	d.add("sealed or without acknowledgement", !is.Sealed && !is.NoAck, "yes", "no")
	return stream, d.err("stream "+want.Name, "nats stream edit "+want.Name)
}

func openBucket(ctx context.Context, js jetstream.JetStream, want jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	bucket, err := js.KeyValue(ctx, want.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		bucket, err = js.CreateKeyValue(ctx, want)
		if errors.Is(err, jetstream.ErrBucketExists) {
			bucket, err = js.KeyValue(ctx, want.Bucket)
		}
		if err != nil {
			return nil, fmt.Errorf("make the bucket %s: %w", want.Bucket, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", want.Bucket, err)
	}
	stream, err := js.Stream(ctx, "KV_"+want.Bucket)
	if err != nil {
		return nil, fmt.Errorf("read the settings of the bucket %s: %w", want.Bucket, err)
	}
	is := stream.CachedInfo().Config
	var d differences
	d.add("storage", is.Storage == want.Storage, is.Storage, want.Storage)
	d.add("replicas", is.Replicas == want.Replicas, is.Replicas, want.Replicas)
	d.add("time to live", is.MaxAge == want.TTL, is.MaxAge, "none")
	d.add("max bytes", is.MaxBytes <= 0, is.MaxBytes, "no bound")
	return bucket, d.err("bucket "+want.Bucket, "nats stream edit KV_"+want.Bucket)
}

type differences []string

func (d *differences) add(name string, same bool, is, want any) {
	if !same {
		*d = append(*d, fmt.Sprintf("%s is %v, wanted %v", name, is, want))
	}
}

// errLayout reports that what is in NATS contradicts the settings.
var errLayout = errors.New("it contradicts the settings")

func (d differences) err(what, edit string) error {
	if len(d) == 0 {
		return nil
	}
	return fmt.Errorf("nats: %s: %w: %s; change the settings to it, or it with `%s`", what, errLayout, strings.Join(d, ", "), edit)
}

// lives asks how far the stream and the bucket are.
func (s *store) lives(ctx context.Context) (stream, newest life, _ error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return life{}, life{}, fmt.Errorf("ask for the state of the stream %s: %w", schema.FinalStream, err)
	}
	stream = life{info.Created, info.State.LastSeq}
	kv, err := s.js.Stream(ctx, "KV_"+schema.CandlesBucket)
	if err != nil {
		return life{}, life{}, fmt.Errorf("ask for the state of the bucket %s: %w", schema.CandlesBucket, err)
	}
	bucket := kv.CachedInfo()
	return stream, life{bucket.Created, bucket.State.LastSeq}, nil
}
