package shim

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/porthole-run/porthole/sandbox"
)

// cloner is a driver whose VMs, one that boots and one that is a clone or a template,
// tests choose.
type cloner struct {
	*fakeVM // boots
	clone   *fakeVM
	got     sandbox.Template
}

func newCloner() *cloner { return &cloner{fakeVM: newFakeVM(), clone: newFakeVM()} }

func (c *cloner) Clone(ctx context.Context, v sandbox.VMConfig, t sandbox.Template) (sandbox.VM, error) {
	c.got = t
	return c.clone.Create(ctx, v)
}

func (c *cloner) CreateTemplate(ctx context.Context, v sandbox.VMConfig, _ *os.File) (sandbox.TemplateVM, error) {
	if _, err := c.clone.Create(ctx, v); err != nil {
		return nil, err
	}
	return savedVM{c.clone}, nil
}

// savedVM is a VM that can be saved while it runs.
type savedVM struct{ *fakeVM }

func (v savedVM) Save(_ context.Context, w io.Writer) error {
	if err := v.step("save"); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "saved while %s", v)
	return err
}

// templateOf makes a template whose state is text.
func templateOf(t *testing.T, text string) *Template {
	t.Helper()
	out := &Template{ID: "t1", StateSHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(text)))}
	for name, f := range map[string]**os.File{"memory": &out.Memory, "state": &out.State} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if *f, err = os.Open(path); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestStart_Clone(t *testing.T) {
	d := newCloner()
	template := templateOf(t, "state")
	r := newRigWith(t, func(c *ServerConfig) { c.Driver, c.Template = d, template })
	if info := r.Info(); info.Template != "t1" || info.TemplateError != "" {
		t.Errorf("Info() = %+v, want template t1", info)
	}
	if string(d.got.State) != "state" || d.got.Memory != template.Memory {
		t.Errorf("the driver got %q", d.got.State)
	}
	if got := d.fakeVM.String(); !strings.HasPrefix(got, "none") {
		t.Errorf("the VM that boots is %s", got)
	}
	for _, f := range []*os.File{template.Memory, template.State} {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s is open still", f.Name())
		}
	}
	if err := r.SetupPod(testContext(t), podSetup()); err != nil {
		t.Error(err)
	}
}

// TestStart_CloneFails: whatever goes wrong with a clone, nothing is left of it and the
// VM boots.
func TestStart_CloneFails(t *testing.T) {
	for _, tc := range []struct {
		name    string
		spoil   func(*cloner, *ServerConfig)
		because string
	}{
		{"no_clone", func(c *cloner, _ *ServerConfig) { c.clone.fail = "create vm" }, "create vm is made to fail"},
		{"no_start", func(c *cloner, _ *ServerConfig) { c.clone.fail = "start vm" }, "start vm is made to fail"},
		{"no_hello", func(c *cloner, _ *ServerConfig) { c.clone.fail = "hello" }, "hello is made to fail"},
		{"mute", func(c *cloner, s *ServerConfig) { c.clone.mute, s.CloneTimeout = true, 50*time.Millisecond }, "does not come up within 50ms"},
		{"dies", func(c *cloner, _ *ServerConfig) {
			c.clone.mute = true
			time.AfterFunc(20*time.Millisecond, func() { c.clone.crash("triple fault") })
		}, "triple fault"},
		{"old_agent", func(c *cloner, _ *ServerConfig) { c.clone.guest.old = true }, "does not seed"},
		{"other_state", func(_ *cloner, s *ServerConfig) { s.Template.StateSHA256 = strings.Repeat("0", 64) }, "state of template has digest"},
		{"closed", func(_ *cloner, s *ServerConfig) { s.Template.State.Close() }, "read state of template"},
		{"driver_cannot", func(c *cloner, s *ServerConfig) { s.Driver = struct{ sandbox.Driver }{c.fakeVM} }, "the driver cannot"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newCloner()
			r := newRigWith(t, func(c *ServerConfig) {
				c.Driver, c.Template = d, templateOf(t, "state")
				tc.spoil(d, c)
			})
			if info := r.Info(); info.Template != "" || !strings.Contains(info.TemplateError, tc.because) {
				t.Errorf("Info() = %+v, want no template since %q", info, tc.because)
			}
			if got := d.clone.String(); strings.HasPrefix(got, "running") {
				t.Errorf("the clone is %s", got)
			}
			if got := d.fakeVM.String(); !strings.HasPrefix(got, "running") {
				t.Errorf("the VM that boots is %s", got)
			}
		})
	}
}

// TestStart_CloneAndBootFail: the error is the boot's, and nothing is left of either.
func TestStart_CloneAndBootFail(t *testing.T) {
	d := newCloner()
	d.clone.fail, d.fakeVM.fail = "start vm", "hello"
	c := serverConfig(d.fakeVM, shortDir(t))
	c.Driver, c.Template = d, templateOf(t, "state")
	if _, err := Start(testContext(t), c); err == nil || !strings.Contains(err.Error(), "hello is made to fail") {
		t.Errorf("Start() = %v", err)
	}
	for _, vm := range []*fakeVM{d.clone, d.fakeVM} {
		if got := vm.String(); !strings.HasPrefix(got, "ended") {
			t.Errorf("left %s", got)
		}
	}
}

// TestStart_CloneCanceled: who does not wait any longer gets no VM that boots.
func TestStart_CloneCanceled(t *testing.T) {
	d := newCloner()
	d.clone.mute = true
	c := serverConfig(d.fakeVM, shortDir(t))
	c.Driver, c.Template = d, templateOf(t, "state")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start() = %v, want DeadlineExceeded", err)
	}
	if got := d.clone.String() + d.fakeVM.String(); !strings.HasPrefix(got, "ended") || !strings.Contains(got, "none") {
		t.Errorf("left %s", got)
	}
}

func TestSaveTemplate(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*cloner)
		want  string // of the error; empty: there is none
	}{
		{"works", func(*cloner) {}, ""},
		{"no_create", func(c *cloner) { c.clone.fail = "create vm" }, "create vm is made to fail"},
		{"no_start", func(c *cloner) { c.clone.fail = "start vm" }, "start vm is made to fail"},
		{"no_hello", func(c *cloner) { c.clone.fail = "hello" }, "hello is made to fail"},
		{"no_save", func(c *cloner) { c.clone.fail = "save" }, "save is made to fail"},
		{"old_agent", func(c *cloner) { c.clone.guest.old = true }, "does not seed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newCloner()
			tc.spoil(d)
			c := serverConfig(d.fakeVM, shortDir(t))
			c.Driver = d
			files := filesOf(t)
			err := saveTemplate(testContext(t), c, files)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("saveTemplate() = %v, want %q", err, tc.want)
			}
			if got := d.clone.String(); strings.HasPrefix(got, "running") || strings.HasPrefix(got, "created") {
				t.Errorf("the VM is %s", got)
			}
			state, rerr := os.ReadFile(files.State.Name())
			if rerr != nil {
				t.Fatal(rerr)
			}
			if got := string(state); (err == nil) != strings.HasPrefix(got, "saved while running") {
				t.Errorf("the state is %q", got)
			}
		})
	}
}
