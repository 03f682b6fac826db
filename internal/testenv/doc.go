// Package testenv starts the servers that tests talk to: Apache Kafka,
// MariaDB and NATS, the real ones, and kfake, Kafka's protocol in process.
//
// A test asks for a server and gets it or fails. Nothing here skips: a server
// that is not installed fails the test with the command that installs it
// (`make test` runs that command itself).
//
// Two ways to ask:
//
//   - Start… gives the test a server of its own, gone when the test ends. It
//     may be stopped, killed, paused and started again on its port and folder.
//   - Shared… gives the one server of this test process, started on first use.
//     Tests keep apart by names: NewTopic, (*MariaDB).NewDatabase.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
//
// which stops the shared servers, then fails the package if a goroutine is left.
//
// # Caveats
//
// A server cannot outlive its test process on Linux, even when that is killed:
// the kernel kills it too (see process.go). Elsewhere it can.
//
// The servers are set up to show mistakes, not to be kind: Kafka makes no topic
// by itself, MariaDB's time zone is +05:30, its default character set is
// latin1, and passwords in its URLs hold characters that must be escaped.
//
// What is fetched once (Kafka's jars) and the locks of the ports in use
// are kept in millrace-test under os.UserCacheDir.
package testenv
