package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/containerd/errdefs"
	clog "github.com/containerd/log"

	"github.com/porthole-run/porthole/internal/localsock"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/cgroup"
	"github.com/porthole-run/porthole/sandbox/template"
	"github.com/porthole-run/porthole/streaming/crilog"
)

// NewDriver makes the driver from the settings that the Launcher was given.
type NewDriver func(settings json.RawMessage, log *slog.Logger) (sandbox.Driver, error)

// Shares opens what the guest is shown of the host.
type Shares interface {
	Open(ctx context.Context, s ShareSource) (Share, error) // a ShareOpener
	Close() error
}

// Parts make what a shim is put together from.
type Parts struct {
	Driver NewDriver
	Shares func(log *slog.Logger) Shares
}

// Main is the shim process: it makes the VM that dir/shim.json describes and serves it
// until it ends. The Launcher starts it with dir as its argument, its log as stderr and
// the readiness pipe as stdout. It ends the VM when ctx ends or on SIGTERM.
func Main(ctx context.Context, dir string, parts Parts) error {
	runtime.GOMAXPROCS(shimProcs)
	debug.SetMemoryLimit(shimMemoryLimit)
	debug.SetGCPercent(shimGCPercent)
	clog.L.Logger.SetOutput(io.Discard) // ttrpc's lines, of which a guest could make any number
	signal.Ignore(syscall.SIGPIPE)      // a launcher that is gone is an error of the write
	ctx, stop := signal.NotifyContext(ctx, terminate, os.Interrupt)
	defer stop()

	f := folder(dir)
	s, serve, err := begin(ctx, f, parts)
	if err != nil {
		return errors.Join(err, f.recordExit(err))
	}
	reason := serve(ctx)
	// Clients look for the reason when their connections end: it has to be there first.
	err = f.recordExit(reason)
	s.Close()
	return errors.Join(reason, err)
}

// recordExit writes down why the shim ends. A folder that is gone was removed by a
// daemon, which then knows.
func (f folder) recordExit(reason error) error {
	err := writeJSON(f.exit(), newExitRecord(reason))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("record exit: %w", err)
	}
	return nil
}

// begin starts the VM and returns what is left to do: serve it.
func begin(ctx context.Context, f folder, parts Parts) (_ *Server, serving func(context.Context) error, err error) {
	cfg, err := readConfig(f.config())
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, logkey.HandlerOptions(cfg.LogLevel))).With(logkey.VMID, cfg.ID)
	if cfg.Pods <= 1 {
		log = log.With(logkey.PodID, cfg.ID) // a VM of one pod has its id
	}
	var record processRecord
	if record.Shim, err = identify(os.Getpid()); err != nil {
		return nil, nil, fmt.Errorf("identify process: %w", err)
	}
	if err := writeJSON(f.process(), record); err != nil {
		return nil, nil, fmt.Errorf("record process: %w", err)
	}
	// Before there is anything of the VM, which is in them too then.
	if err := cgroup.Join(cfg.Cgroups); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errdefs.ErrFailedPrecondition, err)
	}
	driver, err := parts.Driver(cfg.Driver, log)
	if err != nil {
		return nil, nil, fmt.Errorf("make VM driver: %w", err)
	}
	// Not with its parents: a folder that is gone was removed by a newer daemon, which
	// wants no VM in it.
	if err := os.Mkdir(f.vm(), 0o700); err != nil {
		return nil, nil, err
	}
	shares := parts.Shares(log)
	s, err := Start(ctx, ServerConfig{
		Template: passedTemplate(cfg.Template),
		Restore:  cfg.Restore,
		VM: sandbox.VMConfig{
			ID: cfg.ID, Dir: f.vm(), VCPUs: cfg.VCPUs, MemoryMiB: cfg.MemoryMiB,
			Kernel: cfg.Kernel, Initrd: cfg.Initrd, NICs: cfg.Pods,
		},
		Driver:       driver,
		StartTimeout: cfg.StartTimeout,
		Version:      cfg.Build,
		OpenLog: func(dir, path string, _ bool) (Log, error) {
			return crilog.Open(path, crilog.Options{Dir: dir, Logger: log})
		},
		OpenShare:   shares.Open,
		CloseShares: shares.Close,
		Log:         log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, shares.Close())
	}
	return s, func(ctx context.Context) error {
		reason := serve(ctx, s, f, record, log)
		if reason != nil {
			log.ErrorContext(ctx, "shim ends", logkey.Error, reason)
		}
		return reason
	}, nil
}

// passedTemplate takes the files of a template from where the Launcher passed them.
func passedTemplate(c *templateConfig) *Template {
	if c == nil {
		return nil
	}
	return &Template{ID: c.ID, StateSHA256: c.StateSHA256, Files: passedFiles(c.Scratch)}
}

// Descriptors that a Launcher passes on, beyond the standard three. The last is there when
// the configuration says so.
const (
	memoryFD = 3 + iota
	stateFD
	scratchFD
)

// passFiles are a template's files in the order of their descriptors.
func passFiles(f template.Files) []*os.File {
	out := []*os.File{f.Memory, f.State}
	if f.Scratch != nil {
		out = append(out, f.Scratch)
	}
	return out
}

// passedFiles takes what passFiles has passed.
func passedFiles(scratch bool) template.Files {
	f := template.Files{Memory: passedFile(memoryFD, "template memory"), State: passedFile(stateFD, "template state")}
	if scratch {
		f.Scratch = passedFile(scratchFD, "template scratch")
	}
	return f
}

func closeFiles(f template.Files) {
	for _, file := range passFiles(f) {
		_ = file.Close()
	}
}

// serve opens the sockets, tells the Launcher, and serves until the VM has ended.
func serve(ctx context.Context, s *Server, f folder, record processRecord, log *slog.Logger) error {
	control, streams, err := listen(ctx, f)
	if err == nil {
		if pid := s.Info().VMPID; pid > 0 {
			record.VM, err = identify(pid)
		}
		if err == nil {
			err = writeJSON(f.process(), record)
		}
	}
	if err != nil {
		return errors.Join(err, s.stopVM(ctx))
	}
	if err := protect(); err != nil { // after the VM's process began, which is not to inherit it
		log.Debug("shim is not protected from running out of memory", logkey.Error, err)
	}
	if _, err := fmt.Fprintln(os.Stdout, readyLine); err != nil {
		return errors.Join(fmt.Errorf("tell launcher: %w", err), s.stopVM(ctx)) // nobody waits for the VM any more
	}
	if err := closeReady(); err != nil {
		log.Warn("readiness pipe was not closed", logkey.Error, err)
	}
	return s.Serve(ctx, control, streams)
}

// readyLine is what a shim writes to the readiness pipe.
const readyLine = "ready"

func listen(ctx context.Context, f folder) (control, streams net.Listener, err error) {
	if control, err = localsock.Listen(ctx, f.control()); err != nil {
		return nil, nil, err
	}
	if streams, err = localsock.Listen(ctx, f.streams()); err != nil {
		return nil, nil, errors.Join(err, control.Close())
	}
	return control, streams, nil
}
