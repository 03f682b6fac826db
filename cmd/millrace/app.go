package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// app is one run of the program: what it reads and writes.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            []string
}

// command is what the commands differ in.
type command struct {
	use     string // "name ARGUMENT…"
	short   string // one line in the list of commands
	long    string // a paragraph: what it is for
	example string
	groups  []string // of settings
	leave   []string // settings of the groups it doesn't take
	args    int      // most arguments it takes
	own     func(*pflag.FlagSet)
	subs    []command // commands below it
	run     func(ctx context.Context, s *settings, args []string) error
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var c *classed
	if !errors.As(err, &c) && cmd == root {
		err = unknownCommand(root, args)
	}
	// A room of the command's name leads its errors with it too.
	fmt.Fprintf(a.stderr, "%s: %s\n", cmd.CommandPath(), strings.TrimPrefix(oneLine(err), cmd.Name()+": "))
	return exitCode(err)
}

// root builds the tree of commands anew for each run: it holds what was parsed.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "millrace",
		Short: "exact candles of Binance's trades, live and for ever",
		Long: "Millrace turns Binance's ticks into exact candles, live and for ever: trades go into Kafka, " +
			"a processor makes candles of them, and these come out in MySQL or SQLite and on NATS.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.help(cmd, a.stderr); err != nil {
				return err
			}
			return usagef("no command given")
		},
		SilenceErrors: true, SilenceUsage: true, DisableSuggestions: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		if err := a.help(cmd, a.stdout); err != nil {
			fmt.Fprintf(a.stderr, "%s: %v\n", cmd.CommandPath(), err)
		}
	})
	root.SetHelpCommand(a.helpCommand(root))
	root.AddCommand(
		a.cobra(a.auditCommand()),
		a.cobra(a.bridgeCommand()),
		a.cobra(a.checkpointCommand()),
		a.cobra(a.configCommand()),
		a.cobra(a.deadCommand()),
		a.cobra(a.devCommand()),
		a.cobra(a.doubleCommand()),
		a.cobra(a.ingestCommand()),
		a.cobra(a.processCommand()),
		a.cobra(a.repairCommand()),
		a.cobra(a.replayCommand()),
		a.cobra(a.sealCommand()),
		a.cobra(a.seriesCommand()),
		a.cobra(a.settingsCommand()),
		a.cobra(a.stateCommand()),
		a.cobra(a.versionCommand()),
	)
	for _, t := range topics {
		root.AddCommand(&cobra.Command{Use: t.name, Short: t.short, Long: t.text})
	}
	return root
}

// cobra makes a command of cobra's out of one of ours.
func (a *app) cobra(c command) *cobra.Command {
	rows := rowsOf(c.groups, c.leave)
	var configFile string
	cmd := &cobra.Command{
		Use: c.use, Short: c.short, Long: c.long, Example: c.example,
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > c.args {
				return usagef("unexpected argument %q", args[c.args])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(rows) == 0 {
				return c.run(cmd.Context(), nil, args)
			}
			s, err := load(rows, givenFlags(cmd.Flags()), a.env, configFile)
			if err != nil {
				return err
			}
			return c.run(cmd.Context(), s, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	cmd.InitDefaultHelpFlag() // first in the list
	if c.own != nil {
		c.own(flags)
	}
	if len(rows) > 0 {
		flags.StringVar(&configFile, "config", "", "`FILE` of settings; without it ./"+defaultFile+" if there is one")
	}
	for i := range rows {
		v := &flagValue{row: &rows[i], field: rows[i].field(&settings{})}
		f := flags.VarPF(v, rows[i].name, "", rows[i].help)
		if v.field.arg == "" {
			f.NoOptDefVal = "true"
		}
	}
	for _, sub := range c.subs {
		cmd.AddCommand(a.cobra(sub))
	}
	return cmd
}

// flagValue keeps what a flag was given; load reads it.
type flagValue struct {
	row   *setting
	field field
	texts []string
}

func (v *flagValue) Set(s string) error { v.texts = append(v.texts, s); return nil }
func (v *flagValue) String() string     { return "" }
func (v *flagValue) Type() string       { return v.field.arg }

func givenFlags(flags *pflag.FlagSet) givens {
	got := givens{}
	flags.Visit(func(f *pflag.Flag) {
		if v, ok := f.Value.(*flagValue); ok {
			got[f.Name] = given{texts: v.texts, where: "--" + f.Name}
		}
	})
	return got
}

// flagError makes one line of what pflag says, and names the nearest flag. It
// quotes no value: it may be a password.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var wanting *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			word, _, _ := strings.Cut(short, "=")
			return usagef("unknown flag -%s: flags begin with two dashes", word)
		}
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
		return usagef("unknown flag --%s%s", name, nearest("--"+name, known))
	case errors.As(err, &wanting):
		return usagef("--%s needs a value", wanting.GetSpecifiedName())
	case errors.As(err, &invalid):
		return usagef("--%s: %w", invalid.GetFlag().Name, invalid.Unwrap())
	}
	return usagef("wrong flags: see %s --help", cmd.CommandPath())
}

func unknownCommand(root *cobra.Command, args []string) error {
	var known []string
	for _, c := range root.Commands() {
		known = append(known, c.Name())
	}
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			return usagef("unknown command %q%s: see millrace help", arg, nearest(arg, known))
		}
	}
	return usagef("unknown command: see millrace help")
}
