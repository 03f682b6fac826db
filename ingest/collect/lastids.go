package collect

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"millrace/ingest/binance"
)

const (
	// idsChunk is how many symbols' last ids are asked for by one call: up to so
	// many weigh least.
	idsChunk = 20
	// idsCalls is how many such calls go side by side.
	idsCalls = 8
)

// lastIDs asks for the last ids of symbols: in chunks, or of the whole exchange
// where that weighs less. One that the exchange does not know has none.
func (l *Live) lastIDs(ctx context.Context, names []string) (lasts map[string]int64, cost int64, err error) {
	lasts = make(map[string]int64, len(names))
	all := binance.TickerWeight(0)
	chunks := slices.Collect(slices.Chunk(names, idsChunk))
	if int64(len(chunks))*binance.TickerWeight(idsChunk) >= all {
		chunks = [][]string{nil}
	}
	var mu sync.Mutex
	work, inner := errgroup.WithContext(ctx)
	work.SetLimit(idsCalls)
	for _, chunk := range chunks {
		work.Go(func() error {
			weight := binance.TickerWeight(len(chunk))
			rows, err := l.Source.REST.Tickers24h(inner, chunk...)
			if unknown(err) && len(chunk) > 0 { // one is gone: refresh will tell
				weight += all
				rows, err = l.Source.REST.Tickers24h(inner)
			}
			mu.Lock()
			defer mu.Unlock()
			cost += weight
			for i := range rows {
				lasts[rows[i].Symbol] = rows[i].LastID
			}
			return err
		})
	}
	err = work.Wait() // before cost is read
	return lasts, cost, err
}
