package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/version"
)

var errInjected = errors.New("injected")

// fakeHost is a host with namespaces and plugins: what exists is data, and String
// shows it.
type fakeHost struct {
	version.PluginDecoder
	result string // what ADD of the first plugin returns; "" for a good one
	onAdd  func() // runs in each ADD; may be nil
	refuse bool   // ADD and DEL fail, as with a configuration that makes no sense

	mu     sync.Mutex
	step   int // counts the calls that can fail
	failAt int // the step that fails; 0: none
	gone   []string
	spaces map[string]bool
	added  map[string]string // "plugin id" → the netns of ADD
	calls  []string          // plugin, command, netns and stdin of each call
}

func newFakeHost() *fakeHost {
	return &fakeHost{spaces: make(map[string]bool), added: make(map[string]string)}
}

// String shows what exists.
func (h *fakeHost) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, s := range slices.Sorted(maps.Keys(h.spaces)) {
		fmt.Fprintf(&b, "netns %s\n", filepath.Base(s))
	}
	for _, a := range slices.Sorted(maps.Keys(h.added)) {
		fmt.Fprintf(&b, "added %s\n", a)
	}
	return b.String()
}

func (h *fakeHost) fails() error {
	h.step++
	if h.step == h.failAt {
		return errInjected
	}
	return nil
}

func (h *fakeHost) create(path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fails(); err != nil {
		return err
	}
	h.spaces[path] = true
	return nil
}

func (h *fakeHost) remove(path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.spaces, path)
	return nil
}

func (h *fakeHost) alive(path string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.spaces[path]
}

func (h *fakeHost) inspect(path, ifname string) (link, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fails(); err != nil {
		return link{}, err
	}
	return link{mac: "02:00:00:00:00:01", mtu: 1450}, nil
}

func (h *fakeHost) FindInPath(plugin string, dirs []string) (string, error) {
	if slices.Contains(h.gone, plugin) {
		return "", errors.New("not found")
	}
	return filepath.Join(dirs[0], plugin), nil
}

func (h *fakeHost) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	env := make(map[string]string)
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	plugin, command := filepath.Base(path), env["CNI_COMMAND"]
	h.calls = append(h.calls, fmt.Sprintf("%s %s netns=%s args=%s conf=%s", command, plugin, filepath.Base(env["CNI_NETNS"]), env["CNI_ARGS"], stdin))
	key := plugin + " " + env["CNI_CONTAINERID"]
	if h.refuse && (command == "ADD" || command == "DEL") {
		return nil, errInjected
	}
	switch command {
	case "VERSION":
		return []byte(`{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}`), nil
	case "ADD":
		if h.onAdd != nil {
			h.onAdd()
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		h.added[key] = env["CNI_NETNS"] // also when it fails: plugins leave halves behind
		if err := h.fails(); err != nil {
			return nil, err
		}
		var conf struct {
			PrevResult json.RawMessage `json:"prevResult"`
		}
		if err := json.Unmarshal(stdin, &conf); err != nil {
			return nil, err
		}
		if len(conf.PrevResult) > 0 {
			return conf.PrevResult, nil
		}
		if h.result != "" {
			return []byte(h.result), nil
		}
		return []byte(`{"cniVersion":"1.0.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"x"}],` +
			`"ips":[{"interface":1,"address":"10.0.0.2/24","gateway":"10.0.0.1"}],"routes":[{"dst":"0.0.0.0/0"}]}`), nil
	case "DEL":
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := h.fails(); err != nil {
			return nil, err
		}
		delete(h.added, key)
	}
	return nil, nil
}

const twoPlugins = `{"cniVersion":"1.0.0","name":"net","plugins":[
	{"type":"br","ipam":{"type":"addr"}},
	{"type":"ports","capabilities":{"portMappings":true,"bandwidth":true,"dns":true}}]}`

// newTestManager makes a Manager on a fake host with a configuration.
func newTestManager(t *testing.T, h *fakeHost, conf string) *Manager {
	t.Helper()
	dir := t.TempDir()
	c := Config{
		ConfDir: filepath.Join(dir, "conf"), PluginDirs: []string{"/plugins"},
		CacheDir: filepath.Join(dir, "cache"), StateDir: filepath.Join(dir, "state"),
	}
	if err := os.Mkdir(c.ConfDir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeConf(t, c, "10-test.conflist", conf)
	return newManager(c, h)
}

// newManager makes a Manager on a fake host.
func newManager(c Config, h *fakeHost) *Manager {
	c.Host = pathHost{dir: c.StateDir, ns: h}
	return NewWithExec(c, h)
}

func writeConf(t *testing.T, c Config, name, conf string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.ConfDir, name), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
}

// files lists what is left under the cache and state folders.
func files(t *testing.T, c Config) []string {
	t.Helper()
	var names []string
	for _, dir := range []string{c.CacheDir, c.StateDir} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if err == nil && !d.IsDir() {
				names = append(names, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
