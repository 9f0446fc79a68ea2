// Mkdist makes what is released: an archive for one system with the program, the guest's bundle,
// configuration, scripts, manifests, a list of what it is made of (SBOM) and of checksums.
//
//	mkdist stage -os windows -bin porthole.exe -guest DIR -root REPOSITORY -out DIR   lays the files out
//	mkdist seal -dir DIR -out ARCHIVE                                               lists and packs them
//
// Between the two, files may be signed in place. The same files give the same archive, byte for
// byte, whatever their times, owners and order on the disk.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "mkdist:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, log io.Writer) error {
	if len(args) == 0 {
		return errors.New("say what to do: stage, seal")
	}
	f := flag.NewFlagSet("mkdist "+args[0], flag.ContinueOnError)
	f.SetOutput(log)
	switch args[0] {
	case "stage":
		var s stage
		f.StringVar(&s.system, "os", "", "windows or linux")
		f.StringVar(&s.program, "bin", "", "the program")
		f.StringVar(&s.guest, "guest", "", "folder of the guest's bundle")
		f.StringVar(&s.root, "root", ".", "folder of the repository")
		f.StringVar(&s.version, "version", "", "version of the release")
		f.StringVar(&s.out, "out", "", "new folder for the files")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		return s.run()
	case "seal":
		dir := f.String("dir", "", "folder that stage made")
		out := f.String("out", "", "the archive: .zip or .tar.gz")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		return seal(*dir, *out)
	}
	return fmt.Errorf("%q is neither stage nor seal", args[0])
}
