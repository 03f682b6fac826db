package double

import (
	"strconv"

	"millrace/schema"
)

// Void aggregates stand behind every so many real ones and take up ids of the
// aggregates' series: with every = 3 the ids are
//
//	row     0  1  2     3  4  5     6 …
//	id      0  1  2  ·  4  5  6  ·  8 …
//
// The two numberings turn into one another without counting.

// aggIDOf gives the id of the row-th aggregate.
func aggIDOf(row, every int64) int64 {
	if every == 0 {
		return row
	}
	return row + row/every
}

// rowOf gives the aggregate with an id. Where the id is a void one's, it gives
// the next, and void.
func rowOf(id, every int64) (row int64, void bool) {
	if every == 0 {
		return id, false
	}
	rest := id % (every + 1)
	return id/(every+1)*every + rest, rest == every
}

// tail gives where the last n ids before a row begin.
func tail(row, n, every int64) (from int64, void bool) {
	if row <= 0 {
		return 0, false
	}
	id := aggIDOf(row-1, every) + 1
	if voidBehind(row-1, every) {
		id++
	}
	return rowOf(max(id-n, 0), every)
}

func voidBehind(row, every int64) bool { return every > 0 && row%every == every-1 }

// voidAgg writes a void aggregate, with the time of the one before.
func (c *call) voidAgg(id int64, before []schema.Trade) {
	c.text(`{"a":`)
	c.integer(id)
	c.text(`,"p":"0.00000000","q":"0.00000000","f":-1,"l":-1,"T":`)
	at := schema.Time(0)
	if len(before) > 0 {
		at = before[0].Time
	}
	c.appendTime(at)
	c.text(`,"m":`)
	c.body = strconv.AppendBool(c.body, len(before) > 0 && before[0].BuyerMaker)
	c.text(`,"M":true}`)
}
