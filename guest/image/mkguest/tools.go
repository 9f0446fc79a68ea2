package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// tool is something that the machine must have, and the package that has it:
// a program, or a file if the name is absolute.
type tool struct{ name, pkg string }

var (
	unpackTools  = []tool{{"dpkg-deb", "dpkg"}}
	compileTools = []tool{
		{"gcc", "gcc"}, {"make", "make"}, {"strip", "binutils"}, {"dpkg-source", "dpkg-dev"}, {"patch", "patch"},
		{"xz", "xz-utils"}, {"pkg-config", "pkgconf"}, {"python3", "python3"},
		// For programs that run during the build; what goes into the guest
		// uses the pinned packages.
		{"/usr/include/stdio.h", "libc6-dev"},
	}
	kernelTools = []tool{
		{"gcc", "gcc"}, {"make", "make"}, {"strip", "binutils"}, {"xz", "xz-utils"}, {"flex", "flex"}, {"bison", "bison"},
		{"bc", "bc"}, {"perl", "perl"}, {"/usr/include/stdio.h", "libc6-dev"}, {"/usr/include/libelf.h", "libelf-dev"},
	}
)

// needTools installs the packages of the tools that are missing.
func (b *builder) needTools(ctx context.Context, tools []tool) error {
	missing, err := missingPackages(tools)
	if err != nil || len(missing) == 0 {
		return err
	}
	return b.apt.install(ctx, missing)
}

func missingPackages(tools []tool) ([]string, error) {
	var missing []string
	for _, t := range tools {
		var err error
		if filepath.IsAbs(t.name) {
			_, err = os.Stat(t.name)
		} else {
			_, err = exec.LookPath(t.name)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound):
			if !slices.Contains(missing, t.pkg) {
				missing = append(missing, t.pkg)
			}
		case err != nil:
			return nil, err
		}
	}
	slices.Sort(missing)
	return missing, nil
}
