package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

// TestDeadLettersOfAllKinds: what each kind of letter is listed as, and what of
// it can be sent again.
func TestDeadLettersOfAllKinds(t *testing.T) {
	d := newOperator(t)
	topics := kafka.Topics{}
	topics.EnsureDefaults()
	l, err := kafka.Ensure(t.Context(), d.client, topics, schema.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	id := hex.EncodeToString(l.Ticks[:])
	letter := func(value []byte, headers ...string) {
		t.Helper()
		rec := &kgo.Record{Topic: topics.Dead(), Partition: 1, Value: value}
		for i := 0; i < len(headers); i += 2 {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
		}
		if len(headers) > 4 {
			rec.Key = fmt.Appendf(nil, "%v", headers[4:])
		}
		if err := d.client.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	control := func(body any) []byte {
		t.Helper()
		value, err := schema.AppendControl(nil, body)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	// A record whose letter has the beginning only.
	whole := control(schema.Anchor{Symbol: "ETHUSDT", ID: 7, Time: schema.Day})
	rec := &kgo.Record{Topic: topics.Ticks, Partition: 1, Value: whole}
	if err := d.client.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	place := func(offset int64, reason string) []string {
		return []string{schema.HeaderReason, reason, schema.HeaderError, "why", schema.HeaderTopicID, id, schema.HeaderPartition, "1", schema.HeaderOffset, fmt.Sprint(offset), schema.HeaderIndex, "0"}
	}
	letter([]byte(`{"e":"trade"`), schema.HeaderReason, "undecodable", schema.HeaderError, "cut short")
	letter([]byte("garbage"), place(900, "undecodable")...)
	letter(whole[:4], place(rec.Offset, "undecodable")...)
	letter(control(schema.Mark{Ingestor: "i", W: schema.Day}), place(901, "unsettled")...)
	letter(control(schema.Mark{Ingestor: "i", W: schema.Day}), place(901, "unsettled")...) // a processor died between
	letter(control(l.Settings), place(902, "unsupported")...)
	letter(nil)

	var r deadReport
	d.json(&r, exitOK, "dead list --limit 2")
	if r.Letters != 6 || len(r.Newest) != 2 || r.Reasons["undecodable"] != 3 || r.Reasons["unsettled"] != 1 || r.Reasons[""] != 1 {
		t.Errorf("%+v", r)
	}
	d.says(d.do(exitOK, "dead list --limit 2"), "… and 4 older", "6 dead letters: undecodable 3", "without a reason 1")
	d.says(d.do(exitOK, "dead show 1/0"), "can't be read: "+hex.EncodeToString([]byte(`{"e":"trade"`)))
	d.says(d.do(exitOK, "dead show 1/3"), `"Ingestor": "i"`, "offset 901")
	d.says(d.do(exitOK, "dead show 1/6"), "0 bytes")

	var sent retried
	d.json(&sent, exitOK, "dead retry --all")
	if sent.Sent != 2 || sent.Skipped["settings are changed by millrace settings"] != 1 || sent.Skipped["this program can't read it either"] != 1 ||
		sent.Skipped["it is what an ingestor received, and no record"] != 2 {
		t.Errorf("%+v", sent)
	}
	// The anchor came from the log, whole, and went where its symbol is.
	p := schema.Partition("ETHUSDT", l.Partitions) // the mark went there too, behind it
	again, err := kafka.Read(t.Context(), d.client, topics.Ticks, l.Ticks, p, sent.Until[p]-2)
	if err != nil || again == nil || string(again.Value) != string(whole) || string(again.Key) != "ETHUSDT" {
		t.Errorf("sent again: %v, %v", again, err)
	}
	// Nobody processes: that is said, and what was sent is there.
	out := d.do(exitAway, "dead retry 1/3 --wait --patience 300ms")
	d.says(out, "1 record sent again", "no processor of group millrace-ticks has come to it")
	if strings.Count(out, "\n") != 2 {
		t.Errorf("more than two lines:\n%s", out)
	}
}
