// Package parquet writes one table as a Parquet file: columns that are never
// null, of text, 64-bit integers, moments and decimals, plainly encoded, packed
// by zstd. It reads nothing.
//
//	"PAR1" ─▶ row groups, each one page a column ─▶ footer ─▶ its length ─▶ "PAR1"
//
// It is here since a library that reads and writes all that Parquet has would
// make the program 7 MB larger. The tests read what it writes with one.
package parquet
