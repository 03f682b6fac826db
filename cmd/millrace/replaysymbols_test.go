package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestUnpublished(t *testing.T) {
	for _, c := range []struct {
		symbols, missing []string
		files, days      int
		want             string
	}{
		{[]string{"AUSDT"}, []string{"AUSDT-trades-2024-08-03.zip"}, 3, 3,
			"1 of 3 dumps not published, or not yet; the first is AUSDT-trades-2024-08-03.zip. The other 2, of AUSDT, are in the log"},
		{[]string{"NOPE"}, []string{"NOPE-trades-2024-08-01.zip", "NOPE-trades-2024-08-02.zip"}, 2, 2,
			"2 of 2 dumps not published, or not yet; the first is NOPE-trades-2024-08-01.zip; of NOPE there is none: is that a symbol of Binance's, and was it traded then?"},
		{[]string{"AUSDT", "NOPE"}, []string{"NOPE-trades-2024-08-01.zip"}, 2, 1,
			"1 of 2 dumps not published, or not yet; the first is NOPE-trades-2024-08-01.zip; of NOPE there is none: is that a symbol of Binance's, and was it traded then? The other 1, of AUSDT, are in the log"},
	} {
		if got := unpublished(c.symbols, c.missing, c.files, c.days); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
}

// A symbol that the files don't have is told before anything is begun, with
// those that they have.
func TestReplayOfAnUnknownSymbol(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"BTCUSDT-trades-2024-08-08.zip", "ETHUSDT-trades-2024-08-08.zip", "ETHUSDT-trades-2024-08-09.zip"} {
		write(t, filepath.Join(dir, "daily", name), "no matter what")
	}
	btc := filepath.Join(dir, "daily", "BTCUSDT-trades-2024-08-08.zip")
	for _, r := range []refusal{
		{"a folder without it", []string{"replay", "--kafka", "127.0.0.1:1", "--symbols", "NOPE", dir}, exitUsage, "no dump below it is of NOPE; below it are those of BTCUSDT, ETHUSDT"},
		{"a file of another one", []string{"replay", "--kafka", "127.0.0.1:1", "--symbols", "NOPE", btc}, exitUsage, "its name says BTCUSDT, which is none of --symbols NOPE"},
		{"a file of a third one", []string{"replay", "--kafka", "127.0.0.1:1", "--symbols", "NOPE,ETHUSDT", btc}, exitUsage, "its name says BTCUSDT, which is none of --symbols NOPE, ETHUSDT"},
		{"an empty folder", []string{"replay", "--kafka", "127.0.0.1:1", "--symbols", "NOPE", t.TempDir()}, exitUsage, "no dump below it has a name of Binance's"},
	} {
		r.check(t)
	}
	c := spawn(t, "replay", "--kafka", "127.0.0.1:1", "--symbols", "NOPE,ETHUSDT", dir)
	if code := c.code(); code != exitAway || !strings.Contains(c.log.String(), `level=WARN msg="no file is of these symbols" role=replay symbols=[NOPE] "files are of"=[ETHUSDT]`) {
		t.Errorf("a folder with another one: exit code %d\n%s", code, c.log.String())
	}
}

// What is no item of a selection is refused before any connection: none of the
// servers named here is there.
func TestSymbolsThatAreNone(t *testing.T) {
	for _, r := range []refusal{
		{"a question mark", []string{"ingest", "--kafka", "127.0.0.1:1", "--symbols", "?TCUSDT"}, exitUsage, `--symbols: "?TCUSDT" holds '?'; allowed are names (BTCUSDT), patterns in which * is any text (*USDT), top:N`},
		{"a slash", []string{"ingest", "--kafka", "127.0.0.1:1", "--symbols", "BTC/USDT"}, exitUsage, `holds '/'; allowed are`},
		{"a slash in small letters", []string{"dev", "--binance-ws", "ws://127.0.0.1:1", "--symbols", "btc/usdt"}, exitUsage, `holds '/'; allowed are`},
		{"a regular expression", []string{"ingest", "--kafka", "127.0.0.1:1", "--symbols", "BTC|ETH"}, exitUsage, `holds '|'; allowed are`},
		{"a rank that is none", []string{"ingest", "--kafka", "127.0.0.1:1", "--symbols", "top:many"}, exitUsage, "is no number of symbols"},
	} {
		r.check(t)
	}
}
