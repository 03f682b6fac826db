package sqlsink

import (
	"fmt"
	"time"

	"millrace/schema"
)

// Times are text on their way in and out: a time.Time would pass through the
// driver's idea of a time zone. Columns of MySQL cut or pad to their width.
const (
	millis = "2006-01-02 15:04:05.000"
	micros = "2006-01-02 15:04:05.000000"
)

// What DATETIME is documented to hold.
var (
	minStored = schema.FromStd(time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC))
	maxStored = schema.FromStd(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
)

func storable(t schema.Time) bool { return t >= minStored && t <= maxStored }

func appendTime(dst []byte, t schema.Time, layout string) []byte {
	return t.Std().AppendFormat(dst, layout)
}

func parseTime(s string) (schema.Time, error) {
	t, err := time.Parse("2006-01-02 15:04:05", s) // it takes a fraction too
	if err != nil {
		return 0, fmt.Errorf("column of time: %w", err)
	}
	return schema.FromStd(t), nil
}
