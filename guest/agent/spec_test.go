//go:build linux

package agent

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/account"
)

var update = flag.Bool("update", false, "write golden files")

func TestComplete(t *testing.T) {
	files := map[string]string{"/etc/hosts": "/run/g/p/p1/etc/hosts", "/etc/resolv.conf": "/run/g/p/p1/etc/resolv.conf"}
	base := place{root: "/r", cgroup: "/pods/p1/c1", pausePID: 42, files: files, shm: "/run/g/p/p1/shm",
		user: account.Identity{UID: 1000, GID: 1000, Groups: []uint32{1000, 44}, Home: "/home/app"}}
	shared := base
	shared.pidOf, shared.terminal, shared.width, shared.height = shared.pausePID, true, 80, 24
	for name, tt := range map[string]struct {
		spec  string
		place place
	}{
		"plain": {`{"hostname":"x","process":{"args":["sh"],"cwd":"/"},"linux":{"namespaces":[{"type":"cgroup"},{"type":"network"}]},
			"mounts":[{"destination":"/dev/shm","type":"tmpfs"}]}`, base},
		"own_mounts": {`{"root":{"readonly":true},"process":{"args":["sh"],"env":["HOME=/x"]},"linux":{},
			"mounts":[{"destination":"/dev/shm","type":"bind","source":"/v"},{"destination":"/etc/hosts/","type":"bind","source":"/h"}]}`, shared},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := parseSpec([]byte(tt.spec))
			if err != nil {
				t.Fatal(err)
			}
			complete(s, tt.place)
			got, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := "testdata/spec_" + name + ".golden"
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(`{"process":{"args":["sh"],"cwd":"/"},"linux":{}}`))
	f.Add([]byte(`{"process":{"args":[""]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSpec(b)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatalf("parseSpec = %v, want InvalidArgument", err)
			}
			return
		}
		complete(s, place{root: "/r"})
	})
}

func TestCheckPod(t *testing.T) {
	nic := func(f func(*api.Interface)) func(*api.CreatePodRequest) {
		return func(r *api.CreatePodRequest) {
			i := &api.Interface{Name: "eth0", BootMac: "52:54:00:00:00:01"}
			f(i)
			r.Interfaces = append(r.Interfaces, i)
		}
	}
	for want, change := range map[string]func(*api.CreatePodRequest){
		"":                           nic(func(*api.Interface) {}),
		"pod_id":                     func(r *api.CreatePodRequest) { r.PodId = ".." },
		"hostname of 65":             func(r *api.CreatePodRequest) { r.Hostname = strings.Repeat("h", 65) },
		"scratch is not set":         func(r *api.CreatePodRequest) { r.Scratch = nil },
		`sysctl "vm.swappiness"`:     func(r *api.CreatePodRequest) { r.Sysctls = map[string]string{"vm.swappiness": "1"} },
		`sysctl "net.../../vm.x"`:    func(r *api.CreatePodRequest) { r.Sysctls = map[string]string{"net.../../vm.x": "1"} },
		"not a name of an interface": nic(func(i *api.Interface) { i.Name = "a/b" }),
		`"lo" is taken`:              nic(func(i *api.Interface) { i.Name = "lo" }),
		"boot_mac":                   nic(func(i *api.Interface) { i.BootMac = "00:00:00:00:fe:80:00:00" }),
		"mtu 70000":                  nic(func(i *api.Interface) { i.Mtu = 70000 }),
		"address":                    nic(func(i *api.Interface) { i.Addresses = []*api.Address{{Cidr: "10.0.0.1"}} }),
		"are of two families":        nic(func(i *api.Interface) { i.Routes = []*api.Route{{Destination: "::/0", Gateway: "10.0.0.1"}} }),
		"resolv_conf or hosts":       func(r *api.CreatePodRequest) { r.Hosts = strings.Repeat("x", maxFileBytes+1) },
	} {
		r := podRequest()
		change(r)
		_, err := checkPod(r)
		if want == "" && err != nil || want != "" && (!errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want)) {
			t.Errorf("checkPod = %v, want %q", err, want)
		}
	}
}

func TestTopmost(t *testing.T) {
	a, b := layerRef{"a", disk.Address{LUN: 1}}, layerRef{"b", disk.Address{LUN: 2}}
	got := topmost([]layerRef{a, b, a})
	if len(got) != 2 || got[0] != b || got[1] != a {
		t.Errorf("topmost = %v, want b, a", got)
	}
}

// TestRootFS: links of an image lead nowhere outside it.
func TestRootFS(t *testing.T) {
	dir := t.TempDir()
	outside := t.TempDir()
	for _, step := range []error{
		os.MkdirAll(dir+"/etc", 0o755),
		os.WriteFile(dir+"/passwd", []byte("inside"), 0o644),
		os.WriteFile(outside+"/secret", []byte("outside"), 0o644),
		os.Symlink("/../../passwd", dir+"/etc/passwd"),
		os.Symlink(outside+"/secret", dir+"/etc/group"),
		os.Symlink(outside, dir+"/out"),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	r, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	b := make([]byte, 16)
	f, err := r.open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Read(b); string(b[:n]) != "inside" {
		t.Errorf("read %q", b[:n])
	}
	f.Close()
	if f, err = r.open("/etc/group"); err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Read(b); n != 0 {
		t.Errorf("read %q from outside", b[:n])
	}
	if _, err := r.open("/etc"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("open of a folder = %v, want InvalidArgument", err)
	}
	if err := r.mkdirAll("/a/b/../c"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir + "/a/c"); err != nil {
		t.Error(err)
	}
	if err := r.mkdirAll("/out/x"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("mkdir through a link that leads out = %v, want InvalidArgument", err)
	}
	if err := r.mkdirAll("/passwd/x"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("mkdir below a file = %v, want InvalidArgument", err)
	}
	if left, _ := os.ReadDir(outside); len(left) != 1 {
		t.Errorf("outside holds %v", left)
	}
}
