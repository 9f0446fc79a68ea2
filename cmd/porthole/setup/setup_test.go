package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/filesum"
)

// fake is a host with a service. It fails at one step, once.
type fake struct {
	t       *testing.T
	exe     string // of the service; empty: not installed
	args    []string
	running string // the program that runs
	pods    int
	lacks   []string
	bad     map[string]bool // versions that do not become healthy
	onStart func()          // what a daemon does when it starts

	protected []string // folders, in order

	step, failAt int
	steps        []string
}

var errBroken = errors.New("broken")

func (f *fake) do(name string) error {
	f.step++
	f.steps = append(f.steps, name)
	if f.step == f.failAt {
		return fmt.Errorf("%s: %w", name, errBroken)
	}
	return nil
}

func (f *fake) Query() (string, error) { return f.exe, f.do("query") }

func (f *fake) Install(exe string, args []string) error {
	if err := f.do("install"); err != nil {
		return err
	}
	f.exe, f.args = exe, args
	return nil
}

func (f *fake) Repoint(exe string, args []string) error {
	if err := f.do("repoint"); err != nil {
		return err
	}
	if f.running != "" {
		f.t.Error("the service is repointed while it runs")
	}
	f.exe, f.args = exe, args
	return nil
}

func (f *fake) Start(context.Context) error {
	if err := f.do("start"); err != nil {
		return err
	}
	if _, err := os.Stat(f.exe); err != nil {
		return err
	}
	f.running = f.exe
	if f.onStart != nil {
		f.onStart()
	}
	return nil
}

func (f *fake) Stop(context.Context) error {
	if err := f.do("stop"); err != nil {
		return err
	}
	f.running = ""
	return nil
}

func (f *fake) Uninstall(context.Context) error {
	if err := f.do("uninstall"); err != nil {
		return err
	}
	f.running, f.exe, f.args = "", "", nil
	return nil
}

func (f *fake) Lacks(context.Context) ([]string, error) { return f.lacks, f.do("lacks") }

func (f *fake) Healthy(ctx context.Context, conf string) error {
	if err := f.do("healthy"); err != nil {
		return err
	}
	if _, err := os.Stat(conf); err != nil {
		return err
	}
	if f.running == "" || f.bad[filepath.Base(filepath.Dir(f.running))] {
		return errors.New("the runtime is not ready")
	}
	return nil
}

func (f *fake) EndPods(context.Context, string) error {
	if err := f.do("end pods"); err != nil {
		return err
	}
	f.pods = 0
	return nil
}

// world is a host's folders.
type world struct {
	*fake
	dir string
}

func newWorld(t *testing.T) *world {
	return &world{fake: &fake{t: t, bad: map[string]bool{}}, dir: t.TempDir()}
}

func (w *world) setup() *Setup {
	return New(Config{
		InstallDir: filepath.Join(w.dir, "Program Files", "porthole"), DataDir: filepath.Join(w.dir, "ProgramData", "porthole"),
		Service: w, Host: w, Log: slog.New(slog.DiscardHandler), SampleData: "C:/ProgramData/porthole",
		ConfDir: func(string) (string, error) { return filepath.Join(w.dir, "etc", "cni"), w.do("conf dir") },
		Protect: func(dir string) error {
			if _, err := os.Stat(filepath.Join(dir, configFile)); err == nil && w.running == "" {
				w.t.Error("the folder is protected after something was put into it")
			}
			w.protected = append(w.protected, strings.TrimPrefix(filepath.ToSlash(dir), filepath.ToSlash(w.dir)+"/"))
			return w.do("protect")
		},
	})
}

// release makes a release's folder.
func (w *world) release(t *testing.T, version string) Options {
	t.Helper()
	dir := filepath.Join(w.dir, "release-"+version)
	var list string
	files := map[string]string{
		Program: "program " + version, "guest/vmlinux": "kernel", "guest/initrd": "initrd", sampleFile: "root = \"C:/ProgramData/porthole/root\"\n", "install.ps1": "script",
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := files[name]
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		sum, err := filesum.SHA256(path)
		if err != nil {
			t.Fatal(err)
		}
		list += sum + "  " + name + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, sums), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	return Options{From: dir, Version: version}
}

// String is the host: what is installed, what runs, what is on the disk.
func (w *world) String() string {
	var b strings.Builder
	rel := func(p string) string { return strings.TrimPrefix(filepath.ToSlash(p), filepath.ToSlash(w.dir)+"/") }
	for _, top := range []string{"Program Files", "ProgramData", "etc"} {
		_ = filepath.WalkDir(filepath.Join(w.dir, top), func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && d.Name() != lockFile {
				fmt.Fprintf(&b, "file %s\n", rel(p))
			} else if err == nil && d.IsDir() {
				fmt.Fprintf(&b, "folder %s\n", rel(p))
			}
			return nil
		})
	}
	if w.exe != "" {
		fmt.Fprintf(&b, "service %s %s\n", rel(w.exe), strings.ReplaceAll(strings.Join(w.args, " "), w.dir+"/", ""))
	}
	if w.running != "" {
		fmt.Fprintf(&b, "runs %s\n", rel(w.running))
	}
	return b.String()
}

func (w *world) install(t *testing.T, version string) {
	t.Helper()
	if _, err := w.setup().Install(t.Context(), w.release(t, version)); err != nil {
		t.Fatal(err)
	}
}

func TestInstall(t *testing.T) {
	w := newWorld(t)
	w.install(t, "1.0.0")
	want := `folder Program Files
folder Program Files/porthole
folder Program Files/porthole/versions
folder Program Files/porthole/versions/1.0.0
file Program Files/porthole/versions/1.0.0/SHA256SUMS
file Program Files/porthole/versions/1.0.0/config.toml
folder Program Files/porthole/versions/1.0.0/guest
file Program Files/porthole/versions/1.0.0/guest/initrd
file Program Files/porthole/versions/1.0.0/guest/vmlinux
file Program Files/porthole/versions/1.0.0/install.ps1
file Program Files/porthole/versions/1.0.0/porthole.exe
folder ProgramData
folder ProgramData/porthole
file ProgramData/porthole/config.toml
service Program Files/porthole/versions/1.0.0/porthole.exe service run --config ProgramData/porthole/config.toml
runs Program Files/porthole/versions/1.0.0/porthole.exe
`
	if diff := cmp.Diff(want, w.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	conf, err := os.ReadFile(filepath.Join(w.dir, "ProgramData/porthole/config.toml"))
	if want := "root = \"" + filepath.ToSlash(w.dir) + "/ProgramData/porthole/root\"\n"; err != nil || string(conf) != want {
		t.Errorf("the configuration is %q, %v, want %q", conf, err, want)
	}
	before := w.String()
	// The same again changes nothing; an administrator's configuration stays.
	if err := os.WriteFile(filepath.Join(w.dir, "ProgramData/porthole/config.toml"), []byte("version = 1 # mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.install(t, "1.0.0")
	if diff := cmp.Diff(before, w.String()); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
	if b, err := os.ReadFile(filepath.Join(w.dir, "ProgramData/porthole/config.toml")); err != nil || !strings.Contains(string(b), "mine") {
		t.Errorf("the configuration is %q, %v", b, err)
	}
}

// TestUpgrade: the new version runs, the one before stays for its shims, the ones before that go.
func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	w.install(t, "1.0.0")
	w.install(t, "1.1.0")
	done, err := w.setup().Install(t.Context(), w.release(t, "1.2.0"))
	if err != nil || done != (Done{Version: "1.2.0", Before: "1.1.0"}) {
		t.Errorf("Install = %+v, %v", done, err)
	}
	got := w.String()
	if strings.Contains(got, "1.0.0") || !strings.Contains(got, "1.1.0/guest") || !strings.Contains(got, "runs Program Files/porthole/versions/1.2.0/porthole.exe") {
		t.Errorf("after two upgrades:\n%s", got)
	}
}

// TestUpgrade_RollBack: a version that does not become healthy gives way to the one before.
func TestUpgrade_RollBack(t *testing.T) {
	w := newWorld(t)
	w.install(t, "1.0.0")
	before := w.String()
	w.bad["1.1.0"] = true
	_, err := w.setup().Install(t.Context(), w.release(t, "1.1.0"))
	if !errors.Is(err, errBefore) || !strings.Contains(err.Error(), "1.1.0 does not serve: the runtime is not ready") {
		t.Errorf("Install = %v", err)
	}
	if diff := cmp.Diff(before, w.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestInstall_EveryStep: whatever fails first, the host is as it was before.
func TestInstall_EveryStep(t *testing.T) {
	for _, name := range []string{"first", "upgrade"} {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				w := newWorld(t)
				if name == "upgrade" {
					w.install(t, "1.0.0")
				}
				before := w.String()
				w.step, w.steps, w.failAt = 0, nil, n
				_, err := w.setup().Install(t.Context(), w.release(t, "1.1.0"))
				if err == nil {
					if n < 5 {
						t.Errorf("only %d steps can fail: %v", n-1, w.steps)
					}
					return
				}
				if !errors.Is(err, errBroken) {
					t.Errorf("step %d, %v: %v", n, w.steps, err)
				}
				if diff := cmp.Diff(before, w.String()); diff != "" {
					t.Errorf("after step %d of %v (-want +got):\n%s", n, w.steps, diff)
				}
			}
		})
	}
}

// TestInstall_KeepsLog: the log of a first daemon that does not serve stays to be read.
func TestInstall_KeepsLog(t *testing.T) {
	w := newWorld(t)
	w.bad["1.0.0"] = true
	w.onStart = func() {
		if err := os.WriteFile(filepath.Join(w.dir, "ProgramData/porthole/porthole.log"), []byte("why"), 0o644); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.setup().Install(t.Context(), w.release(t, "1.0.0")); err == nil || strings.Contains(err.Error(), "remove") {
		t.Errorf("Install = %v, want why it does not serve alone", err)
	}
	want := "folder ProgramData\nfolder ProgramData/porthole\nfile ProgramData/porthole/porthole.log\n"
	if diff := cmp.Diff(want, w.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestInstall_Lacks(t *testing.T) {
	w := newWorld(t)
	w.lacks = []string{"windows: build 17763"}
	o := w.release(t, "1.0.0")
	var lack *LackError
	if _, err := w.setup().Install(t.Context(), o); !errors.As(err, &lack) || !strings.Contains(err.Error(), "17763") || w.String() != "" {
		t.Errorf("Install = %v:\n%s", err, w)
	}
	o.Anyway = true
	if _, err := w.setup().Install(t.Context(), o); err != nil {
		t.Errorf("Install anyway = %v", err)
	}
}

// TestInstall_Damaged: a release that is not whole, or has something else in it, is not placed.
func TestInstall_Damaged(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"changed": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "guest/initrd"), []byte("other"), 0o644)
		},
		"missing": func(dir string) error { return os.Remove(filepath.Join(dir, "guest/initrd")) },
		"more":    func(dir string) error { return os.WriteFile(filepath.Join(dir, "version.dll"), nil, 0o644) },
		"no_sums": func(dir string) error { return os.Remove(filepath.Join(dir, sums)) },
		"climbs": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, sums), []byte(strings.Repeat("0", 64)+"  ../x\n"), 0o644)
		},
		"no_exe":  func(dir string) error { return os.WriteFile(filepath.Join(dir, sums), nil, 0o644) },
		"no_line": func(dir string) error { return os.WriteFile(filepath.Join(dir, sums), []byte("x\n"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.release(t, "1.0.0")
			if err := damage(o.From); err != nil {
				t.Fatal(err)
			}
			if _, err := w.setup().Install(t.Context(), o); err == nil || w.String() != "" {
				t.Errorf("Install = %v:\n%s", err, w)
			}
		})
	}
}

func TestInstall_Names(t *testing.T) {
	w := newWorld(t)
	for _, v := range []string{"", "..", "../x", `a\b`, "-x", strings.Repeat("1", 65)} {
		if _, err := w.setup().Install(t.Context(), Options{From: w.dir, Version: v}); err == nil {
			t.Errorf("version %q was taken", v)
		}
	}
	w.install(t, "1.0.0")
	o := w.release(t, "1.0.0+other")
	o.Version = "1.0.0"
	if _, err := w.setup().Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another build") {
		t.Errorf("another build of an installed version = %v", err)
	}
}

func TestUninstall(t *testing.T) {
	w := newWorld(t)
	w.install(t, "1.0.0")
	w.pods = 3
	exe := w.exe
	if err := w.setup().Uninstall(t.Context(), exe, false); err == nil || w.exe == "" {
		t.Errorf("Uninstall from the installation = %v", err)
	}
	if err := w.setup().Uninstall(t.Context(), "elsewhere", true); err != nil {
		t.Error(err)
	}
	if got := w.String(); w.pods != 0 || !strings.Contains(got, "ProgramData/porthole/config.toml") || strings.Contains(got, "versions") {
		t.Errorf("with its data kept, %d pods:\n%s", w.pods, got)
	}
	for range 2 { // again is no error
		if err := w.setup().Uninstall(t.Context(), "elsewhere", false); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff("folder Program Files\nfolder ProgramData\n", w.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUninstall_Pods: records stay while pods do, so that the next try ends them.
func TestUninstall_Pods(t *testing.T) {
	w := newWorld(t)
	w.install(t, "1.0.0")
	w.step, w.failAt = 0, 2
	if err := w.setup().Uninstall(t.Context(), "", false); !errors.Is(err, errBroken) || !strings.Contains(w.String(), "ProgramData/porthole/config.toml") {
		t.Errorf("Uninstall = %v:\n%s", err, w)
	}
	if err := w.setup().Uninstall(t.Context(), "", false); err != nil || strings.Contains(w.String(), "porthole") {
		t.Errorf("again = %v:\n%s", err, w)
	}
}
