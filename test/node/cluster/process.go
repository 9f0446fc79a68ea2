package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/porthole-run/porthole/test/harness"
)

// endLimit is how long a program may take to end when it is asked to.
const endLimit = 30 * time.Second

// process is one program that runs until it is ended.
type process struct {
	name   string
	log    string // path
	cmd    *exec.Cmd
	killed bool          // by kill
	exited chan struct{} // closed when cmd has been waited for
}

// run starts a program. Its output goes to the end of a file in logs, named as it is.
func run(logs, name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, log: filepath.Join(logs, name+".log"), cmd: cmd, exited: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = harness.OwnSession()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// end asks the program to end, and kills it when it does not.
func (p *process) end() error {
	if p.killed {
		return nil
	}
	select {
	case <-p.exited:
		return fmt.Errorf("%s had ended before: %v\n%s", p.name, p.cmd.ProcessState, tail(p.log))
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(endLimit):
		err := fmt.Errorf("%s did not end within %s of SIGTERM", p.name, endLimit)
		return errors.Join(err, p.kill())
	}
}

// kill ends the program at once. That it has ended by itself is an error.
func (p *process) kill() error {
	p.killed = true
	err := p.cmd.Process.Kill()
	<-p.exited
	return err
}

// await waits until ready says nothing. It fails when the program ends before.
func (p *process) await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended: %v\n%s", p.name, p.cmd.ProcessState, tail(p.log))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %w\n%s", p.name, ctx.Err(), err, tail(p.log))
		case <-tick.C:
		}
	}
}

// tail is the end of a file.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}
