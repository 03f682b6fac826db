package file

import (
	"errors"
	"fmt"
	"io"

	"millrace/ingest/binance"
)

// ReadKlines reads Binance's own candles: a dump with twelve columns (plain,
// gzip or zip, with or without a header), or the JSON of a REST answer. They
// are for comparing, so they are read whole.
func ReadKlines(path string) ([]binance.Kline, error) {
	l, err := openLines(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }() // only read
	for {
		head, err := l.r.Peek(1)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(head) == 0 || head[0] == '[' {
			break
		}
		if head[0] != ' ' && head[0] != '\n' && head[0] != '\r' && head[0] != '\t' {
			return klineRows(l)
		}
		if _, err := l.r.Discard(1); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	// The most a REST answer holds is a thousand rows of some 200 bytes.
	all, err := binance.ReadKlines(io.LimitReader(l.r, maxLine))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

func klineRows(l *lines) ([]binance.Kline, error) {
	var all []binance.Kline
	var cols [][]byte
	for {
		row, err := l.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if l.number == 1 && isHeader(row) {
			continue
		}
		cols = split(cols, row)
		k, err := binance.ParseKline(cols)
		if err != nil {
			return nil, l.bad(fmt.Errorf("%w: %s", err, snippet(row)))
		}
		all = append(all, k)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no kline in it", l.path)
	}
	return all, nil
}
