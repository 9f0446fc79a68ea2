package dialect

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// askPod is the request for a pod of the spec, and what a change makes of it.
func askPod(change string) *runtimeapi.RunPodSandboxRequest {
	c := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "p", Namespace: "default", Uid: "u"},
		Windows:  &runtimeapi.WindowsPodSandboxConfig{},
	}
	if change != "" {
		more := &runtimeapi.PodSandboxConfig{}
		if err := protojson.Unmarshal([]byte(change), more); err != nil {
			panic(err)
		}
		proto.Merge(c, more)
	}
	return &runtimeapi.RunPodSandboxRequest{Config: c}
}

// TestPod_Linux is what a sandbox's Linux section gets of the spec besides what was sent.
func TestPod_Linux(t *testing.T) {
	const noLimits = `"resources":{"cpuPeriod":"100000","cpuShares":"2"}`
	for name, tt := range map[string]struct{ spec, asked, want string }{
		"nothing":       {``, ``, `{` + noLimits + `,"securityContext":{}}`},
		"sent_stays":    {``, `{"linux":{"sysctls":{"a":"b"},"securityContext":{"privileged":true}}}`, `{` + noLimits + `,"sysctls":{"a":"b"},"securityContext":{"privileged":true}}`},
		"user":          {`"securityContext":{"runAsUser":7,"runAsGroup":8}`, ``, `{` + noLimits + `,"securityContext":{"runAsUser":{"value":"7"},"runAsGroup":{"value":"8"}}}`},
		"group_alone":   {`"securityContext":{"runAsGroup":8}`, ``, `{` + noLimits + `,"securityContext":{}}`},
		"fs_group":      {`"securityContext":{"fsGroup":9}`, `{"linux":{"securityContext":{"supplementalGroups":["3"]}}}`, `{` + noLimits + `,"securityContext":{"supplementalGroups":["9","3"]}}`},
		"selinux":       {`"securityContext":{"seLinuxOptions":{"level":"s0"}}`, ``, `{` + noLimits + `,"securityContext":{"selinuxOptions":{"level":"s0"}}}`},
		"host_users":    {`"hostUsers":true`, ``, `{` + noLimits + `,"securityContext":{}}`},
		"no_host_users": {`"hostUsers":false`, ``, `{` + noLimits + `,"securityContext":{"namespaceOptions":{"pid":"CONTAINER","usernsOptions":{}}}}`},
		"users_of_sent": {`"hostUsers":false`, `{"linux":{"securityContext":{"namespaceOptions":{"pid":"POD"}}}}`, `{` + noLimits + `,"securityContext":{"namespaceOptions":{"usernsOptions":{}}}}`},
		"overhead":      {`"overhead":{"cpu":"50m","memory":"230Mi"}`, ``, `{` + noLimits + `,"overhead":{"cpuPeriod":"100000","cpuQuota":"5000","cpuShares":"51","memoryLimitInBytes":"241172480"},"securityContext":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			spec := `{"containers":[{"name":"c"}]`
			if tt.spec != "" {
				spec += "," + tt.spec
			}
			pod, _ := podOf(t, spec+"}")
			asked := askPod(tt.asked)
			before := stable(t, asked)
			got, err := newWindows(t, func(c *Config) { c.Pods = onePod{pod} }).Pod(t.Context(), asked)
			if err != nil {
				t.Fatal(err)
			}
			want := &runtimeapi.LinuxPodSandboxConfig{}
			if err := protojson.Unmarshal([]byte(tt.want), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.GetConfig().GetLinux(), protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if after := stable(t, asked); after != before {
				t.Errorf("the request was changed to %s", after)
			}
		})
	}
}

func TestPod_Refused(t *testing.T) {
	pod, _ := podOf(t, `{"containers":[{"name":"c"}]}`)
	for name, tt := range map[string]struct {
		asked string
		is    func(error) bool
		say   string
	}{
		"host_process": {`{"windows":{"securityContext":{"hostProcess":true}}}`, errdefs.IsInvalidArgument, "config.windows.security_context.host_process"},
		"credentials":  {`{"windows":{"securityContext":{"credentialSpec":"{}"}}}`, errdefs.IsNotImplemented, "config.windows.security_context.credential_spec"},
		"node":         {`{"windows":{"securityContext":{"namespaceOptions":{"network":"NODE"}}}}`, errdefs.IsNotImplemented, "namespace_options.network"},
		"target":       {`{"windows":{"securityContext":{"namespaceOptions":{"network":"TARGET"}}}}`, errdefs.IsInvalidArgument, "TARGET"},
		"logs":         {`{"logDirectory":"c:logs"}`, errdefs.IsInvalidArgument, "config.log_directory"},
		"other_pod":    {`{"metadata":{"name":"q"}}`, errdefs.IsDataLoss, "is default/p, not default/q"},
		"other_space":  {`{"metadata":{"namespace":"n"}}`, errdefs.IsDataLoss, "is default/p, not n/p"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newWindows(t, func(c *Config) { c.Pods, c.DropSecurityContext = onePod{pod}, true }).Pod(t.Context(), askPod(tt.asked))
			if !tt.is(err) || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("Pod = %v, want one that says %q", err, tt.say)
			}
		})
	}
}

// TestPod_DNS drops what a kubelet without resolvers of its own makes up, and nothing else.
func TestPod_DNS(t *testing.T) {
	pod, _ := podOf(t, `{"containers":[{"name":"c"}]}`)
	w := newWindows(t, func(c *Config) { c.Pods = onePod{pod} })
	for asked, want := range map[string]string{
		`{"servers":["127.0.0.1"],"searches":["."]}`:                       ``,
		`{"servers":["127.0.0.1"],"searches":["."],"options":["ndots:5"]}`: `{"options":["ndots:5"]}`,
		`{"servers":["127.0.0.1"]}`:                                        `{"servers":["127.0.0.1"]}`,
		`{"servers":["127.0.0.1"],"searches":["a"]}`:                       `{"servers":["127.0.0.1"],"searches":["a"]}`,
		`{"servers":["127.0.0.1","10.0.0.1"],"searches":["."]}`:            `{"servers":["127.0.0.1","10.0.0.1"],"searches":["."]}`,
	} {
		r, err := w.Pod(t.Context(), askPod(`{"dnsConfig":`+asked+`}`))
		if err != nil {
			t.Fatal(err)
		}
		var expected *runtimeapi.DNSConfig
		if want != "" {
			expected = &runtimeapi.DNSConfig{}
			if err := protojson.Unmarshal([]byte(want), expected); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(expected, r.GetConfig().GetDnsConfig(), protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", asked, diff)
		}
	}
}

// TestContainer_Namespaces: the spec says whose namespaces a container has; its network is the pod's.
func TestContainer_Namespaces(t *testing.T) {
	const ephemeral = `,"ephemeralContainers":[{"name":"e","targetContainerName":"c"}]`
	for name, tt := range map[string]struct{ spec, container, want string }{
		"own":          {``, "c", `{"pid":"CONTAINER"}`},
		"shared":       {`,"shareProcessNamespace":true`, "c", `{"pid":"POD"}`},
		"not_shared":   {`,"shareProcessNamespace":false`, "c", `{"pid":"CONTAINER"}`},
		"host_pid":     {`,"hostPID":true,"shareProcessNamespace":true`, "c", `{"pid":"NODE"}`},
		"host_ipc":     {`,"hostIPC":true`, "c", `{"pid":"CONTAINER","ipc":"NODE"}`},
		"users":        {`,"hostUsers":false`, "c", `{"pid":"CONTAINER","usernsOptions":{}}`},
		"host_network": {`,"hostNetwork":true`, "c", `{"pid":"CONTAINER"}`}, // as the sandbox has it
		"target":       {ephemeral, "e", `{"pid":"TARGET","targetId":"id-of-c"}`},
		"target_pod":   {ephemeral + `,"shareProcessNamespace":true`, "e", `{"pid":"POD"}`},
		"no_target":    {`,"ephemeralContainers":[{"name":"e"}]`, "e", `{"pid":"CONTAINER"}`},
		"init":         {`,"initContainers":[{"name":"i"}]`, "i", `{"pid":"CONTAINER"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := askContainer(t, `{"containers":[{"name":"c"}]`+tt.spec+`}`, tt.container, ``, func(name string) (string, error) { return "id-of-" + name, nil })
			if err != nil {
				t.Fatal(err)
			}
			want := &runtimeapi.NamespaceOption{}
			if err := protojson.Unmarshal([]byte(tt.want), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.GetLinux().GetSecurityContext().GetNamespaceOptions(), protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// askContainer turns a request for a container of a spec.
func askContainer(t *testing.T, spec, name, change string, target func(string) (string, error)) (*runtimeapi.ContainerConfig, error) {
	t.Helper()
	pod, _ := podOf(t, spec)
	pod.UID = "uid-1"
	c := &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: name}, Windows: &runtimeapi.WindowsContainerConfig{}}
	if change != "" {
		more := &runtimeapi.ContainerConfig{}
		if err := protojson.Unmarshal([]byte(change), more); err != nil {
			t.Fatal(err)
		}
		proto.Merge(c, more)
	}
	before := stable(t, c)
	out, err := newWindows(t, func(c *Config) { c.Pods = onePod{pod} }).Container(t.Context(), c, sandboxOf(target))
	if after := stable(t, c); after != before {
		t.Errorf("the request was changed to %s", after)
	}
	return out.Config, err
}

// TestContainer_Propagation brings back how mounts propagate, by the paths that the author wrote.
func TestContainer_Propagation(t *testing.T) {
	const spec = `{"containers":[{"name":"c","volumeMounts":[
		{"name":"a","mountPath":"/a"},{"name":"b","mountPath":"/b","mountPropagation":"None"},
		{"name":"c","mountPath":"/c","mountPropagation":"HostToContainer"},
		{"name":"d","mountPath":"rel/d","mountPropagation":"Bidirectional"}]}]}`
	got, err := askContainer(t, spec, "c", `{"workingDir":"c:\\work","mounts":[
		{"containerPath":"/a","hostPath":"c:\\a"},{"containerPath":"/b","hostPath":"c:\\b"},
		{"containerPath":"/c","hostPath":"c:\\c"},{"containerPath":"c:\\rel/d","hostPath":"c:\\d"}]}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]runtimeapi.MountPropagation{
		"/a": runtimeapi.MountPropagation_PROPAGATION_PRIVATE, "/b": runtimeapi.MountPropagation_PROPAGATION_PRIVATE,
		"/c": runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, "/rel/d": runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL,
	}
	shown := map[string]runtimeapi.MountPropagation{}
	for _, m := range got.GetMounts() {
		shown[m.GetContainerPath()] = m.GetPropagation()
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.GetWorkingDir() != "/work" {
		t.Errorf("working_dir = %q, want /work", got.GetWorkingDir())
	}
}

func TestContainer_Refused(t *testing.T) {
	const plain = `{"containers":[{"name":"c"}]}`
	gone := func(name string) (string, error) {
		return "", fmt.Errorf("no %s: %w", name, errdefs.ErrFailedPrecondition)
	}
	for name, tt := range map[string]struct {
		spec, container, change string
		is                      func(error) bool
		say                     string
	}{
		"host_process": {plain, "c", `{"windows":{"securityContext":{"hostProcess":true}}}`, errdefs.IsInvalidArgument, "config.windows.security_context.host_process"},
		"credentials":  {plain, "c", `{"windows":{"securityContext":{"credentialSpec":"{}"}}}`, errdefs.IsNotImplemented, "config.windows.security_context.credential_spec"},
		"limits":       {plain, "c", `{"windows":{"resources":{"cpuMaximum":"-1"}}}`, errdefs.IsInvalidArgument, "config.windows.resources.cpu_maximum"},
		"working_dir":  {plain, "c", `{"workingDir":"\\\\server\\share"}`, errdefs.IsInvalidArgument, "config.working_dir"},
		"host_path":    {plain, "c", `{"mounts":[{"containerPath":"/a","hostPath":"a"}]}`, errdefs.IsInvalidArgument, "config.mounts[0].host_path"},
		"not_in_spec":  {plain, "x", ``, errdefs.IsFailedPrecondition, `no container "x"`},
		"propagation":  {`{"containers":[{"name":"c","volumeMounts":[{"name":"a","mountPath":"/a","mountPropagation":"New"}]}]}`, "c", ``, errdefs.IsNotImplemented, `"New"`},
		"target_gone":  {`{"containers":[{"name":"c"}],"ephemeralContainers":[{"name":"e","targetContainerName":"c"}]}`, "e", ``, errdefs.IsFailedPrecondition, "targetContainerName: no c"},
		"root":         {`{"containers":[{"name":"c","securityContext":{"runAsNonRoot":true}}]}`, "c", ``, errdefs.IsInvalidArgument, `container "c"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := askContainer(t, tt.spec, tt.container, tt.change, gone)
			if !tt.is(err) || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("Container = %v, want one that says %q", err, tt.say)
			}
		})
	}
}

// TestContainer_NoSpec: what is known without the spec stays as strict as it was asked for.
func TestContainer_NoSpec(t *testing.T) {
	w := newWindows(t, func(c *Config) {
		c.Pods, c.DropSecurityContext, c.Logger = failingPods{errdefs.ErrUnavailable}, true, slog.New(slog.NewTextHandler(t.Output(), nil))
	})
	s := sandboxOf(nil)
	s.Groups, s.StrictGroups = []int64{3}, true
	got, err := w.Container(t.Context(), &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "c"}}, s)
	if err != nil {
		t.Fatal(err)
	}
	sc := got.Config.GetLinux().GetSecurityContext()
	if sc.GetSupplementalGroupsPolicy() != runtimeapi.SupplementalGroupsPolicy_Strict || !cmp.Equal(sc.GetSupplementalGroups(), []int64{3}) {
		t.Errorf("groups = %v, %v, want those of the pod alone", sc.GetSupplementalGroups(), sc.GetSupplementalGroupsPolicy())
	}
	// One whose time has ended is not a reason to go on without.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w = newWindows(t, func(c *Config) { c.Pods, c.DropSecurityContext = failingPods{ctx.Err()}, true })
	if _, err := w.Container(ctx, &runtimeapi.ContainerConfig{}, s); !errdefs.IsCanceled(err) {
		t.Errorf("Container of a caller who has gone = %v, want Canceled", err)
	}
}
