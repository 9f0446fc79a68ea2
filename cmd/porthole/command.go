package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// stdio is where a command writes.
type stdio struct{ out, err io.Writer }

// command is one sub-command.
type command struct {
	name    string // one or two words
	args    string // for help
	summary string // one line; empty: hidden
	run     func(ctx context.Context, io stdio, args []string) error
}

// commands is in the order of help.
func commands() []command {
	return []command{
		{"serve", "[--config FILE]", "serve the CRI until SIGTERM; pods go on running", runServe},
		{"config default", "", "print the default configuration with comments", runConfigDefault},
		{"config check", "[--config FILE]", "name all that is wrong with a configuration", runConfigCheck},
		{"doctor", "[--config FILE] [--json] [--probe] [CODE...]", "say what this machine lacks and the command that mends it, or what codes of Windows mean", runDoctor},
		{"guest info", "[--config FILE | --bundle DIR] [--json] [--verify]", "print the guest bundle's parts, versions and digests", runGuestInfo},
		{"image import", "[--config FILE] ARCHIVE", "add the images of an OCI layout or docker-save archive (-: standard input)", runImageImport},
		{"image export", "[--config FILE] ARCHIVE IMAGE...", "write images to an OCI archive (-: standard output)", runImageExport},
		{"image list", "[--config FILE] [--json]", "list the images of the store", runImageList},
		{"top", "[--config FILE] [--json]", "show what each pod holds of the host's memory, next to what its containers use", runTop},
		{"why-slow", "[--config FILE] [--json | --html FILE] [POD]", "show what a pod's start spent its time on; without POD: the newest", runWhySlow},
		{"service install", "[--config FILE]", "Windows: install the daemon as a service that starts with the system", runServiceInstall},
		{"service uninstall", "", "Windows: stop the service and remove it; pods go on running", runServiceUninstall},
		{"service start", "", "Windows: start the service and wait until it serves", runServiceStart},
		{"service stop", "", "Windows: stop the service and wait for its end; pods go on running", runServiceStop},
		{"service status", "[--json]", "Windows: say whether the service runs", runServiceStatus},
		{"setup install", "[--from DIR] [--install-dir DIR] [--data-dir DIR] [--cni-conf FILE] [--anyway]", "Windows: install this release, or upgrade to it; one that does not serve gives way to the one before", runSetupInstall},
		{"setup uninstall", "[--install-dir DIR] [--data-dir DIR] [--keep-data]", "Windows: end all pods and remove the service, programs and data", runSetupUninstall},
		{"share selftest", "[--seeds N] [--seed N] DIR", "check that a folder of this machine can be a volume with full POSIX meaning", runShareSelftest},
		{"selftest", "[--config FILE] [--report FILE] [--disruptive] [--only IDS] [--list]", "Windows: check what only a real host can prove, and write a report to send back", runSelftest},
		{"version", "[--json]", "print this build's version", runVersion},
		{"help", "", "print this", runHelp},
		{"service run", "[--config FILE]", "", runServiceRun},
		{"shim", "--locks DIR --dir DIR", "", runShim},
		{"template", "", "", runTemplate},
		{"arbiter", "--dir DIR", "", runArbiter},
	}
}

// run finds the sub-command and runs it.
func run(ctx context.Context, io stdio, args []string) error {
	for _, c := range commands() {
		words := strings.Fields(c.name)
		if len(args) >= len(words) && strings.Join(args[:len(words)], " ") == c.name {
			return c.run(ctx, io, args[len(words):])
		}
	}
	if len(args) == 0 || asksForHelp(args[0]) {
		return runHelp(ctx, io, nil)
	}
	if subs := subCommands(args[0]); len(subs) > 0 {
		if len(args) > 1 && asksForHelp(args[1]) {
			_, err := fmt.Fprint(io.out, lines(args[0]+" "))
			return err
		}
		return usagef("%s: say what to do: %s; see `porthole help`", args[0], strings.Join(subs, ", "))
	}
	return usagef("%q is not a command; see `porthole help`", strings.Join(args[:min(2, len(args))], " "))
}

func asksForHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// lines tell of all commands whose names begin so, but for hidden ones.
func lines(begin string) string {
	var b strings.Builder
	for _, c := range commands() {
		if c.summary != "" && strings.HasPrefix(c.name, begin) {
			fmt.Fprintf(&b, "  porthole %s\n      %s\n", strings.TrimSpace(c.name+" "+c.args), c.summary)
		}
	}
	return b.String()
}

// subCommands are the second words of the commands that begin with a word.
func subCommands(word string) []string {
	var out []string
	for _, c := range commands() {
		if first, second, ok := strings.Cut(c.name, " "); ok && first == word && c.summary != "" {
			out = append(out, second)
		}
	}
	return out
}

func runHelp(_ context.Context, io stdio, _ []string) error {
	var b strings.Builder
	b.WriteString("Porthole runs Kubernetes pods in utility VMs.\n\n" + lines(""))
	fmt.Fprintf(&b, `
Without --config the file is %s, and built-in defaults when that is absent.

Exit codes:
`, config.DefaultPath())
	for code, text := range exitTexts {
		fmt.Fprintf(&b, "  %d  %s\n", code, text)
	}
	_, err := fmt.Fprint(io.out, b.String())
	return err
}

// flagSet is a command's flags. Errors of parsing are returned, to be printed once as
// all others are; help is for those who ask.
type flagSet struct {
	*flag.FlagSet
	help func()
}

// flags returns an empty flag set for a command.
func flags(std stdio, name string) flagSet {
	f := flag.NewFlagSet("porthole "+name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return flagSet{f, func() {
		for _, c := range commands() {
			if c.name == name {
				fmt.Fprintf(std.out, "porthole %s\n    %s\n\n", strings.TrimSpace(c.name+" "+c.args), c.summary)
			}
		}
		f.SetOutput(std.out)
		f.PrintDefaults()
	}}
}

// parse reads the flags, which may stand before and between the arguments, and returns
// the arguments: at least least, at most most of them.
func parse(f flagSet, args []string, least, most int) ([]string, error) {
	var rest []string
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if err == flag.ErrHelp {
				f.help()
				return nil, err
			}
			return nil, usagef("%s: %v; see `%s -h`", f.Name(), err, f.Name())
		}
		if args = f.Args(); len(args) > 0 {
			rest, args = append(rest, args[0]), args[1:]
		}
	}
	switch {
	case len(rest) < least:
		return nil, usagef("%s: an argument is missing; see `porthole help`", f.Name())
	case len(rest) > most:
		return nil, usagef("%s: %q is one argument too many; see `porthole help`", f.Name(), rest[most])
	}
	return rest, nil
}

// configFlag adds --config.
func configFlag(f flagSet) *string {
	return f.String("config", "", "configuration `file`; default "+config.DefaultPath()+", which may be absent")
}
