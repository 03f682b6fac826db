package testenv

import (
	"flag"
	"fmt"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// serveNATS does what nats-server's own main does.
func serveNATS(args []string) error {
	flags := flag.NewFlagSet("nats-server", flag.ContinueOnError)
	nothing := func() {}
	options, err := natsserver.ConfigureOptions(flags, args, nothing, nothing, nothing)
	if err != nil {
		return fmt.Errorf("nats-server: %w", err)
	}
	server, err := natsserver.NewServer(options)
	if err != nil {
		return fmt.Errorf("nats-server: %w", err)
	}
	server.ConfigureLogger()
	if err := natsserver.Run(server); err != nil {
		return fmt.Errorf("nats-server: %w", err)
	}
	server.WaitForShutdown()
	return nil
}
