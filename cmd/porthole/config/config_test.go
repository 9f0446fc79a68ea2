package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefault_IsWhatItSays(t *testing.T) {
	c, err := Parse([]byte(DefaultText()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Errorf("default text over defaults (-want +got):\n%s", diff)
	}
	if c.VM.Memory != 256<<20 || time.Duration(c.Streaming.IdleTimeout) != 4*time.Hour || c.GRPC.Mode != 0o600 {
		t.Errorf("defaults = %+v", c)
	}
}

func TestDefault_SampleIsTheSame(t *testing.T) {
	sample, err := os.ReadFile(filepath.FromSlash("../../../deploy/config/config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultText(), string(sample)); diff != "" {
		t.Errorf("deploy/config/config.toml is not `porthole config default` (-want +got):\n%s", diff)
	}
}

func TestParse_Over(t *testing.T) {
	c, err := Parse([]byte(`
root = "/data"
[vm]
memory = "1GiB"
[handlers.big]
vcpus = 4
[handlers.small]
memory = "128MiB"
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Root != "/data" || c.State != Default().State {
		t.Errorf("root, state = %s, %s", c.Root, c.State)
	}
	if vm := c.Handlers["big"].Over(c.VM); vm.VCPUs != 4 || vm.Memory != 1<<30 {
		t.Errorf("big = %+v", vm)
	}
	if vm := c.Handlers["small"].Over(c.VM); vm.VCPUs != 1 || vm.Memory != 128<<20 {
		t.Errorf("small = %+v", vm)
	}
}

func TestParse_NamesAllProblems(t *testing.T) {
	_, err := Parse([]byte(`version = 2
rot = "/data"
root = 7

[log]
level = "loud"
format = "xml"

[images]
discard_blobs = "no"
max_layer_size = "1MiB"

[metrics]
address = "0.0.0.0:80"

[vm]
accel = "xen"
memory = "lots"
vcpus = "two"
uid_base = 4294967290
start_timeout = "soon"
flavour = { sweet = true }

[handlers.Big]
scratch = "1KiB"
mem = 1

[network]
plugin_dirs = ["bin", 3]
`))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("Parse = %v, want *Error", err)
	}
	var got []string
	for _, p := range e.Problems {
		got = append(got, p.String())
	}
	want := []string{
		`line 1: version: is 2, this build reads 1`,
		`line 2: rot: is not a key that is known here; there are grpc, handlers, images, log, metrics, network, root, state, streaming, tracing, upstream, version, vm, windows_kubelet`,
		`line 3: root: must be a string in quotes`,
		`line 6: log.level: "loud" is not one of debug, info, warn, error`,
		`line 7: log.format: "xml" is not one of json, text`,
		`line 10: images.discard_blobs: must be true or false`,
		`line 11: images.max_layer_size: is 1MiB, layers want 16MiB`,
		`line 14: metrics.address: 0.0.0.0 is not a loopback address`,
		`line 16: vm.uid_count: is 1024, too many from uid 4294967290 on`,
		`line 17: vm.accel: "xen" is not one of auto, kvm, tcg`,
		`line 18: vm.memory: "lots" is not a size such as 512MiB`,
		`line 19: vm.vcpus: must be a whole number`,
		`line 21: vm.start_timeout: "soon" is not a duration such as 30s`,
		`line 22: vm.flavour: is not a key that is known here; there are accel, bundle, cgroup_driver, driver, extra_cmdline, gid, host_namespaces, host_overhead, max_memory, max_vcpus, memory, overhead, pod_cgroup, qemu, scratch, shm, spare_memory, spares, start_timeout, template, uid_base, uid_count, vcpus`,
		`line 24: handlers.Big: is not a name for a runtime handler: a-z, 0-9 and -, at most 63`,
		`line 25: handlers.Big.scratch: is 1KiB, a file system needs 16MiB`,
		`line 26: handlers.Big.mem: is not a key that is known here; there are enabled, host_namespaces, max_memory, max_vcpus, memory, overhead, pods, privileged, scratch, share_by, shm, vcpus`,
		`line 29: network.plugin_dirs: entry 2 must be a string in quotes`,
		`line 29: network.plugin_dirs: "bin" is not an absolute path`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestParse_Sharing: the built-in handlers are there beside those of the file, which may
// change them, and take them away.
func TestParse_Sharing(t *testing.T) {
	c, err := Parse([]byte(`
[vm]
max_memory = "512MiB"
[handlers.linux]
enabled = false
[handlers.linux-shared]
memory = "2GiB"
[handlers.teams]
share_by = "annotation:example.com/team"
pods = 16
privileged = true
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Handlers[OwnVM].Exists() || !c.Handlers[SharedVM].Exists() {
		t.Errorf("handlers = %+v", c.Handlers)
	}
	h := c.Handlers[SharedVM]
	if s, ok := h.Sharing(); !ok || s != (Sharing{Pods: 8}) {
		t.Errorf("%s shares as %+v, %v", SharedVM, s, ok)
	}
	if vm := h.Over(c.VM); vm.Memory != 2<<30 || vm.VCPUs != 2 || vm.MaxMemory != 0 {
		t.Errorf("%s = %+v", SharedVM, vm)
	}
	if s, ok := c.Handlers["teams"].Sharing(); !ok || s != (Sharing{Annotation: "example.com/team", Pods: 16, Privileged: true}) {
		t.Errorf("teams shares as %+v, %v", s, ok)
	}
	if _, ok := Default().Handlers[OwnVM].Sharing(); ok || !Default().Handlers[OwnVM].Exists() {
		t.Errorf("%s shares by default, or is not there", OwnVM)
	}

	_, err = Parse([]byte(`[handlers.a]
share_by = "pod"
pods = 17
max_vcpus = 4
[handlers.b]
pods = 4
privileged = true
[handlers.c]
share_by = "annotation:"
[handlers.d]
share_by = "namespace"
memory = "64MiB"
pods = 1
`))
	want := `configuration: 8 problems
  line 2: handlers.a.share_by: "pod" is neither namespace nor annotation:NAME
  line 3: handlers.a.pods: 17 is not between 2 and 16
  line 4: handlers.a.max_vcpus: is for VMs that grow with their pod, which a shared one does not
  line 6: handlers.b.pods: is for handlers with share_by
  line 7: handlers.b.privileged: is for handlers with share_by
  line 9: handlers.c.share_by: "annotation:" is neither namespace nor annotation:NAME
  line 12: handlers.d.memory: is 64MiB, no more than overhead, which is 64MiB: nothing is left for pods
  line 13: handlers.d.pods: 1 is not between 2 and 16`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParse_Sizes(t *testing.T) {
	_, err := Parse([]byte(`root = "/"
state = "/run/a-state-folder-with-so-long-a-name-that-no-socket-fits-below-it"
[vm]
memory = "1KiB"
shm = "0"
scratch = "1024TiB"
[handlers.a]
vcpus = 2
[handlers.b]
memory = "17TiB"
max_memory = "64MiB"
`))
	want := `configuration: 7 problems
  line 1: root: is the root of all files, not a folder for one daemon
  line 2: state: is longer than 64 bytes, the most for the sockets in it to have paths
  line 4: vm.memory: is 1KiB, a guest needs 64MiB
  line 5: vm.shm: is 0, it needs 4KiB
  line 6: vm.scratch: is 1024TiB, more than 16TiB
  line 10: handlers.b.memory: is 17TiB, more than 16TiB
  line 11: handlers.b.max_memory: is 64MiB, less than memory, which is 17TiB`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := Parse([]byte(`state = "/var/lib/porthole/"`)); err == nil || !strings.Contains(err.Error(), "same as root") {
		t.Errorf("Parse = %v, want root and state to differ", err)
	}
}

func TestParse_Tracing(t *testing.T) {
	for _, good := range []string{"http://127.0.0.1:4317", "http://[::1]:1", "https://collector.example:65535"} {
		if _, err := Parse([]byte("[tracing]\nendpoint = \"" + good + "\"\n")); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"localhost:4317", "http://", "http://:4317", "http://h", "http://h:", "http://h:0", "http://h:65536", "ftp://h:1",
		"http://h:1/path", "http://h:1?q=1", "http://h:1#f", "http://u:p@h:1"} {
		if _, err := Parse([]byte("[tracing]\nendpoint = \"" + bad + "\"\n")); err == nil || !strings.Contains(err.Error(), "line 2: tracing.endpoint: ") {
			t.Errorf("%s: %v, want it to be refused", bad, err)
		}
	}
}

// TestParse_SpareMemory: a bound that no spare keeps is no way to have none.
func TestParse_SpareMemory(t *testing.T) {
	for text, want := range map[string]string{
		"spares = \"2\"\nspare_memory = \"255MiB\"":                     "line 3: vm.spare_memory: is 255MiB, less than one spare, which has memory: 256MiB",
		"spares = \"auto\"\nmemory = \"2GiB\"":                          "vm.spare_memory: is 1GiB, less than one spare, which has memory: 2GiB",
		"spares = \"auto\"\nmemory = \"2GiB\"\nspare_memory = \"2GiB\"": "",
		"spares = \"0\"\nmemory = \"2GiB\"":                             "",
		"memory = \"2GiB\"":                                             "",
	} {
		_, err := Parse([]byte("[vm]\n" + text + "\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestParse_WindowsKubelet(t *testing.T) {
	_, err := Parse([]byte(`[windows_kubelet]
dialect = "yes"
pods_api = "tcp://127.0.0.1:1"
pods_api_timeout = "0s"
without_spec = "run"
host_network = "node"
seccomp_root = "seccomp"
system_drive = "C"
processors = -1
[windows_kubelet.drives]
C = "/c"
d = "d"
[upstream]
endpoint = "/run/containerd/containerd.sock"
default = "runc"
timeout = "0s"
`))
	want := `configuration: 13 problems
  line 2: windows_kubelet.dialect: "yes" is not one of auto, on, off
  line 3: windows_kubelet.pods_api: "tcp://127.0.0.1:1" is neither unix:///PATH nor npipe:////./pipe/NAME
  line 4: windows_kubelet.pods_api_timeout: must be more than nothing
  line 5: windows_kubelet.without_spec: "run" is not one of refuse, drop-security-context
  line 6: windows_kubelet.host_network: "node" is not one of refuse, pod
  line 7: windows_kubelet.seccomp_root: "seccomp" is not an absolute path of Windows
  line 8: windows_kubelet.system_drive: "C" is not a drive such as C:
  line 9: windows_kubelet.processors: -1 is not between 0 and 65536
  line 11: windows_kubelet.drives.C: is not the letter of a drive, a to z
  line 12: windows_kubelet.drives.d: "d" is not an absolute path
  line 14: upstream.endpoint: "/run/containerd/containerd.sock" is neither unix:///PATH nor npipe:////./pipe/NAME
  line 15: upstream.default: "runc" is not one of porthole, upstream
  line 16: upstream.timeout: must be more than nothing`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c, err := Parse([]byte("[windows_kubelet.drives]\nc = \"/srv/c\"\n[upstream]\nendpoint = \"unix:///run/x.sock\"\n"))
	if err != nil || c.Kubelet.Drives["c"] != "/srv/c" || c.Upstream.Endpoint != "unix:///run/x.sock" {
		t.Errorf("Parse = %+v, %v", c.Kubelet, err)
	}
}

func TestParse_Syntax(t *testing.T) {
	_, err := Parse([]byte("version = 1\nroot = \n"))
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) != 1 || e.Problems[0].Line != 2 {
		t.Errorf("Parse = %v, want a problem in line 2", err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load(missing) = %v, want ErrNotExist", err)
	}
	if err := os.WriteFile(path, []byte("roots = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path+": line 1: roots") {
		t.Errorf("Load = %v", err)
	}
}

func TestSize(t *testing.T) {
	for _, text := range []string{"0", "1", "1023", "1KiB", "1025MiB", "8TiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s.String() != text {
			t.Errorf("%s comes back as %s, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5GiB", "1GB", "9999999TiB", "MiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d", text, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(DefaultText()))
	f.Add([]byte("[handlers.a]\nvcpus = 3\n[vm]\nmemory=\"1GiB\""))
	f.Add([]byte("vm = { accel = \"kvm\", x = { y = 1 } }\n[[handlers]]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err == nil && c.Version != Version {
			t.Errorf("version %d is taken", c.Version)
		}
	})
}

// TestLoad_BundleBesideProgram: a release that is unpacked anywhere finds its own guest.
func TestLoad_BundleBesideProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte("[vm]\nbundle = \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if want := filepath.Join(filepath.Dir(self), "guest"); err != nil || c.VM.Bundle != want {
		t.Errorf("Load = %q, %v, want %q", c.VM.Bundle, err, want)
	}
}

// TestWindowsSample: the configuration that a Windows installation starts with is valid there.
func TestWindowsSample(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/windows/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	base, err := onWindows.defaults()
	if err != nil {
		t.Fatal(err)
	}
	c, err := onWindows.parse(text, base)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Handlers["linux"]; !ok || c.GRPC.Endpoint().Kind != Pipe || c.Upstream.Default != "upstream" {
		t.Errorf("the sample has handlers %v, socket %s, default %s", c.Handlers, c.GRPC.Socket, c.Upstream.Default)
	}
}
