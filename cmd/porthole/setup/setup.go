package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/porthole-run/porthole/internal/filelock"
	"github.com/porthole-run/porthole/internal/undo"
)

// Service is the service of Windows that runs the daemon.
type Service interface {
	// Query returns what the service starts; empty when it is not installed.
	Query() (executable string, err error)
	// Install makes the service, and does not start it.
	Install(executable string, args []string) error
	// Repoint lets the service start another program from its next start on.
	Repoint(executable string, args []string) error
	// Start starts it and waits until it says that it serves.
	Start(ctx context.Context) error
	// Stop stops it and waits for its end. One that does not run is no error.
	Stop(ctx context.Context) error
	// Uninstall stops the service and removes it, with its source of events. One that is not installed is no
	// error.
	Uninstall(ctx context.Context) error
}

// Host is the rest of a host.
type Host interface {
	// Lacks says what the host lacks for Porthole to run there, with what mends it.
	Lacks(ctx context.Context) ([]string, error)
	// Healthy is nil when the daemon of a configuration serves the CRI and is ready. It
	// waits until then or until ctx ends.
	Healthy(ctx context.Context, configFile string) error
	// EndPods ends all pods of a configuration: their VMs, and what they have of the
	// network.
	EndPods(ctx context.Context, configFile string) error
}

// Config is what a Setup is made from.
type Config struct {
	InstallDir string // of programs: C:\Program Files\porthole
	DataDir    string // of configuration, images and records: C:\ProgramData\porthole
	Service    Service
	Host       Host
	// SampleData is what the release's configuration says for DataDir.
	SampleData string
	// ConfDir is where a configuration of the daemon has the CNI's. nil: none can be placed.
	ConfDir func(configFile string) (string, error)
	// Protect lets nobody but SYSTEM and Administrators into a folder. nil: nothing is done.
	Protect func(dir string) error
	// Settle is how long a daemon has to become ready. 0: two minutes.
	Settle time.Duration
	Log    *slog.Logger
}

// Setup installs, upgrades and removes.
type Setup struct{ c Config }

// Names in a release's folder and in an installation.
const (
	Program     = "porthole.exe"
	sums        = "SHA256SUMS"
	versions    = "versions"
	configFile  = "config.toml"
	sampleFile  = "config.toml" // in a release
	partial     = ".partial"
	lockFile    = "setup.lock"
	undoTimeout = 3 * time.Minute
)

// New makes a Setup.
func New(c Config) *Setup {
	if c.Settle == 0 {
		c.Settle = 2 * time.Minute
	}
	return &Setup{c: c}
}

// Options of one installation.
type Options struct {
	From    string // a release's folder
	Version string // of what is in it
	// Anyway installs although the host lacks something.
	Anyway bool
	// CNIConf is a CNI configuration to place. Empty: that is somebody else's affair.
	CNIConf string
}

// Done is what Install did.
type Done struct {
	Version string
	Before  string // the version before; empty: none was installed
}

var versionName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$`)

// errBefore is of an upgrade that was taken back.
var errBefore = errors.New("the version before serves again")

// Install places a release and lets the service run it: the first, or one in the place of another. On
// error all is as it was before: the earlier version serves again, or nothing is left but what a daemon that
// was started has written, its log above all.
func (s *Setup) Install(ctx context.Context, o Options) (_ Done, err error) {
	if !versionName.MatchString(o.Version) {
		return Done{}, fmt.Errorf("%q is no version", o.Version)
	}
	lacks, err := s.c.Host.Lacks(ctx)
	if err != nil {
		return Done{}, fmt.Errorf("look at this host: %w", err)
	}
	if len(lacks) > 0 && !o.Anyway {
		return Done{}, &LackError{lacks}
	}
	if err := Verify(o.From); err != nil {
		return Done{}, err
	}
	var u undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Run(ctx, undoTimeout))
		}
	}()
	if err := makeFolder(s.c.InstallDir, &u); err != nil {
		return Done{}, err
	}
	unlock, err := s.lock(&u)
	if err != nil {
		return Done{}, err
	}
	defer unlock()
	old, err := s.c.Service.Query()
	if err != nil {
		return Done{}, fmt.Errorf("look for the service: %w", err)
	}
	dir := filepath.Join(s.c.InstallDir, versions, o.Version)
	if err := s.place(ctx, o.From, dir, &u); err != nil {
		return Done{}, err
	}
	conf, err := s.configure(o.From, &u)
	if err != nil {
		return Done{}, err
	}
	if err := s.placeConf(o.CNIConf, conf, &u); err != nil {
		return Done{}, err
	}
	exe, args := filepath.Join(dir, Program), serviceArgs(conf)
	done := Done{Version: o.Version}
	if old == "" {
		err = s.first(ctx, exe, args, &u)
	} else {
		done.Before = filepath.Base(filepath.Dir(old))
		err = s.swap(ctx, old, exe, args, &u)
	}
	if err != nil {
		return Done{}, err
	}
	if err := s.healthy(ctx, conf); err != nil {
		err = fmt.Errorf("version %s does not serve: %w", o.Version, err)
		if old != "" {
			err = fmt.Errorf("%w: %w", err, errBefore)
		}
		return Done{}, err
	}
	s.prune(dir, filepath.Dir(old))
	return done, nil
}

func serviceArgs(conf string) []string { return []string{"service", "run", "--config", conf} }

func (s *Setup) healthy(ctx context.Context, conf string) error {
	ctx, cancel := context.WithTimeout(ctx, s.c.Settle)
	defer cancel()
	return s.c.Host.Healthy(ctx, conf)
}

// first makes the service and starts it.
func (s *Setup) first(ctx context.Context, exe string, args []string, u *undo.Stack) error {
	if err := s.c.Service.Install(exe, args); err != nil {
		return err
	}
	u.Push("remove the service", s.c.Service.Uninstall)
	return s.c.Service.Start(ctx)
}

// swap lets the service run exe in the place of old.
func (s *Setup) swap(ctx context.Context, old, exe string, args []string, u *undo.Stack) error {
	u.Push("start the version before", s.c.Service.Start)
	if err := s.c.Service.Stop(ctx); err != nil {
		return err
	}
	u.Push("let the service run the version before", func(context.Context) error { return s.c.Service.Repoint(old, args) })
	if err := s.c.Service.Repoint(exe, args); err != nil {
		return err
	}
	u.Push("stop the service", s.c.Service.Stop)
	return s.c.Service.Start(ctx)
}

// configure puts the release's configuration in place where there is none.
func (s *Setup) configure(from string, u *undo.Stack) (string, error) {
	if err := makeFolder(s.c.DataDir, u); err != nil {
		return "", err
	}
	if s.c.Protect != nil {
		// Whoever can write here chooses registries, and what is run.
		if err := s.c.Protect(s.c.DataDir); err != nil {
			return "", fmt.Errorf("protect %s: %w", s.c.DataDir, err)
		}
	}
	path := filepath.Join(s.c.DataDir, configFile)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for the configuration: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(from, sampleFile))
	if err != nil {
		return "", fmt.Errorf("read the release's configuration: %w", err)
	}
	if s.c.SampleData != "" {
		text = []byte(strings.ReplaceAll(string(text), s.c.SampleData, filepath.ToSlash(s.c.DataDir)))
	}
	u.Push("remove the configuration", func(context.Context) error { return remove(path) })
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	return path, nil
}

// lock keeps a second setup out.
func (s *Setup) lock(u *undo.Stack) (unlock func(), err error) {
	path := filepath.Join(s.c.InstallDir, lockFile)
	f, err := filelock.Take(path)
	if err != nil {
		return nil, fmt.Errorf("lock %s: another setup may be at work: %w", path, err)
	}
	u.Push("remove the lock", func(context.Context) error { return remove(path) }) // it is let go of by then
	return func() { _ = f.Close() }, nil
}

// LackError is of a host on which Porthole would not run.
type LackError struct{ Lacks []string }

func (e *LackError) Error() string {
	text := "this host lacks something that Porthole needs"
	for _, l := range e.Lacks {
		text += "\n  " + l
	}
	return text
}

// makeFolder makes a folder, and takes back those that it made, unless something was put into them.
func makeFolder(dir string, u *undo.Stack) error {
	var made []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		}
		made = append(made, d)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if len(made) > 0 {
		u.Push("remove folder", func(context.Context) error {
			for _, d := range made {
				err := remove(d)
				if errors.Is(err, fs.ErrExist) {
					return nil // not empty: the daemon's log of why it failed, for one
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return nil
}

// remove removes a file or an empty folder; gone is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
