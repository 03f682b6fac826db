package parquet

// Numbers of the format.
const (
	physicalInt64 = 2
	physicalBytes = 6
	physicalFixed = 7

	convertedUTF8    = 0
	convertedDecimal = 5
	convertedMicros  = 10

	logicalText    = 1
	logicalDecimal = 5
	logicalMoment  = 8
	unitMicros     = 2

	encodingPlain = 0
	encodingRLE   = 3 // of the levels that columns which are never null do without
	codecZstd     = 6
	dataPage      = 0
	required      = 0
)

func (c *Column) physical() int {
	switch c.Kind {
	case Text:
		return physicalBytes
	case Decimal:
		return physicalFixed
	default:
		return physicalInt64
	}
}

// pageHeader stands before each page.
func pageHeader(rows int64, unpacked, packed int) []byte {
	var t thrift
	t.begin()
	t.i32(1, dataPage)
	t.i32(2, unpacked)
	t.i32(3, packed)
	t.nested(5, func() {
		t.i32(1, int(rows))
		t.i32(2, encodingPlain)
		t.i32(3, encodingRLE)
		t.i32(4, encodingRLE)
	})
	t.end()
	return t.b
}

func (x *Writer) footer() []byte {
	var t thrift
	t.begin()
	t.i32(1, 1) // version
	t.list(2, len(x.columns)+1, tStruct)
	t.begin()
	t.text(4, "table")
	t.i32(5, len(x.columns))
	t.end()
	for i := range x.columns {
		x.columns[i].describe(&t)
	}
	t.i64(3, x.total)
	t.list(4, len(x.groups), tStruct)
	for i := range x.groups {
		x.group(&t, &x.groups[i])
	}
	t.text(6, "millrace")
	t.end()
	return t.b
}

// describe writes a column of the schema.
func (c *Column) describe(t *thrift) {
	t.begin()
	defer t.end()
	t.i32(1, c.physical())
	if c.Kind == Decimal {
		t.i32(2, decimalSize)
	}
	t.i32(3, required)
	t.text(4, c.Name)
	switch c.Kind {
	case Text:
		t.i32(6, convertedUTF8)
		t.nested(10, func() { t.nested(logicalText, func() {}) })
	case Moment:
		t.i32(6, convertedMicros)
		t.nested(10, func() {
			t.nested(logicalMoment, func() {
				t.yes(1) // adjusted to UTC
				t.nested(2, func() { t.nested(unitMicros, func() {}) })
			})
		})
	case Decimal:
		t.i32(6, convertedDecimal)
		t.i32(7, c.Scale)
		t.i32(8, c.Precision)
		t.nested(10, func() {
			t.nested(logicalDecimal, func() {
				t.i32(1, c.Scale)
				t.i32(2, c.Precision)
			})
		})
	}
}

func (x *Writer) group(t *thrift, g *group) {
	t.begin()
	defer t.end()
	t.list(1, len(g.chunks), tStruct)
	var size int64
	for i, c := range g.chunks {
		size += c.unpacked
		t.begin()
		t.i64(2, c.offset)
		t.nested(3, func() {
			t.i32(1, x.columns[i].physical())
			t.list(2, 1, tI32)
			t.number(encodingPlain)
			t.list(3, 1, tBinary)
			t.bare(x.columns[i].Name)
			t.i32(4, codecZstd)
			t.i64(5, g.rows)
			t.i64(6, c.unpacked)
			t.i64(7, c.packed)
			t.i64(9, c.offset)
		})
		t.end()
	}
	t.i64(2, size)
	t.i64(3, g.rows)
}
