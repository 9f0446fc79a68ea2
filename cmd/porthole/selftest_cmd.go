package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/selftest"
	"github.com/porthole-run/porthole/internal/atomicfile"
)

// errHost is of a host on which some of the checks fail. Which ones has been printed.
var errHost = errors.New("this host is not as assumed")

// runSelftest checks what only a real Windows host can prove, and writes the report.
func runSelftest(ctx context.Context, std stdio, args []string) (err error) {
	f := flags(std, "selftest")
	path := configFlag(f)
	file := f.String("report", "porthole-selftest.json", "`file` for the report, to be sent back")
	disruptive := f.Bool("disruptive", false, "also restart vmcompute and hns, which ends every VM and container of this host")
	only := f.String("only", "", "`ids` of rows, or parts of them, with commas between; default: all")
	list := f.Bool("list", false, "print the rows and run none")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	if *list {
		return listRows(std)
	}
	c, err := config.Load(*path)
	if err != nil {
		return err
	}
	lab, facts, err := newLab(ctx, c, *disruptive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(lab.Dir)) }()
	if *file, err = filepath.Abs(*file); err != nil {
		return fmt.Errorf("find the report's folder: %w", err)
	}
	var writeErr error
	o := selftest.Options{
		Facts: facts,
		Begin: func(r selftest.Row) { fmt.Fprintf(std.err, "%s …\n", r.ID) },
		End:   func(r selftest.Report) { writeErr = writeReport(*file, r) },
	}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	r := selftest.Run(ctx, lab, o)
	if err := errors.Join(r.Print(std.out), writeErr, writeReport(*file, r)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(std.out, "\nthe report to send back is %s\n", *file); err != nil {
		return err
	}
	if r.Count(selftest.Fails) > 0 {
		return errHost
	}
	return nil
}

func listRows(std stdio) error {
	for _, r := range selftest.Rows() {
		if _, err := fmt.Fprintf(std.out, "%-16s %s\n", r.ID, r.Assumed); err != nil {
			return err
		}
	}
	return nil
}

func writeReport(path string, r selftest.Report) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
