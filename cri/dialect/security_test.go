package dialect

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// onePod is Pods with one pod.
type onePod struct{ pod *corev1.Pod }

func (p onePod) Pod(context.Context, string) (*corev1.Pod, error) { return p.pod, nil }

// podOf reads a spec with one container c and returns both.
func podOf(t *testing.T, spec string) (*corev1.Pod, *corev1.Container) {
	t.Helper()
	pod := &corev1.Pod{}
	if err := json.Unmarshal([]byte(`{"metadata":{"name":"p","namespace":"default","uid":"u"}}`), pod); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(spec), &pod.Spec); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	c, _, err := find(pod, "c")
	if err != nil {
		t.Fatal(err)
	}
	return pod, c
}

func newWindows(t testing.TB, change func(*Config)) *Windows {
	t.Helper()
	c := Config{Pods: onePod{}, Processors: 4, MemoryBytes: 1 << 30}
	if change != nil {
		change(&c)
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func ptr[T any](v T) *T { return &v }

// TestSecurity is upstream's rules one by one: what the pod says, what the container says,
// and who wins. want is merged over what every container has.
func TestSecurity(t *testing.T) {
	tests := map[string]struct {
		pod, container string // security contexts
		image          ImageUser
		username       string
		want           string
	}{
		"nothing":                    {"", "", ImageUser{}, "", `{"runAsUser":{}}`},
		"image_uid":                  {"", "", ImageUser{UID: ptr(int64(7))}, "", `{"runAsUser":{"value":"7"}}`},
		"image_name":                 {"", "", ImageUser{Name: "web"}, "web", `{"runAsUsername":"web"}`},
		"image_name_not_sent":        {"", "", ImageUser{Name: "web"}, "", `{"runAsUsername":"web"}`},
		"windows_name":               {"", "", ImageUser{Name: "web"}, "app", `{"runAsUsername":"app"}`},
		"windows_number":             {"", "", ImageUser{Name: "web"}, "1000", `{"runAsUser":{"value":"1000"}}`},
		"windows_long_number":        {"", "", ImageUser{}, "12345678901", `{"runAsUsername":"12345678901"}`},
		"pod_user":                   {`{"runAsUser":1,"runAsGroup":2}`, "", ImageUser{Name: "web"}, "web", `{"runAsUser":{"value":"1"},"runAsGroup":{"value":"2"}}`},
		"container_user":             {`{"runAsUser":1,"runAsGroup":2}`, `{"runAsUser":3}`, ImageUser{}, "app", `{"runAsUser":{"value":"3"},"runAsGroup":{"value":"2"}}`},
		"container_root":             {`{"runAsUser":1}`, `{"runAsUser":0,"runAsGroup":0}`, ImageUser{}, "", `{"runAsUser":{},"runAsGroup":{}}`},
		"group_alone":                {"", `{"runAsGroup":5}`, ImageUser{UID: ptr(int64(7))}, "", `{"runAsUser":{"value":"7"},"runAsGroup":{"value":"5"}}`},
		"non_root":                   {`{"runAsNonRoot":true}`, "", ImageUser{UID: ptr(int64(7))}, "", `{"runAsUser":{"value":"7"}}`},
		"non_root_off":               {`{"runAsNonRoot":true}`, `{"runAsNonRoot":false}`, ImageUser{}, "", `{"runAsUser":{}}`},
		"privileged":                 {"", `{"privileged":true}`, ImageUser{}, "", `{"privileged":true,"runAsUser":{}}`},
		"read_only":                  {"", `{"readOnlyRootFilesystem":true}`, ImageUser{}, "", `{"readonlyRootfs":true,"runAsUser":{}}`},
		"no_escalation":              {"", `{"allowPrivilegeEscalation":false}`, ImageUser{}, "", `{"noNewPrivs":true,"runAsUser":{}}`},
		"escalation":                 {"", `{"allowPrivilegeEscalation":true}`, ImageUser{}, "", `{"runAsUser":{}}`},
		"capabilities":               {"", `{"capabilities":{"add":["NET_ADMIN"],"drop":["ALL"]}}`, ImageUser{}, "", `{"runAsUser":{},"capabilities":{"addCapabilities":["NET_ADMIN"],"dropCapabilities":["ALL"]}}`},
		"no_capabilities":            {"", `{"capabilities":{}}`, ImageUser{}, "", `{"runAsUser":{},"capabilities":{}}`},
		"groups":                     {`{"fsGroup":9,"supplementalGroups":[4,3]}`, "", ImageUser{}, "", `{"runAsUser":{},"supplementalGroups":["9","4","3"]}`},
		"strict":                     {`{"supplementalGroupsPolicy":"Strict"}`, "", ImageUser{}, "", `{"runAsUser":{},"supplementalGroupsPolicy":"Strict"}`},
		"pod_seccomp":                {`{"seccompProfile":{"type":"RuntimeDefault"}}`, "", ImageUser{}, "", `{"runAsUser":{},"seccomp":{"profileType":"RuntimeDefault"}}`},
		"container_seccomp":          {`{"seccompProfile":{"type":"RuntimeDefault"}}`, `{"seccompProfile":{"type":"Unconfined"}}`, ImageUser{}, "", `{"runAsUser":{}}`},
		"localhost_seccomp":          {"", `{"seccompProfile":{"type":"Localhost","localhostProfile":"a/b.json"}}`, ImageUser{}, "", `{"runAsUser":{},"seccomp":{"profileType":"Localhost","localhostRef":"c:\\var\\lib\\kubelet\\seccomp\\a\\b.json"}}`},
		"selinux":                    {`{"seLinuxOptions":{"level":"s0"}}`, "", ImageUser{}, "", `{"runAsUser":{},"selinuxOptions":{"level":"s0"}}`},
		"container_selinux":          {`{"seLinuxOptions":{"level":"s0","user":"u"}}`, `{"seLinuxOptions":{"level":"s1"}}`, ImageUser{}, "", `{"runAsUser":{},"selinuxOptions":{"level":"s1"}}`},
		"pod_apparmor":               {`{"appArmorProfile":{"type":"RuntimeDefault"}}`, "", ImageUser{}, "", `{"runAsUser":{},"apparmor":{"profileType":"RuntimeDefault"}}`},
		"container_apparmor":         {`{"appArmorProfile":{"type":"RuntimeDefault"}}`, `{"appArmorProfile":{"type":"Localhost","localhostProfile":"p"}}`, ImageUser{}, "", `{"runAsUser":{},"apparmor":{"profileType":"Localhost","localhostRef":"p"}}`},
		"pod_fields_of_pod_only":     {`{"runAsUser":1,"fsGroup":9}`, `{"runAsUser":2}`, ImageUser{}, "", `{"runAsUser":{"value":"2"},"supplementalGroups":["9"]}`},
		"container_without_the_pods": {"", `{"runAsUser":2,"runAsNonRoot":true}`, ImageUser{}, "", `{"runAsUser":{"value":"2"}}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod, c := podOf(t, specOf(tt.pod, tt.container))
			got, err := newWindows(t, nil).security(pod, c, tt.image, tt.username)
			if err != nil {
				t.Fatal(err)
			}
			want := &runtimeapi.LinuxContainerSecurityContext{}
			if err := protojson.Unmarshal([]byte(tt.want), want); err != nil {
				t.Fatal(err)
			}
			if want.Seccomp == nil {
				want.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
			}
			want.MaskedPaths, want.ReadonlyPaths = maskedPaths, readonlyPaths
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func specOf(pod, container string) string {
	c := `"name":"c"`
	if container != "" {
		c += `,"securityContext":` + container
	}
	spec := `{"containers":[{` + c + `}]`
	if pod != "" {
		spec += `,"securityContext":` + pod
	}
	return spec + "}"
}

func TestSecurity_Refused(t *testing.T) {
	tests := map[string]struct {
		pod, container string
		image          ImageUser
		username       string
		kind           func(error) bool
		text           string
	}{
		"non_root_is_root":     {`{"runAsNonRoot":true}`, "", ImageUser{}, "", errdefs.IsInvalidArgument, "would run as root"},
		"non_root_uid_0":       {`{"runAsNonRoot":true}`, `{"runAsUser":0}`, ImageUser{UID: ptr(int64(7))}, "", errdefs.IsInvalidArgument, "would run as root"},
		"non_root_image_0":     {"", `{"runAsNonRoot":true}`, ImageUser{UID: ptr(int64(0))}, "", errdefs.IsInvalidArgument, "would run as root"},
		"non_root_name":        {`{"runAsNonRoot":true}`, "", ImageUser{Name: "web"}, "web", errdefs.IsInvalidArgument, `"web"`},
		"non_root_number_0":    {`{"runAsNonRoot":true}`, "", ImageUser{}, "000", errdefs.IsInvalidArgument, "would run as root"},
		"seccomp_type":         {"", `{"seccompProfile":{"type":"New"}}`, ImageUser{}, "", errdefs.IsNotImplemented, `"New"`},
		"seccomp_no_name":      {"", `{"seccompProfile":{"type":"Localhost"}}`, ImageUser{}, "", errdefs.IsInvalidArgument, "localhostProfile"},
		"seccomp_out":          {"", `{"seccompProfile":{"type":"Localhost","localhostProfile":"../../x"}}`, ImageUser{}, "", errdefs.IsInvalidArgument, "holds .."},
		"seccomp_out_windows":  {"", `{"seccompProfile":{"type":"Localhost","localhostProfile":"..\\..\\x"}}`, ImageUser{}, "", errdefs.IsInvalidArgument, "holds .."},
		"apparmor_type":        {"", `{"appArmorProfile":{"type":"New"}}`, ImageUser{}, "", errdefs.IsNotImplemented, `"New"`},
		"groups_policy":        {`{"supplementalGroupsPolicy":"New"}`, "", ImageUser{}, "", errdefs.IsNotImplemented, `"New"`},
		"mapped_by_other_name": {`{"runAsNonRoot":true}`, "", ImageUser{}, "ContainerUser", errdefs.IsInvalidArgument, "ContainerUser"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod, c := podOf(t, specOf(tt.pod, tt.container))
			_, err := newWindows(t, nil).security(pod, c, tt.image, tt.username)
			if !tt.kind(err) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("= %v, want one that says %q", err, tt.text)
			}
		})
	}
}

func TestSecurity_ProcMountAndSeccompDefault(t *testing.T) {
	pod, c := podOf(t, specOf("", `{"procMount":"Unmasked"}`))
	got, err := newWindows(t, func(c *Config) { c.SeccompDefault = true }).security(pod, c, ImageUser{}, "")
	if err != nil || len(got.MaskedPaths)+len(got.ReadonlyPaths) != 0 || got.Seccomp.GetProfileType() != runtimeapi.SecurityProfile_RuntimeDefault {
		t.Errorf("= %v, %v, want nothing masked and RuntimeDefault", got, err)
	}
}

// TestSecurity_AppArmorAnnotation: a static pod may still say it so.
func TestSecurity_AppArmorAnnotation(t *testing.T) {
	for value, want := range map[string]*runtimeapi.SecurityProfile{
		"runtime/default": {ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
		"unconfined":      {ProfileType: runtimeapi.SecurityProfile_Unconfined},
		"localhost/p":     {ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: "p"},
	} {
		pod, c := podOf(t, specOf(`{"appArmorProfile":{"type":"Unconfined"}}`, ""))
		pod.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/c": value}
		got, err := newWindows(t, nil).security(pod, c, ImageUser{}, "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Apparmor, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", value, diff)
		}
	}
}
