package dialect

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var update = flag.Bool("update", false, "write golden files anew")

func recorded(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRecorded_Mounts turns each mount that a Windows kubelet makes into the pod's own.
func TestRecorded_Mounts(t *testing.T) {
	want := map[string]struct{ guest, host, drive string }{
		"sa": {"/var/run/secrets/kubernetes.io/serviceaccount", `c:\var\lib\kubelet\pods\uid-1\volumes\kubernetes.io~projected\kube-api-access-x`,
			"/c/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~projected/kube-api-access-x"},
		"hp":                    {"/host/log", `c:\var\log`, "/c/var/log"},
		"hp2":                   {"/host/data", `C:\data`, "/c/data"},
		"rel":                   {"/data/rel", `C:\data`, "/c/data"},
		"pipe":                  {"", "", ""},
		"k8s-managed-etc-hosts": {"/etc/hosts", `C:\users\root\Temp\tmp1\etc-hosts`, "/c/users/root/Temp/tmp1/etc-hosts"},
	}
	windows := newWindows(t, nil)
	mapped := newWindows(t, func(c *Config) { c.Drives = map[string]string{"c": "/c"} })
	line := regexp.MustCompile(`(?m)^(\S+) +container_path=("(?:[^"\\]|\\.)*") host_path=("(?:[^"\\]|\\.)*") prop=PROPAGATION_PRIVATE$`)
	seen := 0
	for _, m := range line.FindAllStringSubmatch(recorded(t, "mounts.txt"), -1) {
		w, ok := want[m[1]]
		if !ok {
			t.Errorf("a mount %s was recorded of which nothing is known here", m[1])
			continue
		}
		seen++
		mount := &runtimeapi.Mount{}
		for i, to := range []*string{&mount.ContainerPath, &mount.HostPath} {
			s, err := strconv.Unquote(m[2+i])
			if err != nil {
				t.Fatal(err)
			}
			*to = s
		}
		for d, host := range map[*Windows]string{windows: w.host, mapped: w.drive} {
			out := Container{Config: &runtimeapi.ContainerConfig{Mounts: []*runtimeapi.Mount{proto.CloneOf(mount)}}}
			err := d.mounts(&out)
			if w.guest == "" {
				if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "config.mounts[0].container_path") {
					t.Errorf("%s: %v, want InvalidArgument that names the field", m[1], err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", m[1], err)
				continue
			}
			if got := out.Config.Mounts[0]; got.ContainerPath != w.guest || got.HostPath != host {
				t.Errorf("%s: %s at %s, want %s at %s", m[1], got.HostPath, got.ContainerPath, host, w.guest)
			}
			if !proto.Equal(out.Asked[0], mount) {
				t.Errorf("%s: status would show %v, want %v", m[1], out.Asked[0], mount)
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d mounts were recorded", seen, len(want))
	}
}

// recordedSpec is that of the pod whose configs were recorded.
const recordedSpec = `{"hostIPC":true,
	"securityContext":{"supplementalGroups":[3000,4000],"sysctls":[{"name":"net.core.somaxconn","value":"1024"}],"windowsOptions":{"runAsUserName":"1000"}},
	"containers":[{"name":"c","image":"busybox","command":["sleep"],"args":["1"],"workingDir":"/work",
		"ports":[{"hostPort":8080,"containerPort":80}],
		"securityContext":{"privileged":true},
		"resources":{"limits":{"cpu":"500m","memory":"128Mi"},"requests":{"cpu":"250m","memory":"64Mi"}}}]}`

// TestRecorded_Kuberuntime turns the configs that the kubelet's generators make.
func TestRecorded_Kuberuntime(t *testing.T) {
	pod, _ := podOf(t, recordedSpec)
	pod.Name, pod.UID = "p1", "uid-1"
	w := newWindows(t, func(c *Config) { c.Pods, c.Processors = onePod{pod}, 2 })
	parts := strings.Split(recorded(t, "kuberuntime.txt"), "\n=== ")
	if len(parts) != 4 {
		t.Fatalf("%d parts were recorded", len(parts)-1)
	}
	var got strings.Builder
	for _, part := range parts[1:] {
		title, text, _ := strings.Cut(part, "\n")
		text = text[:strings.LastIndex(text, "}")+1]
		var made proto.Message
		if strings.HasPrefix(title, "PodSandboxConfig") {
			asked := &runtimeapi.PodSandboxConfig{}
			if err := protojson.Unmarshal([]byte(text), asked); err != nil {
				t.Fatal(err)
			}
			r, err := w.Pod(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: asked})
			if err != nil {
				t.Fatalf("%s: %v", title, err)
			}
			made = r.GetConfig()
		} else {
			asked := &runtimeapi.ContainerConfig{}
			if err := protojson.Unmarshal([]byte(text), asked); err != nil {
				t.Fatal(err)
			}
			c, err := w.Container(t.Context(), asked, sandboxOf(nil))
			if err != nil {
				t.Fatalf("%s: %v", title, err)
			}
			made = c.Config
		}
		got.WriteString(title + "\n" + stable(t, made) + "\n")
	}
	const golden = "testdata/kuberuntime.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// stable is a message as JSON whose blanks do not change from build to build, as protojson's do.
func stable(t *testing.T, m proto.Message) string {
	t.Helper()
	b, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// sandboxOf is a pod whose image runs as root; target finds containers by name.
func sandboxOf(target func(string) (string, error)) Sandbox {
	return Sandbox{
		UID: "uid-1", Namespaces: &runtimeapi.NamespaceOption{}, ContainerID: target,
		ImageUser: func() (ImageUser, error) { return ImageUser{}, nil },
	}
}

// failingPods is a kubelet that does not answer.
type failingPods struct{ err error }

func (p failingPods) Pod(context.Context, string) (*corev1.Pod, error) { return nil, p.err }
