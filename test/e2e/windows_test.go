package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	podsv1alpha1 "k8s.io/kubelet/pkg/apis/pods/v1alpha1"
)

// kubeletPods is a kubelet's Pods API with one pod.
type kubeletPods struct {
	podsv1alpha1.UnimplementedPodsServer
	pod *corev1.Pod
}

func (k *kubeletPods) GetPod(_ context.Context, r *podsv1alpha1.GetPodRequest) (*podsv1alpha1.GetPodResponse, error) {
	if r.GetPodUID() != string(k.pod.UID) {
		return nil, status.Error(codes.NotFound, "no such pod")
	}
	b, err := k.pod.Marshal()
	return &podsv1alpha1.GetPodResponse{Pod: b}, err
}

// windowsSpec is the pod as its author wrote it; its uid is filled in.
const windowsSpec = `{"metadata":{"name":"win","namespace":"e2e","uid":%q},"spec":{
"securityContext":{"runAsUser":1000,"runAsGroup":1000,"fsGroup":2000,"seccompProfile":{"type":"RuntimeDefault"}},
"containers":[{"name":"c","resources":{"limits":{"memory":"128Mi","cpu":"1"}},"securityContext":{"readOnlyRootFilesystem":true,
"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]},"status":{"qosClass":"Burstable"}}`

// TestWindowsKubelet: a pod as a Windows kubelet asks for it, in a VM, is what its author
// wrote for Linux; a pod whose spec the kubelet does not have is refused.
func TestWindowsKubelet(t *testing.T) {
	drive := t.TempDir()
	uid := filepath.Base(drive) + "-uid"
	k := &kubeletPods{pod: &corev1.Pod{}}
	if err := json.Unmarshal(fmt.Appendf(nil, windowsSpec, uid), k.pod); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(drive, "pods.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	podsv1alpha1.RegisterPodsServer(g, k)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		<-served
	})
	s := ownServer(t, serverConfig{extra: fmt.Sprintf(`
[windows_kubelet]
dialect = "on"
pods_api = "unix://%s"
[windows_kubelet.drives]
c = %q
`, socket, drive)})

	// As the kubelet does before it asks.
	for name, text := range map[string]string{"etc-hosts": "10.0.0.9 kubelet-wrote-this\n", "term": ""} {
		path := filepath.Join(drive, "kubelet", "pods", uid, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, text)
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(drive, "log", "c"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	config := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "win", Namespace: "e2e", Uid: uid}, Hostname: "win", LogDirectory: `\log`,
		Linux:   &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}, Seccomp: &cri.SecurityProfile{}}},
		Windows: &cri.WindowsPodSandboxConfig{SecurityContext: &cri.WindowsSandboxSecurityContext{}},
	}
	run, err := s.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{t: t, s: s, id: run.GetPodSandboxId(), config: config}
	t.Cleanup(p.remove)
	c := sh("c", `echo "$(id -u):$(id -g) $(id -G)"; cat /etc/hosts; touch /x 2>/dev/null || echo read-only
awk '/^CapEff|^NoNewPrivs|^Seccomp:/ {print $1 $2}' /proc/self/status; echo bye > /dev/termination-log`)
	c.Linux = nil
	c.LogPath = `c\0.log`
	c.Mounts = []*cri.Mount{
		{ContainerPath: `C:\Windows\System32\drivers\etc\hosts`, HostPath: `c:\kubelet\pods\` + uid + `\etc-hosts`},
		{ContainerPath: "c:/dev/termination-log", HostPath: `c:\kubelet\pods\` + uid + `\term`},
	}
	c.Annotations = map[string]string{"io.kubernetes.container.terminationMessagePath": "/dev/termination-log"}
	c.Windows = &cri.WindowsContainerConfig{
		Resources: &cri.WindowsContainerResources{MemoryLimitInBytes: 128 << 20}, SecurityContext: &cri.WindowsContainerSecurityContext{},
	}
	ctr := p.start(c)
	st := ctr.wait()
	if st.GetExitCode() != 0 || st.GetLogPath() != `c:\log\c\0.log` || st.GetMounts()[0].GetContainerPath() != c.Mounts[0].ContainerPath {
		t.Errorf("status = %v", st)
	}
	log := read(t, filepath.Join(drive, "log", "c", "0.log"))
	for _, want := range []string{" 1000:1000 ", "2000", "kubelet-wrote-this", "read-only", "CapEff:0000000000000000", "NoNewPrivs:1", "Seccomp:2"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
	if got := read(t, filepath.Join(drive, "kubelet", "pods", uid, "term")); got != "bye\n" {
		t.Errorf("the termination log is %q", got)
	}

	other := podConfig(t)
	other.Windows = &cri.WindowsPodSandboxConfig{}
	_, err = s.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: other})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "knows no pod") {
		t.Errorf("a pod without a spec = %v, want it refused", err)
	}
}
