package hcnnet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/porthole-run/porthole/network"
	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/network/hcnnet/hnsfake"
)

const podID = "4f7d2a900c1b4e6e8d3f5a6b7c8d9e0f"

var families = []string{"win-bridge", "win-overlay", "sdnbridge", "sdnoverlay", "nat", "azure", "flannel", "calico", "two-endpoints"}

// plugins runs the plugins of a family on a fake HNS: they make the endpoints and print
// the result of the family's folder.
type plugins struct {
	version.PluginDecoder
	hns       *hnsfake.HNS
	network   string // id
	endpoints []json.RawMessage
	result    string

	mu     sync.Mutex
	cut    bool     // ADD ends after its first endpoint is made, without undoing that
	calls  []string // command and netns
	given  string   // the runtimeConfig of the last ADD
	refuse error    // what DEL answers
}

func (p *plugins) FindInPath(plugin string, _ []string) (string, error) {
	return "/plugins/" + plugin, nil
}

// fill replaces what differs from pod to pod.
func (p *plugins) fill(text, id, mac string) string {
	return strings.NewReplacer("${ID}", id, "${ID8}", id[:8], "${NETWORK}", strings.ToUpper(p.network), "${MAC}", mac).Replace(text)
}

func (p *plugins) ExecPlugin(_ context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	env := make(map[string]string)
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	p.calls = append(p.calls, env["CNI_COMMAND"]+" "+env["CNI_NETNS"])
	switch env["CNI_COMMAND"] {
	case "VERSION":
		return []byte(`{"cniVersion":"1.0.0","supportedVersions":["0.2.0","0.3.0","1.0.0"]}`), nil
	case "ADD":
		return p.add(filepath.Base(path), stdin, env["CNI_NETNS"], env["CNI_CONTAINERID"])
	case "DEL":
		return nil, p.del(env["CNI_CONTAINERID"])
	}
	return nil, nil
}

func (p *plugins) add(plugin string, stdin []byte, netns, id string) ([]byte, error) {
	var conf struct {
		APIVersion    int             `json:"apiVersion"`
		RuntimeConfig json.RawMessage `json:"runtimeConfig"`
	}
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return nil, err
	}
	p.given = string(conf.RuntimeConfig)
	mac := ""
	for _, doc := range p.endpoints {
		e, err := p.hns.CreateEndpoint(p.network, p.fill(string(doc), id, ""))
		if err != nil {
			return nil, err
		}
		if p.cut {
			return nil, errors.New("killed")
		}
		mac = e.MAC
		if strings.HasPrefix(plugin, "win-") && conf.APIVersion != 2 {
			continue // HNS's first interface, which knows no namespaces
		}
		if err := p.hns.AddEndpoint(netns, e.ID); err != nil {
			return nil, errors.Join(err, p.hns.DeleteEndpoint(e.ID))
		}
	}
	return []byte(p.fill(p.result, id, mac)), nil
}

// del is what plugins do: they find their endpoint by its name.
func (p *plugins) del(id string) error {
	if p.refuse != nil {
		return p.refuse
	}
	for _, doc := range p.endpoints {
		var d struct{ Name string }
		if err := json.Unmarshal([]byte(p.fill(string(doc), id, "")), &d); err != nil {
			return err
		}
		e, err := p.hns.EndpointByName(d.Name)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := p.hns.DeleteEndpoint(e.ID); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// world is a node with a family of plugins.
type world struct {
	*network.Manager
	t       *testing.T
	dir     string
	hns     *hnsfake.HNS
	plugins *plugins
	host    *hcnnet.Host
	empty   string // what HNS holds without pods
}

func newWorld(t *testing.T, family string) *world {
	t.Helper()
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join("testdata", family, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	w := &world{t: t, dir: t.TempDir(), hns: hnsfake.New()}
	net, err := w.hns.CreateNetwork(read("network.json"))
	if err != nil {
		t.Fatal(err)
	}
	w.plugins = &plugins{hns: w.hns, network: net, result: read("result.json")}
	if err := json.Unmarshal([]byte(read("endpoints.json")), &w.plugins.endpoints); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(w.dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.configure(read("conf.conflist"))
	w.empty = w.hns.String()
	w.restart()
	return w
}

func (w *world) configure(conf string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "conf", "10-net.conflist"), []byte(conf), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// restart makes the parts anew, as a new daemon does.
func (w *world) restart() {
	w.t.Helper()
	var err error
	w.host, err = hcnnet.New(hcnnet.Config{Dir: filepath.Join(w.dir, "hns")}, w.hns)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Manager = network.NewWithExec(network.Config{
		ConfDir: filepath.Join(w.dir, "conf"), PluginDirs: []string{"/plugins"},
		CacheDir: filepath.Join(w.dir, "cache"), StateDir: filepath.Join(w.dir, "state"), Host: w.host,
	}, w.plugins)
}

// left is what is left of pods, in HNS and in files.
func (w *world) left() string {
	w.t.Helper()
	out := strings.TrimPrefix(w.hns.String(), w.empty)
	for _, dir := range []string{"cache", "hns", "state"} {
		err := filepath.WalkDir(filepath.Join(w.dir, dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				out += fmt.Sprintf("file %s\n", path)
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return out
}

func pod(id string) network.Pod {
	return network.Pod{
		ID: id, Name: "web", Namespace: "default", UID: "u-1",
		PortMappings: []network.PortMapping{{Protocol: "TCP", ContainerPort: 80, HostPort: 8080}},
		DNS:          network.DNS{Servers: []string{"10.96.0.10"}, Search: []string{"default.svc.cluster.local", "svc.cluster.local"}, Options: []string{"ndots:5"}},
	}
}
