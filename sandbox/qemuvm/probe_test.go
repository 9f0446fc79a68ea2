package qemuvm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/porthole-run/porthole/internal/atomicfile"
)

// fakeMachine is a prober on a machine that the test describes.
type fakeMachine struct {
	deviceErr error
	facts     facts
	factsErr  error
	trial     func(context.Context) error
	trials    int
}

func (m *fakeMachine) probe(t *testing.T, c ProbeConfig) (Accel, error) {
	t.Helper()
	return (&prober{
		config: c,
		device: func() error { return m.deviceErr },
		facts:  func(context.Context) (facts, error) { return m.facts, m.factsErr },
		trial: func(ctx context.Context) error {
			m.trials++
			return m.trial(ctx)
		},
		now:     time.Now,
		written: atomicfile.Write,
	}).probe(t.Context())
}

func works(context.Context) error { return nil }

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestProbe(t *testing.T) {
	for _, tc := range []struct {
		name   string
		m      fakeMachine
		accel  string
		tried  bool
		reason string
	}{
		{"works", fakeMachine{trial: works}, KVM, true, "a guest answered"},
		{"no_device", fakeMachine{deviceErr: fs.ErrNotExist}, TCG, false, "file does not exist"},
		{"hangs", fakeMachine{trial: hangs}, TCG, true, "did not answer within 10s"},
		{"refused", fakeMachine{trial: func(context.Context) error { return errors.New("no vmx\nand more") }}, TCG, true, "no vmx"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				got, err := tc.m.probe(t, ProbeConfig{})
				if err != nil {
					t.Fatal(err)
				}
				if got.Accel != tc.accel || got.Tried != tc.tried || !strings.Contains(got.Reason, tc.reason) || strings.Contains(got.Reason, "\n") {
					t.Errorf("probe() = %+v, want %s, tried %v, %q", got, tc.accel, tc.tried, tc.reason)
				}
				if took := time.Since(begin); took > DefaultProbeLimit {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestProbe_Remembers(t *testing.T) {
	m := fakeMachine{trial: hangs, facts: facts{HostKernel: "6.1", QEMU: "7.2"}}
	c := ProbeConfig{Cache: filepath.Join(t.TempDir(), "kvm.json"), Limit: time.Millisecond}
	ask := func(want int, accel string) {
		t.Helper()
		a, err := m.probe(t, c)
		if err != nil || a.Accel != accel || !a.Tried {
			t.Fatalf("probe() = %+v, %v, want %s", a, err, accel)
		}
		if m.trials != want {
			t.Fatalf("%d trials, want %d", m.trials, want)
		}
	}
	ask(1, TCG)
	m.trial = works
	ask(1, TCG)
	m.facts.HostKernel = "6.2" // another kernel may do better
	ask(2, KVM)
	ask(2, KVM)
	c.Force = true
	ask(3, KVM)
	c.Force = false
	for _, broken := range []string{"", "{", `{"facts":{"hostKernel":"6.2","qemu":"7.2"},"answer":{"accel":"magic"}}`} {
		if err := os.WriteFile(c.Cache, []byte(broken), 0o644); err != nil {
			t.Fatal(err)
		}
		before := m.trials
		ask(before+1, KVM)
	}
}

func TestProbe_Stopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cache := filepath.Join(t.TempDir(), "kvm.json")
	p := &prober{
		config:  ProbeConfig{Cache: cache},
		device:  func() error { return nil },
		facts:   func(context.Context) (facts, error) { return facts{}, nil },
		trial:   func(context.Context) error { cancel(); return context.Canceled },
		now:     time.Now,
		written: atomicfile.Write,
	}
	if _, err := p.probe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("probe() = %v, want Canceled", err)
	}
	if _, err := os.Stat(cache); err == nil {
		t.Error("a trial that was cut short was remembered")
	}
}

func TestProbe_FactsFail(t *testing.T) {
	m := fakeMachine{factsErr: errors.New("no qemu"), trial: works}
	if _, err := m.probe(t, ProbeConfig{}); err == nil || m.trials != 0 {
		t.Errorf("probe() = %v after %d trials, want an error and none", err, m.trials)
	}
}

// TestHostFacts_Differ: an answer is not remembered for another guest, command line or group.
func TestHostFacts_Differ(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	base := ProbeConfig{
		Driver: Config{Binary: file("qemu", "#!/bin/sh\necho QEMU emulator version 7.2.0\n")},
		Kernel: file("kernel", "k"), Initrd: file("initrd", "i"),
	}
	if err := os.Chmod(base.Driver.Binary, 0o700); err != nil {
		t.Fatal(err)
	}
	want, err := hostFacts(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*ProbeConfig){
		"kernel":       func(c *ProbeConfig) { c.Kernel = file("kernel2", "k2") },
		"initrd":       func(c *ProbeConfig) { c.Initrd = file("initrd2", "i2") },
		"command-line": func(c *ProbeConfig) { c.Driver.CommandLine = "nokaslr" },
		"user":         func(c *ProbeConfig) { c.Driver.UIDs.Base = 7 },
		"group":        func(c *ProbeConfig) { c.Driver.GID = 7 },
	} {
		c := base
		edit(&c)
		if got, err := hostFacts(t.Context(), c); err != nil || got == want {
			t.Errorf("%s: facts = %+v, %v; want them to differ", name, got, err)
		}
	}
}
