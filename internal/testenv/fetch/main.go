// Command fetch brings Kafka's jars and foreign clients into the cache, so that
// the first test does not wait for them.
package main

import (
	"fmt"
	"os"

	"millrace/internal/testenv"
)

func main() {
	for _, fetch := range []func() (string, error){testenv.FetchKafka, testenv.FetchNode, testenv.FetchPython} {
		if _, err := fetch(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
