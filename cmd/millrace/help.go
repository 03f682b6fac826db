package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// helpCommand is `millrace help`. Cobra's own takes an unknown word for no
// error.
func (a *app) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:                   "help [COMMAND or TOPIC]",
		Short:                 "what a command is for and how to use it",
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(root, args)
			}
			cmd.InitDefaultHelpFlag()
			return a.help(cmd, a.stdout)
		},
	}
}

// help writes all that is to be known of a command, as wide as the terminal.
func (a *app) help(cmd *cobra.Command, out io.Writer) error {
	h := helpText{width: helpWidth(out)}
	if cmd.Long == "" {
		h.paragraph(cmd.Short, 0)
	}
	for i, par := range strings.Split(cmd.Long, "\n\n") {
		if i > 0 {
			h.WriteByte('\n')
		}
		if strings.HasPrefix(par, " ") { // laid out by hand
			fmt.Fprintln(&h, par)
		} else {
			h.paragraph(par, 0)
		}
	}
	if cmd.Runnable() {
		use := cmd.UseLine()
		switch {
		case !cmd.HasParent():
			use = "millrace COMMAND [SETTINGS]"
		case cmd.Flags().HasFlags():
			use += " [SETTINGS]"
		}
		fmt.Fprintf(&h, "\nUsage:\n  %s\n", use)
	}
	if cmd.Example != "" {
		fmt.Fprintf(&h, "\nExamples:\n%s\n", indent(cmd.Example))
	}
	if !cmd.HasParent() {
		h.commands("Commands", cmd.Commands(), func(c *cobra.Command) bool { return c.IsAvailableCommand() || c.Name() == "help" })
		h.commands("More help, with `millrace help TOPIC`", cmd.Commands(), (*cobra.Command).IsAdditionalHelpTopicCommand)
	}
	if cmd.HasParent() && cmd.HasAvailableSubCommands() {
		h.commands("Commands below it", cmd.Commands(), (*cobra.Command).IsAvailableCommand)
	}
	if cmd.Runnable() {
		h.flags(cmd.Flags())
	}
	_, err := out.Write(h.Bytes())
	return err
}

func helpWidth(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			return max(60, min(w, 120))
		}
	}
	return 80
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}

// helpText is a help text in the making.
type helpText struct {
	bytes.Buffer
	width int
}

// paragraph writes words, wrapped, from column on; the first line is where the
// cursor stands.
func (h *helpText) paragraph(text string, column int) {
	used := column
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+n > h.width:
			h.WriteString("\n" + strings.Repeat(" ", column))
			used = column
		default:
			h.WriteByte(' ')
			used++
		}
		h.WriteString(word)
		used += n
	}
	h.WriteByte('\n')
}

// entry writes a name and, in a column of its own, what it means.
func (h *helpText) entry(name, text string, column int) {
	h.WriteString("  " + name)
	used := 2 + utf8.RuneCountInString(name)
	if used+2 > column {
		h.WriteByte('\n')
		used = 0
	}
	h.WriteString(strings.Repeat(" ", column-used))
	h.paragraph(text, column)
}

func (h *helpText) commands(title string, all []*cobra.Command, of func(*cobra.Command) bool) {
	fmt.Fprintf(h, "\n%s:\n", title)
	for _, c := range all {
		if of(c) {
			h.entry(c.Name(), c.Short, 16)
		}
	}
}

// flags writes the command's own flags, then the settings by group.
func (h *helpText) flags(flags *pflag.FlagSet) {
	const column = 32
	group, settings := "", false
	flags.VisitAll(func(f *pflag.Flag) {
		v, ok := f.Value.(*flagValue)
		g, arg, text := "Options", "", f.Usage
		if ok {
			settings = true
			g, arg = v.row.group, v.field.arg
			if d := v.row.def; d != "" && d != "false" {
				text += " (default " + d + ")"
			}
		} else {
			arg, text = pflag.UnquoteUsage(f)
		}
		if f.Name == "help" {
			text = "this text"
		}
		if g != group {
			fmt.Fprintf(h, "\n%s:\n", g)
			group = g
		}
		h.entry(strings.TrimSpace("--"+f.Name+" "+arg), text, column)
	})
	if settings {
		h.WriteByte('\n')
		h.paragraph("Each setting can also be given as MILLRACE_NAME in the environment or as `name: value` in the file: "+
			"see `millrace help configuration`.", 0)
	}
}
