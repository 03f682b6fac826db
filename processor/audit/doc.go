// Package audit compares our candles with Binance's klines, figure for figure.
//
// A Kline is what Binance publishes of a window. Compare joins klines and
// candles by their start, in pages, and gives a Report: how many are equal and
// final, and a Finding for each that is not.
//
// Not everything that differs is ours to mend: Binance's klines and trades have
// disagreed before. The report says in which figure and by how much.
package audit
