package main

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
)

const (
	envPrefix = "MILLRACE_"
	// defaultFile is read where no other is named.
	defaultFile = "millrace.yaml"
)

// strength orders the places of values; the highest counts.
type strength uint8

const (
	byDefault strength = iota
	byFile
	byEnv
	byFlag
)

var strengthNames = [...]string{"default", "file", "environment", "flag"}

func (s strength) String() string { return strengthNames[s] }

// place is where a value comes from, where being exact: millrace.yaml:3.
type place struct {
	strength strength
	where    string
}

// shape is the form a value had in YAML.
type shape uint8

const (
	plainShape shape = iota
	listShape
	mapShape
)

// given is a value as it was given, not yet read.
type given struct {
	texts []string
	where string
	shape shape
}

// givens are what one place gives, by the names of settings.
type givens map[string]given

// load makes settings of what flags, environment and file give for the rows.
// Names are checked against the whole table, so that all roles can share one
// file and one environment; values only in the rows this command has.
func load(rows []setting, flags givens, environ []string, configFile string) (*settings, error) {
	vars, fileVar, err := readEnv(environ)
	if err != nil {
		return nil, err
	}
	path := configFile
	if path == "" {
		path = fileVar
	}
	file := givens{}
	if path == "" {
		if _, err := os.Stat(defaultFile); err == nil {
			path = defaultFile
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("settings: %w", err)
		}
	}
	if path != "" {
		anywhere := names(func(r *setting) bool { return !r.onFlagOnly })
		flagOnly := names(func(r *setting) bool { return r.onFlagOnly })
		if file, err = readYAML(path, anywhere, flagOnly); err != nil {
			return nil, err
		}
	}
	s := &settings{places: map[string]place{}}
	for i := range table {
		if err := table[i].field(s).set([]string{table[i].def}); err != nil && table[i].def != "" {
			return nil, usagef("default of %s: %w", table[i].name, err)
		}
	}
	for i := range rows {
		if err := rows[i].read(s, file, vars, flags); err != nil {
			return nil, err
		}
	}
	return s, s.readSecrets(rows)
}

// read sets the row's field from the strongest place that gives it.
func (r *setting) read(s *settings, file, vars, flags givens) error {
	for i, from := range []givens{flags, vars, file} {
		g, ok := from[r.name]
		if !ok {
			continue
		}
		where := g.where
		if i == 2 {
			where += ": " + r.name
		}
		f := r.field(s)
		switch {
		case g.shape == listShape && !f.many:
			return usagef("%s: has a list, wanted one value", where)
		case g.shape == mapShape && !f.pairs:
			return usagef("%s: has a map, wanted a value", where)
		}
		if r.group == gMarket && r.name == "from" && i == 1 {
			g.texts = strings.Split(g.texts[0], string(os.PathListSeparator))
		}
		if err := f.set(g.texts); err != nil {
			return usagef("%s: %w", where, err)
		}
		s.places[r.name] = place{byFlag - strength(i), g.where}
		return nil
	}
	return nil
}

// readSecrets puts what stands in the files of secrets into their settings. Of
// a secret and a file of it the stronger place counts; neither beats the other
// in one place.
func (s *settings) readSecrets(rows []setting) error {
	for i := range rows {
		of, at := rows[i].fileOf, s.places[rows[i].name]
		path := rows[i].field(s).text()
		if of == "" || path == "" || at.strength < s.places[of].strength {
			continue
		}
		if at.strength == s.places[of].strength {
			return usagef("%s and %s are both set by %v, wanted one of them", of, rows[i].name, at.strength)
		}
		read := rows[i].readFile
		if read == nil {
			read = readSecret
		}
		v, err := read(path)
		if err != nil {
			return usagef("%s: %w", rows[i].name, err)
		}
		target := row(of)
		if err := target.field(s).set([]string{v}); err != nil {
			return usagef("%s: %w", rows[i].name, err)
		}
		s.places[of] = at
	}
	return nil
}

// readEnv gives the settings of the environment and the file it names. A
// variable that is empty counts as not set.
func readEnv(environ []string) (got givens, file string, err error) {
	known := map[string]string{envPrefix + "CONFIG": ""}
	var flagOnly []string
	for i := range table {
		if table[i].onFlagOnly {
			flagOnly = append(flagOnly, env(table[i].name))
		} else {
			known[env(table[i].name)] = table[i].name
		}
	}
	got = givens{}
	for _, line := range slices.Sorted(slices.Values(environ)) {
		key, v, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(key, envPrefix) {
			continue
		}
		name, ok := known[key]
		switch {
		case !ok && madeByKubernetes.MatchString(key):
		case !ok && slices.Contains(flagOnly, key):
			return nil, "", usagef("%s: this can only be a flag", key)
		case !ok:
			var all []string
			for k := range known {
				all = append(all, k)
			}
			slices.Sort(all)
			return nil, "", usagef("unknown variable %s%s", key, nearest(key, all))
		case v == "":
		case name == "":
			file = v
		default:
			got[name] = given{texts: []string{v}, where: key}
		}
	}
	return got, file, nil
}

// madeByKubernetes matches the variables it sets in each pod for a service
// named millrace or millrace-…: they are no mistake of the operator.
var madeByKubernetes = regexp.MustCompile(`^MILLRACE_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// names gives the names of the rows that ok accepts.
func names(ok func(*setting) bool) []string {
	var all []string
	for i := range table {
		if ok(&table[i]) {
			all = append(all, table[i].name)
		}
	}
	return all
}

// row gives the row of a name, which is in the table.
func row(name string) *setting {
	return &table[slices.IndexFunc(table, func(r setting) bool { return r.name == name })]
}

// rowsOf gives the rows of the groups but for those left out.
func rowsOf(groups, leave []string) []setting {
	var all []setting
	for i := range table {
		if slices.Contains(groups, table[i].group) && !slices.Contains(leave, table[i].name) {
			all = append(all, table[i])
		}
	}
	return all
}
