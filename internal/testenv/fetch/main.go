// Command fetch brings Kafka's jars into the cache, so that the first test does
// not wait for them.
package main

import (
	"fmt"
	"os"

	"millrace/internal/testenv"
)

func main() {
	if _, err := testenv.FetchKafka(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
