package shim

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/porthole-run/porthole/internal/memfile"
	"github.com/porthole-run/porthole/sandbox/template"
)

// keeperOf keeps templates of the size that launch asks for, made by the launcher.
func keeperOf(t *testing.T, l *Launcher) *template.Keeper {
	t.Helper()
	k := template.New(template.Config{
		Classes: []template.Class{{VCPUs: 1, MemoryMiB: 64}}, Build: l.MakeTemplate, Facts: t.Name(),
	})
	k.Start(t.Context())
	t.Cleanup(k.Close)
	l.config.Templates = k
	for ctx := testContext(t); k.Status().Classes[0].State == template.Waiting; {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatal(k.Status())
		}
	}
	return k
}

// TestLauncher_Template goes the whole way with processes: the maker saves to the files it
// is passed, the shim clones from those that it is passed.
func TestLauncher_Template(t *testing.T) {
	l := newTestLauncher(t, testSettings{Clones: true})
	k := keeperOf(t, l)
	c := launch(t, l)
	s := k.Status()
	if s.Classes[0].State != template.Ready || c.Info().Template != s.Classes[0].Template || s.Counts.Clones != 1 {
		t.Errorf("the VM is a clone of %q (%s); status %+v", c.Info().Template, c.Info().TemplateError, s)
	}
	if err := c.Shutdown(testContext(t)); err != nil {
		t.Error(err)
	}
	checkEmpty(t, l)
}

// TestLauncher_CloneFails: the daemon hears of it from the shim.
func TestLauncher_CloneFails(t *testing.T) {
	l := newTestLauncher(t, testSettings{Clones: true})
	k := keeperOf(t, l)
	l.config.DriverConfig = []byte(`{"clones": true, "failClone": "start vm"}`)
	c := launch(t, l)
	if info := c.Info(); info.Template != "" || !strings.Contains(info.TemplateError, "start vm is made to fail") {
		t.Errorf("Info() = %+v", info)
	}
	if s := k.Status(); s.Counts.Fallbacks != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestMakeTemplate_Fails(t *testing.T) {
	l := newTestLauncher(t, testSettings{Clones: true, FailClone: "save"})
	k := keeperOf(t, l)
	s := k.Status().Classes[0]
	if s.State != template.Failed || !strings.Contains(s.Error, "save is made to fail") {
		t.Errorf("status %+v", s)
	}
	if c := launch(t, l); c.Info().Template != "" || c.Info().TemplateError != "" {
		t.Errorf("Info() = %+v, want a VM that booted", c.Info())
	}
}

// TestMakeTemplate_Canceled: the maker ends when nobody wants the template any more.
func TestMakeTemplate_Canceled(t *testing.T) {
	l := newTestLauncher(t, testSettings{Clones: true, MuteClone: true})
	l.config.StartTimeout = time.Minute
	var files [2]*os.File
	for i := range files {
		f, err := memfile.New("test", 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := l.MakeTemplate(ctx, template.Class{VCPUs: 1, MemoryMiB: 64}, template.Files{Memory: files[0], State: files[1]})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 10*time.Second {
		t.Errorf("MakeTemplate() = %v after %v", err, time.Since(begin))
	}
}

func TestReadLine(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		fails    bool
	}{
		{"one\ntwo\n", "one", false},
		{"\n", "", false},
		{strings.Repeat("x", 19) + "\n", strings.Repeat("x", 19), false},
		{strings.Repeat("x", 20) + "\n", "", true},
		{"no end", "", true},
		{"", "", true},
	} {
		got, err := readLine(bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(tc.in)), 16), 20)
		if (err != nil) != tc.fails || err == nil && string(got) != tc.want {
			t.Errorf("readLine(%q) = %q, %v", tc.in, got, err)
		}
	}
}
