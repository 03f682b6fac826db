//go:build !race

package ingest

const race = false
