package main

import (
	"context"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// web serves what a process shows of itself, read-only:
//
//	/             the frame, for a browser
//	/status.json  the same, for programs
//	/healthz      200 while the process works
type web struct {
	listener net.Listener
	next     func() frame
	log      *slog.Logger
	more     func(*http.ServeMux, *slog.Logger) // what the role serves beside it; nil: nothing
}

// listenWeb takes the port, so that a port in use ends the start.
func listenWeb(addr string, next func() frame, log *slog.Logger) (*web, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, awayf("serve HTTP: %w", err)
	}
	return &web{listener: l, next: next, log: log}, nil
}

func (w *web) url() string { return "http://" + w.listener.Addr().String() }

// run serves until ctx ends.
func (w *web) run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		rw.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		if err := page.Execute(rw, w.next()); err != nil {
			w.log.Debug("a browser left", "err", err)
		}
	})
	mux.HandleFunc("GET /status.json", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		if err := writeJSON(rw, w.next()); err != nil {
			w.log.Debug("a reader of the status left", "err", err)
		}
	})
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(rw, "ok\n"); err != nil {
			w.log.Debug("a health check left", "err", err)
		}
	})
	if w.more != nil {
		w.more(mux, w.log)
	}
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(w.listener) }()
	select {
	case err := <-served:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
		err := server.Close()
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<meta charset="utf-8"><meta http-equiv="refresh" content="1"><title>Millrace</title>
<style>
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em; color-scheme: light dark }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
td, th { padding: .1em .8em; text-align: right } th { border-bottom: 1px solid }
td:first-child, th:first-child, td:nth-child(2):not(.n), td.t { text-align: left }
</style>
<h1>{{.Title}}</h1>
{{range .Notes}}<p>{{.}}</p>{{end}}
{{with .Rows}}<table>
<tr><th>symbol<th>period<th>start<th>open<th>high<th>low<th>close<th>volume<th>trades<th>status</tr>
{{range .}}<tr><td>{{.Symbol}}<td>{{.Period}}<td>{{.Start.UTC.Format "2006-01-02 15:04:05"}}<td>{{.Open}}<td>{{.High}}<td>{{.Low}}<td>{{.Close}}<td>{{.Volume}}<td>{{.Trades}}<td class="t">{{.Status}}</tr>
{{end}}</table>{{end}}
{{with .Stages}}<table>
<tr><th>stage<th>count<th>p50<th>p99</tr>
{{range .}}<tr><td>{{.Name}}<td class="n">{{.Count}}<td>{{.P50}}<td>{{.P99}}</tr>
{{end}}</table>{{end}}
`))
