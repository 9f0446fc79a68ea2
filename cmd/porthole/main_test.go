package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/image"
	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/streaming"
)

var update = flag.Bool("update", false, "write the golden files anew")

// invoke runs the program's command line.
func invoke(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	err = run(t.Context(), stdio{&out, &errOut}, args)
	return out.String(), err
}

func TestHelp_Golden(t *testing.T) {
	got, err := invoke(t, "help")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/help.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHelp_Group: the first word of several commands has help too, which is that of those.
func TestHelp_Group(t *testing.T) {
	for _, ask := range []string{"-h", "-help", "--help"} {
		got, err := invoke(t, "service", ask)
		if err != nil || strings.Count(got, "  porthole service ") != strings.Count(got, "  porthole ") || !strings.Contains(got, "service uninstall\n") {
			t.Errorf("service %s = %q, %v", ask, got, err)
		}
		if strings.Contains(got, "porthole service run") {
			t.Errorf("service %s shows a hidden command", ask)
		}
	}
	var usage usageError
	_, err := invoke(t, "service", "nope")
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "install, uninstall, start, stop, status;") {
		t.Errorf("service nope = %v, want a usage error with what there is", err)
	}
}

func TestExitCodes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("rot = 1\n[vm]\naccel = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "good.toml")
	if err := os.WriteFile(good, []byte(config.DefaultText()), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want int
		text string
	}{
		{[]string{"version"}, exitOK, ""},
		{[]string{"serve", "-h"}, exitOK, ""},
		{[]string{"bogus"}, exitUsage, "bogus"},
		{[]string{"config"}, exitUsage, "default, check"},
		{[]string{"image"}, exitUsage, "import, export, list"},
		{[]string{"image", "lost"}, exitUsage, "import, export, list"},
		{[]string{"guest"}, exitUsage, "info"},
		{[]string{"guest", "info", "--bundle", "/b", "--config", good}, exitUsage, "--bundle and --config"},
		{[]string{"serve", "--nope"}, exitUsage, "nope"},
		{[]string{"version", "x"}, exitUsage, "too many"},
		{[]string{"image", "export", "x.tar"}, exitUsage, "missing"},
		{[]string{"config", "check", "--config", bad}, exitConfig, "line 1: rot"},
		{[]string{"serve", "--config", bad}, exitConfig, "line 3: vm.accel"},
		{[]string{"config", "check", good}, exitOK, ""},
		{[]string{"config", "check", "--config", "/does/not/exist"}, exitFailed, "/does/not/exist"},
		{[]string{"guest", "info", "--bundle", t.TempDir()}, exitFailed, "make guest"},
		{[]string{"shim"}, exitUsage, "--dir"},
	}
	for _, tt := range tests {
		_, err := invoke(t, tt.args...)
		if got := exitCode(err); got != tt.want || !strings.Contains(errorText(err), tt.text) {
			t.Errorf("porthole %v = %d, %v, want %d with %q", tt.args, got, err, tt.want, tt.text)
		}
	}
	for err, want := range map[error]int{
		fmt.Errorf("x: %w", errRunning):            exitRunning,
		fmt.Errorf("x: %w", errors.ErrUnsupported): exitUnsupported,
		loggedError{errRunning}:                    exitRunning,
		errMissing:                                 exitFailed,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("exitCode(%v) = %d, want %d", err, got, want)
		}
	}
	if text := errorText(loggedError{errRunning}); text != "" {
		t.Errorf("what was logged is printed again: %q", text)
	}
}

// TestImageCommands_WithoutStore: commands that read make nothing, errors name the file.
func TestImageCommands_WithoutStore(t *testing.T) {
	dir := t.TempDir()
	conf, archive, root := filepath.Join(dir, "c.toml"), filepath.Join(dir, "a.tar"), filepath.Join(dir, "root")
	text := fmt.Sprintf("root = %q\nstate = \"/run/porthole-none\"\n", root)
	if err := errors.Join(os.WriteFile(conf, []byte(text), 0o600), os.WriteFile(archive, []byte("no tar"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := invoke(t, "image", "list", "--config", conf); err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("image list = %q, %v, want the head line alone", out, err)
	}
	if _, err := invoke(t, "image", "export", "--config", conf, filepath.Join(dir, "x.tar"), "busybox"); err == nil || !strings.Contains(err.Error(), "busybox") {
		t.Errorf("image export = %v, want an error that names the image", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("files = %v, %v, want the two of the test", entries, err)
	}
	if _, err := invoke(t, "image", "import", "--config", conf, archive); err == nil || !strings.Contains(err.Error(), "import "+archive+": ") {
		t.Errorf("image import = %v, want an error that names the file", err)
	}
}

// TestUsage_IsSaidOnce: a bad flag is told by the error alone, and -h is an answer.
func TestUsage_IsSaidOnce(t *testing.T) {
	var out, errOut bytes.Buffer
	err := run(t.Context(), stdio{&out, &errOut}, []string{"version", "--nope"})
	if err == nil || out.Len()+errOut.Len() > 0 {
		t.Errorf("version --nope = %v, and printed %q, %q", err, &out, &errOut)
	}
	err = run(t.Context(), stdio{&out, &errOut}, []string{"guest", "info", "-h"})
	if errorText(err) != "" || errOut.Len() > 0 || !strings.Contains(out.String(), "--bundle DIR") || !strings.Contains(out.String(), "-verify") {
		t.Errorf("guest info -h = %v, and printed %q, %q", err, &out, &errOut)
	}
}

// TestExitCodes_AreDocumented: docs/configuration.md says what help does.
func TestExitCodes_AreDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.FromSlash("../../docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for code, text := range exitTexts {
		want = append(want, fmt.Sprintf("%d %s", code, text))
	}
	text := strings.ReplaceAll(strings.Join(strings.Fields(string(b)), " "), "`", "")
	if w := "Exit codes: " + strings.Join(want, " · ") + "."; !strings.Contains(text, w) {
		t.Errorf("docs/configuration.md does not have %q", w)
	}
}

func TestListed(t *testing.T) {
	b, err := json.Marshal(listed([]image.Image{{ID: "sha256:a", RepoTags: []string{"r/n:t"}, Size: 7, Pinned: true}}))
	want := `[{"id":"sha256:a","tags":["r/n:t"],"digests":[],"bytes":7,"pinned":true}]`
	if err != nil || string(b) != want {
		t.Errorf("listed = %s, %v; want %s", b, err, want)
	}
}

// TestLockFolders: two daemons share neither root nor state.
func TestLockFolders(t *testing.T) {
	dir := t.TempDir()
	a, b, shared := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "s")
	unlock, err := lockFolders(a, shared)
	if errors.Is(err, errors.ErrUnsupported) {
		testneed.Skip(t, "file locks: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockFolders(b, shared)
	if !errors.Is(err, errRunning) || exitCode(err) != exitRunning || !strings.Contains(err.Error(), shared) {
		t.Errorf("second lock = %v, want errRunning that names %s", err, shared)
	}
	unlockB, err := lockFolders(b) // the second has let go of what it had taken
	if err != nil {
		t.Fatal(err)
	}
	unlockB()
	unlock()
	if unlock, err = lockFolders(b, shared); err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestConfigDefault_IsChecked(t *testing.T) {
	text, err := invoke(t, "config", "default")
	if err != nil || text != config.DefaultText() {
		t.Errorf("config default = %q, %v", text, err)
	}
}

func TestListenSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "s.sock")
	l, err := listenSocket(t.Context(), path, os.Getgid(), 0o660)
	if errors.Is(err, os.ErrPermission) {
		testneed.Skip(t, "root, who may give a socket away: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("socket = %v, %v, want mode 0660", st, err)
	}
	if _, err := listenSocket(t.Context(), path, os.Getgid(), 0o600); !errors.Is(err, errRunning) {
		t.Errorf("second listen = %v, want errRunning", err)
	}
	// A daemon that was killed leaves its socket.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = listenSocket(t.Context(), path, os.Getgid(), 0o600)
	if err != nil {
		t.Fatalf("listen over a stale socket: %v", err)
	}
	_ = l.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(t.Context(), path, os.Getgid(), 0o600); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFile(path); !errors.Is(err, errRunning) {
		t.Errorf("second lock = %v, want errRunning", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = lockFile(path)
	if err != nil {
		t.Fatalf("lock after its holder is gone: %v", err)
	}
	_ = f.Close()
}

func TestWithStreams_Resize(t *testing.T) {
	in := make(chan streaming.Size)
	err := withStreams(streaming.Streams{TTY: true, Resize: in}, func(s sandbox.Streams) error {
		in <- streaming.Size{Width: 80, Height: 24}
		if got := <-s.Resize; got != (sandbox.Size{Width: 80, Height: 24}) {
			return fmt.Errorf("size = %v", got)
		}
		// One that nobody takes does not hold up the end.
		in <- streaming.Size{Width: 1, Height: 1}
		return io.EOF
	})
	if !errors.Is(err, io.EOF) {
		t.Errorf("withStreams = %v, want what f returned", err)
	}
}

// fakeStore is an imageStore with one image.
type fakeStore struct{ imported string }

func (f *fakeStore) Import(_ context.Context, r io.Reader) ([]string, error) {
	b, err := io.ReadAll(r)
	f.imported = string(b)
	return []string{"sha256:1"}, err
}

func (f *fakeStore) ImportPath(_ context.Context, path string) ([]string, error) {
	f.imported = path
	return nil, errors.New("not an archive")
}

func (f *fakeStore) Export(_ context.Context, refs []string, w io.Writer) error {
	if refs[0] == "missing" {
		return errors.New("no such image")
	}
	if _, err := fmt.Fprint(w, refs); err != nil {
		return err
	}
	if len(refs) > 1 && refs[1] == "broken" {
		return errors.New("blob is damaged")
	}
	return nil
}

func (f *fakeStore) List(context.Context, string) ([]image.Image, error) {
	return []image.Image{{ID: "sha256:1", RepoTags: []string{"a:1"}, Created: time.Unix(1, 0).UTC()}}, nil
}

func TestAdmin_BothEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	store := &fakeStore{}
	s := httptest.NewUnstartedServer(adminHandler(store, nil, http.NotFound))
	s.Listener = l
	s.Start()
	defer s.Close()
	c := newAdminClient(config.Endpoint{Kind: config.Unix, Address: socket})
	defer c.http.CloseIdleConnections()
	ctx := t.Context()

	if ids, err := c.Import(ctx, strings.NewReader("tar")); err != nil || len(ids) != 1 || store.imported != "tar" {
		t.Errorf("Import = %v, %v; the store got %q", ids, err, store.imported)
	}
	if _, err := c.ImportPath(ctx, "/a b/c"); err == nil || err.Error() != "not an archive" || store.imported != "/a b/c" {
		t.Errorf("ImportPath = %v; the store got %q", err, store.imported)
	}
	var out bytes.Buffer
	if err := c.Export(ctx, []string{"a", "b"}, &out); err != nil || out.String() != "[a b]" {
		t.Errorf("Export = %q, %v", &out, err)
	}
	if err := c.Export(ctx, []string{"missing"}, io.Discard); err == nil || err.Error() != "no such image" {
		t.Errorf("Export(missing) = %v", err)
	}
	if err := c.Export(ctx, []string{"a", "broken"}, io.Discard); err == nil || err.Error() != "blob is damaged" {
		t.Errorf("Export that breaks half-way = %v", err)
	}
	all, err := c.List(ctx, "")
	want, _ := store.List(ctx, "")
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Errorf("List: %v (-want +got):\n%s", err, diff)
	}

	name := filepath.Join(t.TempDir(), "x.tar")
	if err := exportTo(ctx, c, name, []string{"a", "broken"}); err == nil {
		t.Error("exportTo hides an error")
	}
	if left, _ := os.ReadDir(filepath.Dir(name)); len(left) != 0 {
		t.Errorf("a failed export leaves %v", left)
	}
}

func TestHandlers(t *testing.T) {
	c, err := config.Parse([]byte("[handlers.big]\nmemory = \"1GiB\"\nvcpus = 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := handlers(c)
	if got[""].MemoryMiB != 256 || got["big"].MemoryMiB != 1024 || got["big"].VCPUs != 3 || got["big"].ScratchBytes != got[""].ScratchBytes {
		t.Errorf("handlers = %+v", got)
	}
	if s := got["linux-shared"].Sharing; s == nil || s.Pods != 8 || s.Annotation != "" || s.Privileged || got["linux"].Sharing != nil {
		t.Errorf("handlers = %+v", got)
	}
	if names := handlerNames(c); !slices.Equal(names, []string{"big", "linux", "linux-shared"}) {
		t.Errorf("handlers that pods may name: %q", names)
	}
	if classes := templateClasses(got); len(classes) != 3 {
		t.Errorf("templates of %v, want none for VMs that are shared", classes)
	}
}

func TestUseTemplates(t *testing.T) {
	for _, tt := range []struct {
		configured, accel string
		want              bool
	}{
		{"auto", "tcg", true}, {"auto", "kvm", false}, {"on", "kvm", true}, {"on", "tcg", true}, {"off", "tcg", false},
	} {
		got, why := useTemplates(config.VM{Template: tt.configured}, tt.accel)
		if got != tt.want || why == "" {
			t.Errorf("templates %s with %s: %v, %q, want %v", tt.configured, tt.accel, got, why, tt.want)
		}
		if f := checkTemplates(config.VM{Template: tt.configured}, tt.accel); f.Detail == "" {
			t.Errorf("doctor says of templates %s with %s: %+v", tt.configured, tt.accel, f)
		}
	}
}

func TestAccelFix(t *testing.T) {
	closed := device{present: true}
	for name, tt := range map[string]struct {
		configured, found string
		device            device
		mend              bool
	}{
		"kvm-works":  {"auto", "kvm", closed, false},
		"no-device":  {"auto", "tcg", device{}, false},
		"hangs":      {"auto", "tcg", device{present: true, usable: true}, false},
		"root-alone": {"auto", "tcg", closed, true},
		"kvm-asked":  {"kvm", "kvm", closed, true},
		"tcg-asked":  {"tcg", "tcg", closed, false},
	} {
		fix := accelFix(config.VM{Accel: tt.configured}, tt.found, tt.device)
		if (fix != "") != tt.mend {
			t.Errorf("%s: fix = %q, want one: %v", name, fix, tt.mend)
		}
	}
}
