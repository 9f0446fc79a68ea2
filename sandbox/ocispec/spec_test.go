package ocispec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/sandbox"
)

var update = flag.Bool("update", false, "write the golden files")

func ptr(n int64) *int64 { return &n }

var testImage = sandbox.ImageConfig{
	Entrypoint: []string{"/entry", "-e"},
	Cmd:        []string{"cmd"},
	Env:        []string{"PATH=/image/bin", "A=image", "B=image", "broken"},
	User:       "app:staff",
	WorkingDir: "srv",
}

func testPod() sandbox.PodConfig {
	return sandbox.PodConfig{Name: "web-0", Namespace: "default", UID: "u1"}
}

func testContainer() sandbox.ContainerConfig {
	return sandbox.ContainerConfig{
		Name: "c", Image: "sha256:1", UserImage: "registry/web:1",
		Security: sandbox.Security{
			MaskedPaths:   []string{"/proc/kcore"},
			ReadonlyPaths: []string{"/proc/sys"},
		},
	}
}

func TestGolden(t *testing.T) {
	for name, edit := range map[string]func(*sandbox.PodConfig, *sandbox.ContainerConfig, *sandbox.ImageConfig){
		"default": func(*sandbox.PodConfig, *sandbox.ContainerConfig, *sandbox.ImageConfig) {},
		"full": func(p *sandbox.PodConfig, c *sandbox.ContainerConfig, img *sandbox.ImageConfig) {
			img.Volumes = []string{"/data", "rel/../data2/", "/", "/nul\x00"}
			p.Hostname = "host"
			p.Security.SupplementalGroups = []int64{7, 8}
			c.Command, c.Args = []string{"/bin/sh"}, []string{"-c", "true"}
			c.Env = []sandbox.EnvVar{{Name: "B", Value: "config"}, {Name: "C", Value: "x=y"}, {Name: "EMPTY"}}
			c.WorkingDir, c.TTY = "/work/../data", true
			c.Annotations = map[string]string{"io.kubernetes.container.hash": "1", "run.oci.handler": "evil", "run.porthole.folders": "evil"}
			c.Security.RunAsUser, c.Security.RunAsGroup = ptr(1000), ptr(2000)
			c.Security.SupplementalGroups, c.Security.StrictGroups = []int64{8, 9}, true
			c.Security.AddCapabilities, c.Security.DropCapabilities = []string{"NET_ADMIN", "cap_sys_time"}, []string{"MKNOD"}
			c.Security.ReadOnlyRootFS, c.Security.NoNewPrivs = true, true
			c.Resources = sandbox.Resources{
				CPUPeriod: 100000, CPUQuota: 50000, CPUShares: 512, MemoryLimit: 64 << 20, MemorySwapLimit: 128 << 20,
				OOMScoreAdj: -997, CpusetCPUs: "0-1", CpusetMems: "0", PidsLimit: 100,
				HugepageLimits: []sandbox.HugepageLimit{{PageSize: "2MB", Limit: 4 << 20}},
				Unified:        map[string]string{"memory.high": "1000000"},
			}
		},
		"privileged": func(p *sandbox.PodConfig, c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) {
			p.Privileged, c.Security.Privileged = true, true
			c.Security.Seccomp.Type = sandbox.SeccompRuntimeDefault
			c.Security.DropCapabilities = []string{"ALL"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, c, img := testPod(), testContainer(), testImage
			edit(&p, &c, &img)
			s, u, err := New("amd64").Spec(t.Context(), p, c, img)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(struct {
				Spec *specs.Spec
				User sandbox.User
			}{s, u}, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for name, tt := range map[string]struct {
		command, args, entrypoint, cmd []string
		want                           string
	}{
		"image":        {nil, nil, []string{"e"}, []string{"c"}, "e c"},
		"command":      {[]string{"C"}, nil, []string{"e"}, []string{"c"}, "C"},
		"args":         {nil, []string{"A"}, []string{"e"}, []string{"c"}, "e A"},
		"both":         {[]string{"C"}, []string{"A"}, []string{"e"}, []string{"c"}, "C A"},
		"cmd-only":     {nil, nil, nil, []string{"c"}, "c"},
		"no-image-cmd": {nil, []string{"A"}, nil, nil, "A"},
	} {
		got, err := arguments(sandbox.ContainerConfig{Command: tt.command, Args: tt.args},
			sandbox.ImageConfig{Entrypoint: tt.entrypoint, Cmd: tt.cmd})
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%s: arguments = %q, %v; want %q", name, got, err, tt.want)
		}
	}
}

func TestUser(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*sandbox.Security)
		want sandbox.User
	}{
		"image":    {func(*sandbox.Security) {}, sandbox.User{Spec: "app:staff"}},
		"uid":      {func(s *sandbox.Security) { s.RunAsUser = ptr(0) }, sandbox.User{Spec: "0"}},
		"uid-gid":  {func(s *sandbox.Security) { s.RunAsUser, s.RunAsGroup = ptr(5), ptr(0) }, sandbox.User{Spec: "5", HasGID: true}},
		"name":     {func(s *sandbox.Security) { s.RunAsUsername = "bob" }, sandbox.User{Spec: "bob"}},
		"name-gid": {func(s *sandbox.Security) { s.RunAsUsername, s.RunAsGroup = "bob", ptr(9) }, sandbox.User{Spec: "bob", HasGID: true, GID: 9}},
	} {
		var s sandbox.Security
		tt.edit(&s)
		got, err := userOf(sandbox.Security{}, s, testImage)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: userOf: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for name, tt := range map[string]struct {
		s    sandbox.Security
		want []string
	}{
		"default":      {sandbox.Security{}, defaultCaps},
		"all":          {sandbox.Security{AddCapabilities: []string{"ALL"}}, knownCaps},
		"none":         {sandbox.Security{DropCapabilities: []string{"all"}}, nil},
		"none-but-one": {sandbox.Security{AddCapabilities: []string{"kill"}, DropCapabilities: []string{"ALL"}}, []string{"CAP_KILL"}},
		"all-but-none": {sandbox.Security{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"ALL"}}, nil},
		"privileged":   {sandbox.Security{Privileged: true, DropCapabilities: []string{"ALL"}}, knownCaps},
	} {
		got, err := capabilities(tt.s)
		if err != nil || !slices.Equal(got.Bounding, tt.want) || !slices.Equal(got.Effective, tt.want) || len(got.Ambient) != 0 || len(got.Inheritable) != 0 {
			t.Errorf("%s: capabilities = %+v, %v; want %v", name, got, err, tt.want)
		}
	}
	got, err := capabilities(sandbox.Security{AddAmbientCaps: []string{"NET_ADMIN"}})
	if want := []string{"CAP_NET_ADMIN"}; err != nil || !slices.Equal(got.Ambient, want) || !slices.Equal(got.Inheritable, want) || !slices.Contains(got.Bounding, want[0]) {
		t.Errorf("ambient: capabilities = %+v, %v", got, err)
	}
}

func TestSeccomp(t *testing.T) {
	names := func(s *specs.LinuxSeccomp) map[string]bool {
		m := make(map[string]bool)
		for _, r := range s.Syscalls {
			for _, n := range r.Names {
				m[n] = m[n] || r.Action == specs.ActAllow && len(r.Args) == 0
			}
		}
		return m
	}
	g := New("amd64")
	s, err := g.seccomp(sandbox.SeccompProfile{Type: sandbox.SeccompRuntimeDefault}, defaultCaps)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.Architectures, specs.ArchX86_64) || !slices.Contains(s.Architectures, specs.ArchX86) {
		t.Errorf("Architectures = %v, want x86-64 and x86", s.Architectures)
	}
	plain := names(s)
	if !plain["read"] || !plain["arch_prctl"] || !plain["chroot"] || plain["mount"] || plain["bpf"] || plain["s390_runtime_instr"] {
		t.Error("the default profile's conditions are not applied")
	}
	if s, err = g.seccomp(sandbox.SeccompProfile{Type: sandbox.SeccompRuntimeDefault}, knownCaps); err != nil || !names(s)["mount"] {
		t.Errorf("seccomp with all capabilities = %v; want mount allowed", err)
	}
	if s, err := g.seccomp(sandbox.SeccompProfile{Type: sandbox.SeccompUnconfined}, nil); s != nil || err != nil {
		t.Errorf("unconfined = %v, %v; want none", s, err)
	}
	path := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(path, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mkdir","action":"SCMP_ACT_ERRNO"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err = g.seccomp(sandbox.SeccompProfile{Type: sandbox.SeccompLocalhost, LocalhostPath: path}, nil)
	want := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActErrno}}}
	if diff := cmp.Diff(want, s); diff != "" || err != nil {
		t.Errorf("localhost: %v (-want +got):\n%s", err, diff)
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, []byte(`{"syscalls":[null]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for field, edit := range map[string]func(*sandbox.ContainerConfig, *sandbox.ImageConfig){
		"command":    func(_ *sandbox.ContainerConfig, i *sandbox.ImageConfig) { i.Entrypoint, i.Cmd = nil, nil },
		"command[0]": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) { c.Command = []string{"a\x00"} },
		"env[0].name": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) {
			c.Env = []sandbox.EnvVar{{Name: "A=B"}}
		},
		"workingDir":          func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) { c.WorkingDir = "rel" },
		"security.privileged": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) { c.Security.Privileged = true },
		"security.runAsGroup": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) { c.Security.RunAsGroup = ptr(1) },
		"security.runAsUser":  func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) { c.Security.RunAsUser = ptr(-1) },
		"security.runAsUsername": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) {
			c.Security.RunAsUser, c.Security.RunAsUsername = ptr(1), "x"
		},
		"security.supplementalGroups[0]": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) {
			c.Security.SupplementalGroups = []int64{1 << 32}
		},
		"security.addCapabilities[0]": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) {
			c.Security.AddCapabilities = []string{"FLY"}
		},
		"security.dropCapabilities[0]": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) {
			c.Security.DropCapabilities = []string{"CAP_"}
		},
		"security.maskedPaths[0]":         func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) { c.Security.MaskedPaths = []string{"proc"} },
		"resources.memory_limit_in_bytes": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) { c.Resources.MemoryLimit = -1 },
		"security.seccomp.type":           func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) { c.Security.Seccomp.Type = "magic" },
		"security.seccomp.localhostPath": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) {
			c.Security.Seccomp = sandbox.SeccompProfile{Type: sandbox.SeccompLocalhost, LocalhostPath: filepath.Join(dir, "no.json")}
		},
		"security.seccomp.localhostPath: ": func(c *sandbox.ContainerConfig, _ *sandbox.ImageConfig) {
			c.Security.Seccomp = sandbox.SeccompProfile{Type: sandbox.SeccompLocalhost, LocalhostPath: bad}
		},
	} {
		c, img := testContainer(), testImage
		edit(&c, &img)
		_, _, err := New("amd64").Spec(t.Context(), testPod(), c, img)
		if !errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: Spec = %v, want InvalidArgument that begins with the field", field, err)
		}
	}
}

func FuzzSeccompProfile(f *testing.F) {
	f.Add(defaultProfileJSON)
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mkdir","action":"SCMP_ACT_ERRNO"}]}`))
	f.Add([]byte(`{"defaultAction":"x","archMap":[{}],"syscalls":[{"includes":{"minKernel":"1.2"}}]}`))
	g := New("amd64")
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseProfile(data)
		if err != nil {
			return
		}
		if _, err := g.resolve(p, defaultCaps); err != nil {
			t.Fatal(err)
		}
	})
}
