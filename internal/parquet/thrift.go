package parquet

import "encoding/binary"

// What follows is the part of Thrift's compact protocol that headers and the
// footer need: https://parquet.apache.org/docs/file-format has their fields.

// The types of fields.
const (
	tTrue   = 1
	tI32    = 5
	tI64    = 6
	tBinary = 8
	tList   = 9
	tStruct = 12
)

// thrift appends fields of structs, the ids of each struct rising.
type thrift struct {
	b    []byte
	last []int // id of the last field, of each struct that is open
}

func (t *thrift) field(id int, kind byte) {
	n := len(t.last) - 1
	t.b = append(t.b, byte(id-t.last[n])<<4|kind) // the ids lie close by
	t.last[n] = id
}

func (t *thrift) begin()                { t.last = append(t.last, 0) }
func (t *thrift) end()                  { t.b, t.last = append(t.b, 0), t.last[:len(t.last)-1] }
func (t *thrift) number(n int64)        { t.b = binary.AppendVarint(t.b, n) }
func (t *thrift) i32(id int, n int)     { t.field(id, tI32); t.number(int64(n)) }
func (t *thrift) i64(id int, n int64)   { t.field(id, tI64); t.number(n) }
func (t *thrift) yes(id int)            { t.field(id, tTrue) }
func (t *thrift) text(id int, s string) { t.field(id, tBinary); t.bare(s) }

func (t *thrift) bare(s string) {
	t.b = binary.AppendUvarint(t.b, uint64(len(s)))
	t.b = append(t.b, s...)
}

func (t *thrift) list(id, n int, kind byte) {
	t.field(id, tList)
	if n < 15 {
		t.b = append(t.b, byte(n)<<4|kind)
		return
	}
	t.b = append(t.b, 15<<4|kind)
	t.b = binary.AppendUvarint(t.b, uint64(n))
}

// nested writes a field that is a struct.
func (t *thrift) nested(id int, f func()) {
	t.field(id, tStruct)
	t.begin()
	f()
	t.end()
}
