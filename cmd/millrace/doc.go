// Command millrace turns Binance's ticks into exact candles.
//
// It is the one program of the project: each role is a command, and `dev` runs
// all of them in one process. This package holds no logic of a role. It reads
// settings, opens rooms, joins them, and turns their errors into one line and an
// exit code.
//
//	main ──▶ run ──▶ root (cobra) ──▶ a command ──▶ load ──▶ settings ──▶ the rooms
//	                                                  ▲
//	             flags > MILLRACE_… > YAML > defaults ┘   all four driven by table
//
// The nouns:
//
//   - setting: one row of the table. Its flag, its environment variable, its key
//     in the YAML file, its line in `millrace config` and its help come from it.
//   - settings: the plain struct that the rows fill, made of groups.
//   - place: where a value was given; (*settings).given asks for it.
//   - class: what kind of failure an error is, and so the exit code (exit.go).
//   - frame: what `dev` shows, drawn by screen on a terminal.
//
// # Caveats
//
// Secrets have types of their own (secret.go) that never print what they hold.
// A password is taken out only where a connection is made.
package main
