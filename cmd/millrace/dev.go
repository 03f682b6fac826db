package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"millrace/bridge"
	"millrace/ingest"
	"millrace/ingest/double"
	"millrace/processor"
)

func (a *app) devCommand() command {
	var asJSON bool
	return command{
		use:   "dev",
		short: "everything in one process, nothing to install",
		long: "Runs the ingestor, the processor and the bridge in one process. Kafka, NATS and the SQL store are embedded unless a setting names one; " +
			"without --from and --binance-ws the trades are made up. A second start goes on where the first stopped. " +
			"While it runs, a terminal shows the newest candles; Kafka, NATS and HTTP listen on 127.0.0.1 for kcat, nats and a browser.",
		example: "millrace dev\n" +
			"millrace dev --from frames.gz --speed 0 --until-done --sql sqlite:x.db\n" +
			"millrace dev --from BTCUSDT-trades-2024-08-08.zip --until-done\n" +
			"millrace dev --binance-ws wss://stream.binance.com:9443 --symbols BTCUSDT,ETHUSDT",
		groups: []string{gKafka, gLog, gProduce, gBinance, gProcess, gKeeping, gSQL, gNATS, gMarket, gDev, gRun},
		leave:  []string{"listen", "http", "bridge-group", "standby"},
		own:    func(f *pflag.FlagSet) { f.BoolVar(&asJSON, "json", false, "print the summary of --until-done as JSON") },
		run: func(ctx context.Context, s *settings, _ []string) error {
			d := &dev{app: a, s: s, json: asJSON, screen: newScreen(a.stdout, a.env), view: newView()}
			out := a.stderr
			if d.screen.live() {
				out = d.screen // log lines appear above the table
			}
			d.log = newLogger(out, &s.Run).With("role", "dev")
			ctx, cancel := forTime(ctx, s.Run.For)
			defer cancel()
			if err := d.run(ctx); err != nil && (ctx.Err() == nil || !ended(err)) {
				return err
			}
			if !s.Dev.UntilDone {
				newLogger(a.stderr, &s.Run).Info("stopped in good order; a start with the same folder goes on from here", "why", context.Cause(ctx), "data", s.Run.Data)
			}
			return nil
		},
	}
}

// dev is one run of everything.
type dev struct {
	app    *app
	s      *settings
	json   bool
	screen *screen
	log    *slog.Logger
	view   *view

	client  *kgo.Client
	double  *double.Double // nil where trades come from elsewhere
	in      *ingest.Ingestor
	watch   *ingestWatch
	proc    *processor.Processor
	keeping *keeping
	bridge  *bridge.Bridge
	notes   []string
	began   time.Time
	dead    int64 // dead letters before this run
}

func (d *dev) run(ctx context.Context) error {
	src, err := d.source()
	if err != nil {
		return err
	}
	lock, err := lockData(d.s.Run.Data)
	if err != nil {
		return err
	}
	defer lock.unlock() //nolint:errcheck // the kernel drops the lock with the process
	if err := d.fresh(); err != nil {
		return err
	}
	if err := claimData(d.s); err != nil {
		return err
	}
	web, err := listenWeb(fmt.Sprintf("127.0.0.1:%d", d.s.Dev.HTTPPort), d.frame, d.log)
	if err != nil {
		return awayf("%w; stop what uses the port, or set --http-port", err)
	}
	defer web.listener.Close() //nolint:errcheck // run has closed it, or nobody used it
	servers, err := embedServers(d.s)
	if err != nil {
		return err
	}
	defer servers.close()
	if err := d.open(ctx); err != nil {
		d.close()
		return err
	}
	defer d.close()
	if d.s.madeUp() {
		d.notes = append(d.notes, "a made-up market: the symbols are real, trades and prices are not")
	}
	web.more = func(mux *http.ServeMux, log *slog.Logger) {
		d.watch.routes(mux, log)
		stateRoutes(d.proc)(mux, log)
	}
	d.began = time.Now()
	d.notes = append(d.notes, fmt.Sprintf("%s · kafka %s · nats %s · sql %s", web.url(), strings.Join(d.s.Kafka.Brokers, ","), d.s.NATS.URL.String(), d.s.SQL.DSN.String()))
	d.log.Info("running", "http", web.url(), "kafka", d.s.Kafka.Brokers, "nats", d.s.NATS.URL.String(), "sql", d.s.SQL.DSN.String(), "data", d.s.Run.Data)

	// What comes first in a tick's way stops first, so that what is under way
	// arrives: the sources, then the ingestor, the processor, the bridge.
	group, work := errgroup.WithContext(ctx)
	rooms, stopRooms := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRooms()
	inner, stopAll := context.WithCancel(rooms)
	defer stopAll()
	behind, _ := errgroup.WithContext(inner)
	run := func(f func(context.Context) error) {
		behind.Go(func() error {
			err := f(inner)
			if err != nil && inner.Err() == nil {
				stopAll()
			}
			return err
		})
	}
	run(d.proc.Run)
	run(d.bridge.Run)
	run(web.run)
	if d.screen.live() || !d.s.Dev.UntilDone {
		run(func(ctx context.Context) error { return d.screen.run(ctx, d.frame) })
	}
	var done *summary
	group.Go(func() error {
		ctx, cancel := context.WithCancel(work)
		defer cancel()
		defer context.AfterFunc(inner, cancel)()
		if err := withIngestor(ctx, d.in, d.log, func(ctx context.Context) error { return src(ctx) }); err != nil {
			return err
		}
		if !d.s.Dev.UntilDone {
			<-ctx.Done()
			return nil
		}
		if ctx.Err() != nil {
			return errUnfinished
		}
		s, err := d.finish(ctx)
		if err != nil && ctx.Err() != nil {
			return errUnfinished
		}
		done = s
		return err
	})
	err = group.Wait()
	stopRooms()
	failed := behind.Wait()
	if failed != nil && ctx.Err() == nil && (ended(err) || errors.Is(err, errUnfinished)) {
		err = nil // the source was only broken off by it
	}
	err = errors.Join(failed, err)
	if err != nil || done == nil {
		return err
	}
	return done.report(d.app.stdout, d.json)
}

// fresh empties the data folder where that was asked for and confirmed.
func (d *dev) fresh() error {
	if !d.s.Dev.Fresh {
		return nil
	}
	if !d.s.Dev.Yes {
		fmt.Fprintf(d.app.stderr, "Delete Millrace's data in %s (log, state, candles)? [y/N] ", d.s.Run.Data)
		answer, _ := bufio.NewReader(d.app.stdin).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return usagef("--fresh was not confirmed; nothing was deleted")
		}
	}
	return freshData(d.s.Run.Data)
}

// open opens the rooms, the one that stands last in a tick's way first.
func (d *dev) open(ctx context.Context) (err error) {
	k, err := d.s.Kafka.config("dev", d.log)
	if err != nil {
		return err
	}
	if _, err := openLog(ctx, k, d.s); err != nil {
		return err
	}
	if d.client, err = connect(ctx, k); err != nil {
		return err
	}
	if d.dead, err = d.total(ctx, d.topicDead()); err != nil {
		return err
	}
	if d.bridge, err = openBridge(ctx, d.s, "", d.log); err != nil {
		return err
	}
	if d.keeping, err = openKeeping(ctx, d.s); err != nil {
		return err
	}
	if d.proc, err = openProcessor(ctx, d.s, d.keeping, d.log, d.view.take); err != nil {
		return err
	}
	if d.in, _, err = openIngestor(ctx, d.s, d.log); err != nil {
		return err
	}
	d.watch = &ingestWatch{in: d.in}
	return nil
}

func (d *dev) close() {
	if d.in != nil {
		d.in.Close()
	}
	if d.proc != nil {
		d.proc.Close()
	}
	d.keeping.close()
	if d.bridge != nil {
		d.bridge.Close()
	}
	if d.client != nil {
		d.client.Close()
	}
}
