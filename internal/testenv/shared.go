package testenv

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// shared are the servers of this test process. They are variables of the
// package because a process has one TestMain and one of each of them.
var shared struct {
	sync.Mutex
	byMain  bool // Main runs, so they will be stopped
	kafka   once[*Kafka]
	mariadb once[*MariaDB]
}

// once keeps the first answer, a failure too: a broker that did not start for
// the first test will not start for the fiftieth either.
type once[T any] struct {
	asked bool
	value T
	err   error
}

func (o *once[T]) get(make func() (T, error)) (T, error) {
	if !o.asked {
		o.asked = true
		o.value, o.err = make()
	}
	return o.value, o.err
}

// SharedKafka returns the broker of this test process. Keep to topics and
// groups of your own (NewTopic), and do not stop it.
func SharedKafka(tb testing.TB) *Kafka {
	tb.Helper()
	return share(tb, &shared.kafka, func() (*Kafka, error) {
		dir, err := os.MkdirTemp("", "millrace-kafka-")
		if err != nil {
			return nil, err
		}
		k, err := newKafka(KafkaConfig{Dir: dir})
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		if err := k.Start(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		return k, nil
	})
}

// SharedMariaDB returns the MariaDB server of this test process. Keep to a
// database of your own (NewDatabase), and do not stop it.
func SharedMariaDB(tb testing.TB) *MariaDB {
	tb.Helper()
	return share(tb, &shared.mariadb, func() (*MariaDB, error) {
		dir, err := os.MkdirTemp("", "millrace-mariadb-")
		if err != nil {
			return nil, err
		}
		m, err := newMariaDB(dir)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		if err := m.Start(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir), os.RemoveAll(filepath.Dir(m.Socket)))
		}
		return m, nil
	})
}

func share[T any](tb testing.TB, o *once[T], make func() (T, error)) T {
	tb.Helper()
	needMain(tb)
	shared.Lock()
	defer shared.Unlock()
	value, err := o.get(make)
	if err != nil {
		tb.Fatal(err)
	}
	return value
}

// needMain fails a test of a package that has not called Main.
func needMain(tb testing.TB) {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.byMain {
		tb.Fatal("this package needs: func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }")
	}
}

// stopShared ends the shared servers and removes their folders.
func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	var errs []error
	if k := shared.kafka.value; k != nil {
		errs = append(errs, k.Kill(), os.RemoveAll(k.Dir))
	}
	if m := shared.mariadb.value; m != nil {
		errs = append(errs, m.Kill(), os.RemoveAll(m.Dir), os.RemoveAll(filepath.Dir(m.Socket)))
	}
	return errors.Join(errs...)
}
