package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// defaultIngestURL is asked where no setting tells where ingest serves.
const defaultIngestURL = "http://127.0.0.1:8081"

// askFlags are those of `ingest status` itself.
type askFlags struct {
	url     string
	all     bool
	json    bool
	between time.Duration // of two answers, from which frames and trades a second come
}

func (a *app) ingestStatusCommand() command {
	f := askFlags{between: time.Second}
	return command{
		use:   "status",
		short: "how a running ingestor stands",
		long: "Asks a running ingestor, or dev, over HTTP how it stands, and prints its connections, gaps, request weight and clock, and the symbols that need attention: " +
			"those that are held, have holes, or are silent against their own pace. It takes a second, to count frames and trades. " +
			"Exit code 0: all is well. 3: a gap is open, ids are missing that can't be had now, a connection has not stood for more than five seconds or brings mostly what cannot be used, a symbol has been held or REST has failed for longer than a minute, or Kafka does not acknowledge. 4: nobody answers.",
		example: "millrace ingest status\n" +
			"millrace ingest status --url http://10.0.0.5:8081 --all\n" +
			"millrace ingest status --json | jq '.symbols[] | select(.held)'",
		groups: []string{gRun},
		leave:  []string{"data", "for", "log-level", "log-format"},
		own: func(fs *pflag.FlagSet) {
			fs.StringVar(&f.url, "url", "", "`URL` of the ingestor; without it where http says, else "+defaultIngestURL)
			fs.BoolVar(&f.all, "all", false, "print all symbols that need attention, not the first 20")
			fs.BoolVar(&f.json, "json", false, "print the ingestor's answer, /ingest/status.json, as it is")
		},
		run: func(ctx context.Context, s *settings, _ []string) error { return a.ingestStatus(ctx, s, &f) },
	}
}

func (a *app) ingestStatus(ctx context.Context, s *settings, f *askFlags) error {
	base, err := f.base(s.Run.HTTP)
	if err != nil {
		return err
	}
	body, first, err := askIngest(ctx, base)
	if err != nil {
		return err
	}
	if f.json {
		if _, err := a.stdout.Write(body); err != nil {
			return err
		}
		return first.verdict()
	}
	t := time.NewTimer(f.between)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, now, err := askIngest(ctx, base)
	if err != nil {
		return err
	}
	most := attentionMost
	if f.all {
		most = len(now.Symbols)
	}
	if _, err := io.WriteString(a.stdout, now.text(first, most)); err != nil {
		return err
	}
	return now.verdict()
}

// base is where the ingestor serves: as told, else where the setting http has
// it serve, on this machine if that is every address.
func (f *askFlags) base(listen string) (*url.URL, error) {
	return baseURL(f.url, listen, defaultIngestURL)
}

// baseURL is base for any role; usual is where it is looked for if nothing is told.
func baseURL(told, listen, usual string) (*url.URL, error) {
	text, from := told, "--url"
	if text == "" {
		text = usual
		if listen != "" {
			host, port, err := net.SplitHostPort(listen)
			if err != nil {
				return nil, usagef("http: %w", err)
			}
			if port == "0" {
				return nil, usagef("http: %s is any free port: name the one that the process logged, by --url", listen)
			}
			if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
				host = "127.0.0.1"
			}
			text = "http://" + net.JoinHostPort(host, port)
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("%s: wanted http://HOST:PORT", from)
	}
	return u, nil
}

// maxStatus bounds an answer: thousands of symbols, each with many holes.
const maxStatus = 64 << 20

// ask gets what a process answers over HTTP, at most a byte more than maxStatus.
// hint says what to do if nobody answers.
func ask(ctx context.Context, base *url.URL, path string, q url.Values, hint string) (code int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	at := base.JoinPath(path)
	at.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return 0, nil, usagef("--url: wanted http://HOST:PORT")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the address, which stands in the sentence
		}
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return 0, nil, context.Cause(ctx)
		}
		return 0, nil, awayf("ask %s: %w; %s", base.Redacted(), err, hint)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(resp.Body, maxStatus+1)); err != nil {
		return 0, nil, awayf("ask %s: %w", base.Redacted(), err)
	}
	return resp.StatusCode, body, nil
}

// askIngest gets the status that an ingestor serves.
func askIngest(ctx context.Context, base *url.URL) ([]byte, *ingestStatus, error) {
	code, body, err := ask(ctx, base, "ingest/status.json", nil, "ingest serves HTTP only where --http tells it to: start it with --http 127.0.0.1:8081, or say by --url where it serves")
	if err != nil {
		return nil, nil, err
	}
	if code != http.StatusOK {
		return nil, nil, usagef("ask %s: it answers %d, so it is no ingestor: say by --url where one serves", base.Redacted(), code)
	}
	s := &ingestStatus{}
	if err := json.Unmarshal(body, s); err != nil || len(body) > maxStatus || s.Time.IsZero() {
		return nil, nil, usagef("ask %s: its answer is no ingestor's status: say by --url where one serves", base.Redacted())
	}
	return body, s, nil
}

// verdict is an error unless all is well.
func (s *ingestStatus) verdict() error {
	var why []string
	if s.Gaps.Open > 0 {
		why = append(why, plural(s.Gaps.Open, "gap")+" open")
	}
	lost := int64(0)
	for i := range s.Symbols {
		for _, h := range s.Symbols[i].Holes {
			if h.Reason != "" {
				lost += h.Last - h.First + 1
			}
		}
	}
	if lost > 0 {
		why = append(why, plural(lost, "id")+" missing that can't be had now")
	}
	if !s.Ready && len(s.Reasons) > 0 {
		why = append(why, clip(s.Reasons[0], 200))
		if n := len(s.Reasons) - 1; n > 0 {
			why = append(why, fmt.Sprintf("%d more", n))
		}
	}
	if len(why) == 0 {
		return nil
	}
	return &classed{exitNotWhole, errors.New("not all is well: " + strings.Join(why, ", "))}
}
