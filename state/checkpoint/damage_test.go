package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"gocloud.dev/blob"
)

// TestDamage: a checkpoint that is damaged in any way is refused with its
// reason, and the one before is restored.
func TestDamage(t *testing.T) {
	largest := func(m *Manifest) File {
		f := m.Files[0]
		for _, x := range m.Files {
			if x.Size > f.Size {
				f = x
			}
		}
		return f
	}
	rewrite := func(mem *memory, m *Manifest, change func(*Manifest)) {
		x := *m
		change(&x)
		delete(mem.objects, m.Ref.key)
		key, b, _ := x.encode()
		mem.objects[key] = thing{b, m.Ref.Stored}
	}
	for _, c := range []struct {
		name, want string
		do         func(mem *memory, m *Manifest)
	}{
		{"a bit of a file", "is damaged", func(mem *memory, m *Manifest) { mem.objects[largest(m).Key].b[20] ^= 1 }},
		{"a file is short", "its file", func(mem *memory, m *Manifest) {
			k := largest(m).Key
			mem.objects[k] = thing{mem.objects[k].b[:20], mem.objects[k].at}
		}},
		{"a file is long", "its file", func(mem *memory, m *Manifest) {
			k := largest(m).Key
			mem.objects[k] = thing{append(bytes.Clone(mem.objects[k].b), 0), mem.objects[k].at}
		}},
		{"a file is gone", "not there", func(mem *memory, m *Manifest) { delete(mem.objects, largest(m).Key) }},
		{"a bit of the manifest", "manifest is damaged", func(mem *memory, m *Manifest) { mem.objects[m.Ref.key].b[9] ^= 1 }},
		{"without its last file", "damaged", func(mem *memory, m *Manifest) {
			rewrite(mem, m, func(x *Manifest) {
				n := len(x.Files) - 1
				x.Size -= x.Files[n].Size
				x.Files = x.Files[:n]
			})
		}},
		{"another position than inside", "stands at", func(mem *memory, m *Manifest) { rewrite(mem, m, func(x *Manifest) { x.Offset++ }) }},
		{"a file outside of the folder", "a file", func(mem *memory, m *Manifest) {
			rewrite(mem, m, func(x *Manifest) {
				x.Files = append([]File{}, x.Files...)
				x.Files[0].Name = "../state"
			})
		}},
		{"a newer state format", "it needs millrace 9.9.9 or later", func(mem *memory, m *Manifest) {
			rewrite(mem, m, func(x *Manifest) { x.StateFormat, x.Program = 99, "9.9.9" })
		}},
		{"a newer manifest", "it needs millrace 9.9.9 or later", func(mem *memory, m *Manifest) {
			rewrite(mem, m, func(x *Manifest) { x.Format, x.Program = 2, "9.9.9" })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := newMemory()
			w := newWorld(t, testStore(blob.NewBucket(mem), Options{}), vfs.NewMem(), 5)
			w.trade(300)
			first, _ := w.take(false)
			then := w.published()
			w.trade(300)
			second, _ := w.take(true) // shares no file
			second.Ref.Stored = mem.objects[second.Ref.key].at
			for k, o := range mem.objects {
				mem.objects[k] = thing{bytes.Clone(o.b), o.at}
			}
			c.do(mem, second)
			w.store = testStore(blob.NewBucket(mem), Options{})
			if w.hashes[second.Offset+1] == 0 {
				w.hashes[second.Offset+1] = w.hashes[second.Offset]
			}
			at, refused := w.restore()
			if at != first.Offset || len(refused) != 1 || !strings.Contains(refused[0].Why, c.want) {
				t.Fatalf("restored %d, wanted %d; refused %v", at, first.Offset, refused)
			}
			if inside(t, w.want().Scratch, w.fs) != then {
				t.Fatal("the one before publishes something else")
			}
			w.taker.Store = w.store
			w.trade(10)
			third, _ := w.take(true)
			if at, _ := w.restore(); at != third.Offset {
				t.Fatalf("after a new one %d was restored", at)
			}
			w.close()
		})
	}
}

// TestMissingFilesAreUploadedAgain: a checkpoint relies on none that the one
// before has lost.
func TestMissingFilesAreUploadedAgain(t *testing.T) {
	mem := newMemory()
	w := newWorld(t, testStore(blob.NewBucket(mem), Options{}), vfs.NewMem(), 5)
	w.trade(300)
	w.close()
	w.open()
	first, _ := w.take(false)
	for _, f := range first.Files {
		if strings.HasSuffix(f.Name, ".sst") {
			delete(mem.objects, f.Key)
		}
	}
	w.trade(1)
	second, cost := w.take(false)
	if cost.Repaired == 0 {
		t.Fatalf("%+v", cost)
	}
	if at, _ := w.restore(); at != second.Offset {
		t.Fatalf("restored %d", at)
	}
	w.close()
}

// TestUnknownFieldsAreRefused: what a manifest says and this program doesn't
// know of may matter.
func TestUnknownFieldsAreRefused(t *testing.T) {
	mem := newMemory()
	w := newWorld(t, testStore(blob.NewBucket(mem), Options{}), vfs.NewMem(), 1)
	m, _ := w.take(false)
	var fields map[string]any
	if err := json.Unmarshal(mem.objects[m.Ref.key].b, &fields); err != nil {
		t.Fatal(err)
	}
	fields["encrypted"] = true
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	r := m.Ref
	r.ID = hashID(b)
	if _, err := decode(r, b); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "encrypted") {
		t.Fatal(err)
	}
	w.close()
}
