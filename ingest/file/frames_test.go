package file

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestRealFrames(t *testing.T) {
	for path, want := range map[string]int{
		"../testdata/btcusdt-spot-2024-08-08/frames.gz":   41249,
		"../testdata/ethusdt-spot-2024-08-08/frames-1.gz": 33618,
		"../testdata/ethusdt-spot-2024-08-08/frames-2.gz": 46126,
	} {
		f, err := OpenFrames(path)
		if err != nil {
			t.Fatal(err)
		}
		n, last := 0, int64(0)
		for {
			at, frame, err := f.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if at < last || frame[0] != '{' || frame[len(frame)-1] != '}' {
				t.Fatalf("line %d: %d %.50s", f.Line(), at, frame)
			}
			n, last = n+1, at
		}
		if n != want || f.Line() != n {
			t.Errorf("%s: %d frames", f.Path(), n)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFramesRefuses(t *testing.T) {
	good := "1723161254087896568 {\"a\":1}\n"
	for data, says := range map[string]string{
		good + "{\"a\":1}\n":                   "line 2: bad line: no space",
		good + "\n":                            "line 2",
		good + "x {}\n":                        "no local time",
		good + "-5 {}\n":                       "no local time",
		good + "99999999999999999999999 {}\n":  "no local time",
		good + "1723161254087896568 \n":        "no frame",
		good + good + "1723161254087896568":    "line 3",
		"1 " + strings.Repeat("a", maxLine+99): "line 1: bad line: longer",
	} {
		f, err := OpenFrames(write(t, "frames", []byte(data)))
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, _, err = f.Next()
		}
		if !errors.Is(err, ErrLine) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: %v", data, err)
		}
		f.Close()
	}
	f, err := OpenFrames(write(t, "frames.gz", bytes.TrimSuffix(gz(good), []byte{0, 0, 0})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, _, err = f.Next()
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}
