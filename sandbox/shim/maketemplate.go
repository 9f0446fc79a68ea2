package shim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/template"
)

// templates numbers the VMs that become templates.
var templates atomic.Uint64

// maxTemplateLog bounds what is kept of what the maker of a template says.
const maxTemplateLog = 16 << 10

// MakeTemplate boots a VM of a class to an idle agent, saves it to the files and returns
// when it has ended. A scratch disk that is wanted has a file system or is blank, and is
// cut to no bytes when the VM has none in the end. A process of its own does all that, as for
// other VMs; it ends with this process, or when ctx does.
func (l *Launcher) MakeTemplate(ctx context.Context, c template.Class, files template.Files) error {
	// Pods' ids are hexadecimal, so that it has the name of none.
	id := fmt.Sprintf("template-%d-%d", os.Getpid(), templates.Add(1))
	vm := l.vmConfig(id, c.VCPUs, c.MemoryMiB)
	if files.Scratch != nil {
		st, err := files.Scratch.Stat()
		if err != nil {
			return err
		}
		vm.Scratch = st.Size() > 0
	}
	cfg, err := json.Marshal(vm)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, l.config.Executable, l.config.TemplateArgs...)
	cmd.Cancel = func() error { return cmd.Process.Signal(terminate) }
	cmd.WaitDelay = stopTimeout + killedWait
	cmd.Dir = string(os.PathSeparator)
	cmd.ExtraFiles = passFiles(files) // one of no bytes is passed and not told of
	said := &tail{limit: maxTemplateLog}
	cmd.Stderr = said
	detach(cmd)
	// It sees the end of its standard input when this process ends, however it does.
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start maker of template: %w", err)
	}
	_, werr := in.Write(append(cfg, '\n'))
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("make template: %w: %w; it says:\n%s", err, errdefs.ErrUnavailable, cleanTail(said.b))
	}
	return werr
}

// TemplateMain is the process that makes a template: of the VM whose configuration is the
// first line on in, to the files that it was started with. It ends without one when in
// ends, when ctx does, or on SIGTERM.
func TemplateMain(ctx context.Context, in io.Reader, newDriver NewDriver) error {
	ctx, stop := signal.NotifyContext(ctx, terminate, os.Interrupt)
	defer stop()
	r := bufio.NewReaderSize(in, 4<<10)
	line, err := readLine(r, maxConfigBytes)
	if err != nil {
		return fmt.Errorf("read configuration of template: %w", err)
	}
	cfg, err := parseConfig(line)
	if err != nil {
		return fmt.Errorf("read configuration of template: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // until the process ends
		_, _ = io.Copy(io.Discard, r)
		cancel(fmt.Errorf("who wants the template has ended: %w", context.Canceled))
	}()
	files := passedFiles(cfg.Scratch)
	defer closeFiles(files)

	log := slog.New(slog.NewJSONHandler(os.Stderr, logkey.HandlerOptions(cfg.LogLevel))).With(logkey.VMID, cfg.ID)
	driver, err := newDriver(cfg.Driver, log)
	if err != nil {
		return fmt.Errorf("make VM driver: %w", err)
	}
	dir, err := os.MkdirTemp("", "porthole-template-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	timeout := cfg.StartTimeout
	if timeout <= 0 {
		timeout = defaultStartTimeout
	}
	ctx, end := context.WithTimeout(ctx, timeout)
	defer end()
	begin := time.Now()
	if err := saveTemplate(ctx, ServerConfig{
		VM: sandbox.VMConfig{
			ID: cfg.ID, Dir: dir, VCPUs: cfg.VCPUs, MemoryMiB: cfg.MemoryMiB, Kernel: cfg.Kernel, Initrd: cfg.Initrd,
		},
		Driver: driver, Version: cfg.Build, Log: log,
	}, files); err != nil {
		return err
	}
	log.InfoContext(ctx, "template is saved", logkey.Duration, time.Since(begin))
	return nil
}

// readLine reads a line of at most limit bytes, its end included.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var out []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(out)+len(part) > limit {
			return nil, fmt.Errorf("first line is longer than %d bytes: %w", limit, errdefs.ErrInvalidArgument)
		}
		out = append(out, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		return bytes.TrimSuffix(out, []byte("\n")), err
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	limit int
	b     []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - t.limit; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}
