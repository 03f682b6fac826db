package file

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Find lists the dumps of trades below a folder, which it knows by Binance's
// names, of the symbols given or of all. They come in the order in which they
// are best replayed: by the time they begin, so that all symbols' time moves on
// together and each symbol's days rise; then by symbol, trades before their
// aggregates. Klines are passed over.
func Find(dir string, symbols []string) ([]string, error) {
	type found struct {
		path string
		name Name
	}
	var all []found
	// With a slash behind it a link to a folder is followed.
	root := strings.TrimRight(dir, string(filepath.Separator)) + string(filepath.Separator)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n, ok := ParseName(path)
		if d.IsDir() || !ok || n.Kind == Unknown || len(symbols) > 0 && !slices.Contains(symbols, n.Symbol) {
			return nil
		}
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if st.Mode().IsRegular() {
			all = append(all, found{path, n})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for dumps below %s: %w", dir, err)
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.name.From, b.name.From), cmp.Compare(a.name.Symbol, b.name.Symbol),
			cmp.Compare(a.name.Kind, b.name.Kind), cmp.Compare(a.path, b.path))
	})
	paths := make([]string, len(all))
	for i := range all {
		paths[i] = all[i].path
	}
	return paths, nil
}
