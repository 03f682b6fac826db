//go:build race

package ingest

// race says that the race detector runs: it makes sync.Pool drop things.
const race = true
