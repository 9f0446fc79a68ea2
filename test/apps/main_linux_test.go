package apps

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/test/apps/appimage"
	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/registry"
)

// env is what all tests share.
var env struct {
	lane     string // pod, mount or folder; "": the tests do not run
	cache    string
	server   *harness.Server    // of lane pod
	registry *registry.Registry // of lane pod
	images   map[string]v1.Image
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "apps:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	env.lane, env.cache = os.Getenv("PORTHOLE_APPS"), os.Getenv("PORTHOLE_CACHE")
	env.images = map[string]v1.Image{}
	if env.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return 0, err
		}
		env.cache = filepath.Join(dir, "porthole")
	}
	switch env.lane {
	case "", "mount", "folder":
		return m.Run(), nil
	case "pod":
		return runPods(m)
	case "fetch":
		for _, app := range appimage.All {
			if _, err := appimage.Build(context.Background(), filepath.Join(env.cache, "apps"), app); err != nil {
				return 0, err
			}
		}
		return 0, nil
	}
	return 0, fmt.Errorf("PORTHOLE_APPS is %q, want pod, mount, folder or fetch", env.lane)
}

// runPods runs the tests against a server of their own.
func runPods(m *testing.M) (int, error) {
	bin, guest := os.Getenv("PORTHOLE_BIN"), os.Getenv("PORTHOLE_GUEST")
	for _, need := range []string{filepath.Join(bin, "porthole"), filepath.Join(guest, "manifest.json")} {
		if _, err := os.Stat(need); err != nil {
			return 0, fmt.Errorf("%w: run `make test-apps`, which builds it and sets PORTHOLE_BIN and PORTHOLE_GUEST", err)
		}
	}
	reg, err := registry.Start("127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer reg.Close()
	env.registry = reg
	dir, err := os.MkdirTemp("", "papps")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	env.server, err = harness.New(harness.Config{Dir: dir, Bin: bin, Guest: guest, Accel: "tcg", CNIConf: deploy.CNIConf,
		VM: "memory = \"1GiB\"\nvcpus = 2"})
	if err != nil {
		return 0, err
	}
	if err := env.server.Start(context.Background()); err != nil {
		return 0, err
	}
	code := m.Run()
	if err := env.server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "apps:", err)
		code = max(code, 1)
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "--- log of the server\n%s\n", env.server.LogTail())
	}
	return code, nil
}

// begin is the first call of every test: it ends one that has no lane.
func begin(t *testing.T) {
	t.Helper()
	testneed.Within(t, env.lane != "", "make test-apps")
	testneed.Root(t)
	testneed.Program(t, "apt-get", "dpkg-deb", "unshare", "nsenter")
}

// image builds an application's image once a run.
func image(t *testing.T, app appimage.App) v1.Image {
	t.Helper()
	if img, ok := env.images[app.Name]; ok {
		return img
	}
	img, err := appimage.Build(t.Context(), filepath.Join(env.cache, "apps"), app)
	if err != nil {
		t.Fatal(err)
	}
	env.images[app.Name] = img
	return img
}
