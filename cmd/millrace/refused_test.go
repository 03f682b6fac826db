package main

import (
	"net/url"
	"strings"
	"testing"

	"millrace/internal/testenv"
)

// What a role's servers refuse, on the real ones.
func TestRolesRefuse(t *testing.T) {
	maria := testenv.SharedMariaDB(t)
	p := newParts(t, maria)
	m := newMarket(t)
	p.replay(m.end()) // makes the topics
	double := p.double(m.file, 0)
	ws, rest := double.await(`binance-ws=(\S+)`), double.await(`binance-rest=(\S+)`)

	wrong, err := url.Parse(p.sql)
	if err != nil {
		t.Fatal(err)
	}
	wrong.User = url.UserPassword(wrong.User.Username(), "hunter2")
	nowhere := p.sql[:strings.LastIndexByte(p.sql, '/')] + "/nowhere"
	process := func(sql string, more ...string) []string {
		args := append([]string{"process", "--ticks-topic", p.ticks, "--data", t.TempDir(), "--sql", sql}, p.log()...)
		return append(args, more...)
	}
	ingest := func(more ...string) []string {
		return append(append([]string{"ingest", "--ticks-topic", p.ticks}, p.log()...), more...)
	}
	for _, r := range []refusal{
		{"a wrong password", process(wrong.String()), exitUsage, "Access denied"},
		{"a user without rights on the database", process(maria.NewUser(t, p.sql)), exitUsage, "denied"},
		{"a user who may only read", process(maria.NewUser(t, p.sql, "SELECT")), exitUsage, "denied"},
		{"no such database", process(nowhere), exitUsage, "nowhere"},
		{"other partitions", process(p.sql, "--partitions", "7"), exitUsage, "has 4 partitions, wanted 7"},
		{"other periods", process(p.sql, "--periods", "1m"), exitUsage, "has other settings: periods ([1m] here,"},
		{"other partitions at the ingestor", ingest("--symbols", "BTCUSDT", "--partitions", "7"), exitUsage, "has 4 partitions, wanted 7"},
		{"no symbols", ingest(), exitUsage, "--symbols: no symbols to collect"},
		{"symbols that the exchange doesn't have", ingest("--symbols", "NOPE,BTCUSDT,NADA", "--binance-ws", ws, "--binance-rest", rest), exitUsage, "symbols: unknown to the exchange: NADA, NOPE"},
		{"a pattern that matches nothing", ingest("--symbols", "NOPE*", "--binance-ws", ws, "--binance-rest", rest), exitUsage, "symbols: none of the exchange's match, of "},
		{"no topic of candles", []string{"bridge", "--kafka", p.brokers, "--nats", p.nats.URL, "--candles-topic", "nobody-made-it"}, exitFailure, "the topic is not there; start the processor first"},
		{"no such file to replay", []string{"replay", "--kafka", p.brokers, "nowhere.csv"}, exitUsage, "nowhere.csv"},
		{"nothing to replay", []string{"replay", "--kafka", p.brokers}, exitUsage, "no files to replay"},
		{"no Kafka for the ingestor", []string{"ingest", "--kafka", "127.0.0.1:1", "--symbols", "BTCUSDT"}, exitAway, "no kafka at 127.0.0.1:1"},
		{"no Kafka for the processor", []string{"process", "--kafka", "127.0.0.1:1", "--data", t.TempDir()}, exitAway, "no kafka at 127.0.0.1:1"},
		{"no Kafka for replay", []string{"replay", "--kafka", "127.0.0.1:1", absolute(t, btcFrames)}, exitAway, "no kafka at 127.0.0.1:1"},
		{"a wrong password for audit", []string{"audit", "--sql", wrong.String(), "--symbol", "BTCUSDT", "--period", "5m", "--klines", absolute(t, btcKlines)}, exitUsage, "Access denied"},
	} {
		r.check(t)
	}
	double.stop()
}
