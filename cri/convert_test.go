package cri

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestConvert_Golden converts the requests in testdata, which are as a kubelet sends
// them, and compares what the domain is asked for.
func TestConvert_Golden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %v, %v", files, err)
	}
	pod := sandbox.PodConfig{LogDirectory: "/var/log/pods/p", Privileged: true}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out any
			if strings.HasPrefix(filepath.Base(file), "pod") {
				var m runtimeapi.PodSandboxConfig
				mustDecode(t, in, &m)
				out, err = podConfig(&m, "big")
			} else {
				var m runtimeapi.ContainerConfig
				mustDecode(t, in, &m)
				out, err = containerConfig(&m, pod)
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(out, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, strings.TrimSuffix(file, ".json")+".golden", string(got)+"\n")
		})
	}
}

func mustDecode(t *testing.T, b []byte, m proto.Message) {
	t.Helper()
	if err := protojson.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
}

func TestPodConfig_Refused(t *testing.T) {
	tests := []struct {
		name, change, field string // change is merged into the config, as JSON
		kind                error
	}{
		{"name_nul", `{"metadata":{"name":"a\u0000"}}`, "config.metadata.name", errdefs.ErrInvalidArgument},
		{"log_directory", `{"logDirectory":"var/log"}`, "config.log_directory", errdefs.ErrInvalidArgument},
		{"hostname", `{"hostname":"a b"}`, "config.hostname", errdefs.ErrInvalidArgument},
		{"dns_server", `{"dnsConfig":{"servers":["one"]}}`, "config.dns_config.servers[0]", errdefs.ErrInvalidArgument},
		{"dns_newline", `{"dnsConfig":{"searches":["a\nnameserver 1.1.1.1"]}}`, "config.dns_config.searches[0]", errdefs.ErrInvalidArgument},
		{"port", `{"portMappings":[{"containerPort":70000}]}`, "config.port_mappings[0].container_port", errdefs.ErrInvalidArgument},
		{"protocol", `{"portMappings":[{"containerPort":7,"protocol":9}]}`, "config.port_mappings[0].protocol", errdefs.ErrInvalidArgument},
		{"sysctl", `{"linux":{"sysctls":{"a=b":"1"}}}`, "config.linux.sysctls", errdefs.ErrInvalidArgument},
		{"group_alone", `{"linux":{"securityContext":{"runAsGroup":{"value":"1"}}}}`, "run_as_group", errdefs.ErrInvalidArgument},
		{"ipc_target", `{"linux":{"securityContext":{"namespaceOptions":{"ipc":"TARGET"}}}}`, "namespace_options.ipc", errdefs.ErrInvalidArgument},
		{"users_container", `{"linux":{"securityContext":{"namespaceOptions":{"usernsOptions":{"mode":"CONTAINER"}}}}}`, "userns_options.mode", errdefs.ErrInvalidArgument},
		{"users_node", `{"linux":{"securityContext":{"namespaceOptions":{"usernsOptions":{"mode":"NODE","uids":[{"length":1}]}}}}}`, "userns_options", errdefs.ErrInvalidArgument},
		{"users_two", `{"linux":{"securityContext":{"namespaceOptions":{"usernsOptions":{"mode":"POD","uids":[{"length":1},{"containerId":1,"length":1}],"gids":[{"length":1}]}}}}}`,
			"userns_options", errdefs.ErrInvalidArgument},
		{"users_root", `{"linux":{"securityContext":{"namespaceOptions":{"usernsOptions":{"mode":"POD","uids":[{"containerId":1,"length":1}],"gids":[{"length":1}]}}}}}`,
			"userns_options.uids", errdefs.ErrInvalidArgument},
		{"users_many", `{"linux":{"securityContext":{"namespaceOptions":{"usernsOptions":{"mode":"POD","uids":[{"length":1}],"gids":[{"hostId":4294967295,"length":9}]}}}}}`,
			"userns_options.gids", errdefs.ErrInvalidArgument},
		{"overhead", `{"linux":{"overhead":{"cpuQuota":"-9"}}}`, "config.linux.overhead.cpu_quota", errdefs.ErrInvalidArgument},
		{"selinux", `{"linux":{"securityContext":{"selinuxOptions":{"level":"s0"}}}}`, "selinux_options", errdefs.ErrNotImplemented},
		{"windows", `{"windows":{"securityContext":{"hostProcess":true}}}`, "config.windows", errdefs.ErrNotImplemented},
		{"negative_limit", `{"linux":{"resources":{"memoryLimitInBytes":"-5"}}}`, "memory_limit_in_bytes", errdefs.ErrInvalidArgument},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := testPod()
			var change runtimeapi.PodSandboxConfig
			mustDecode(t, []byte(tt.change), &change)
			proto.Merge(c, &change)
			_, err := podConfig(c, "")
			checkRefused(t, err, tt.kind, tt.field)
		})
	}
}

func TestContainerConfig_Refused(t *testing.T) {
	tests := []struct {
		name, change, field string
		kind                error
	}{
		{"devices", `{"devices":[{"containerPath":"/dev/fuse"}]}`, "config.devices[0].host_path", errdefs.ErrInvalidArgument},
		{"device_path", `{"devices":[{"containerPath":"dev/fuse","hostPath":"/dev/fuse"}]}`, "config.devices[0].container_path", errdefs.ErrInvalidArgument},
		{"device_dots", `{"devices":[{"containerPath":"/dev/fuse","hostPath":"/dev/../etc"}]}`, "config.devices[0].host_path", errdefs.ErrInvalidArgument},
		{"device_access", `{"devices":[{"containerPath":"/dev/fuse","hostPath":"/dev/fuse","permissions":"rx"}]}`, "config.devices[0].permissions", errdefs.ErrInvalidArgument},
		{"cdi", `{"CDIDevices":[{"name":"v/c=d"}]}`, "unresolvable CDI devices v/c=d", errdefs.ErrInvalidArgument},
		{"log_path", `{"logPath":"../../etc/passwd"}`, "config.log_path", errdefs.ErrInvalidArgument},
		{"log_path_folder", `{"logPath":"web/.."}`, "config.log_path", errdefs.ErrInvalidArgument},
		{"log_path_slash", `{"logPath":"web/"}`, "config.log_path", errdefs.ErrInvalidArgument},
		{"working_dir", `{"workingDir":"tmp"}`, "config.working_dir", errdefs.ErrInvalidArgument},
		{"arg_nul", `{"args":["a\u0000b"]}`, "config.args[0]", errdefs.ErrInvalidArgument},
		{"env_name", `{"envs":[{"key":"A=B"}]}`, "config.envs", errdefs.ErrInvalidArgument},
		{"env_bytes", `{"envs":[{"key":"A","value":"/w=="}]}`, "config.envs[A]", errdefs.ErrInvalidArgument},
		{"signal", `{"stopSignal":999}`, "config.stop_signal", errdefs.ErrInvalidArgument},
		{"stdin_once", `{"stdinOnce":true}`, "config.stdin_once", errdefs.ErrInvalidArgument},
		{"privileged", `{"linux":{"securityContext":{"privileged":true}}}`, "privileged", errdefs.ErrInvalidArgument},
		{"user_twice", `{"linux":{"securityContext":{"runAsUser":{"value":"1"},"runAsUsername":"a"}}}`, "run_as_username", errdefs.ErrInvalidArgument},
		{"user_range", `{"linux":{"securityContext":{"runAsUser":{"value":"-1"}}}}`, "run_as_user", errdefs.ErrInvalidArgument},
		{"seccomp_local", `{"linux":{"securityContext":{"seccomp":{"profileType":"Localhost","localhostRef":"p.json"}}}}`, "seccomp.localhost_ref", errdefs.ErrInvalidArgument},
		{"apparmor", `{"linux":{"securityContext":{"apparmor":{"profileType":"Localhost","localhostRef":"p"}}}}`, "apparmor", errdefs.ErrNotImplemented},
		{"legacy_seccomp", `{"linux":{"securityContext":{"seccompProfilePath":"p"}}}`, "seccomp_profile_path", errdefs.ErrNotImplemented},
		{"quota", `{"linux":{"resources":{"cpuQuota":"-2"}}}`, "cpu_quota", errdefs.ErrInvalidArgument},
		{"memory_tiny", `{"linux":{"resources":{"memoryLimitInBytes":"100"}}}`, "config.linux.resources.memory_limit_in_bytes", errdefs.ErrInvalidArgument},
		{"cpuset", `{"linux":{"resources":{"cpusetCpus":"x"}}}`, "config.linux.resources.cpuset_cpus", errdefs.ErrInvalidArgument},
		{"unified", `{"linux":{"resources":{"unified":{"nope.max":"1"}}}}`, "config.linux.resources.unified", errdefs.ErrInvalidArgument},
		{"page_size", `{"linux":{"resources":{"hugepageLimits":[{"pageSize":"big"}]}}}`, "page_size", errdefs.ErrInvalidArgument},
		{"pid_target", `{"linux":{"securityContext":{"namespaceOptions":{"pid":"TARGET"}}}}`, "namespace_options.target_id", errdefs.ErrInvalidArgument},
		{"target_alone", `{"linux":{"securityContext":{"namespaceOptions":{"targetId":"c"}}}}`, "namespace_options.target_id", errdefs.ErrInvalidArgument},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := testContainer()
			var change runtimeapi.ContainerConfig
			mustDecode(t, []byte(tt.change), &change)
			proto.Merge(c, &change)
			_, err := containerConfig(c, sandbox.PodConfig{LogDirectory: "/var/log/pods/p"})
			checkRefused(t, err, tt.kind, tt.field)
		})
	}
}

func checkRefused(t *testing.T, err, kind error, field string) {
	t.Helper()
	if codeOf(err) != codeOf(kind) || !strings.Contains(err.Error(), field) {
		t.Errorf("= %v, want %v that names %s", err, kind, field)
	}
}

func TestSignals_BothWays(t *testing.T) {
	for n := range runtimeapi.Signal_name {
		want := runtimeapi.Signal(n)
		name, err := signalName("f", want)
		if err != nil {
			t.Errorf("signalName(%v) = %v", want, err)
		}
		if name == "" {
			continue
		}
		if got := signalEnum(name); got != want {
			t.Errorf("signalEnum(%q) = %v, want %v", name, got, want)
		}
	}
	for in, want := range map[string]runtimeapi.Signal{
		"15": runtimeapi.Signal_SIGNAL_SIGTERM, "term": runtimeapi.Signal_SIGNAL_SIGTERM, "SIGQUIT": runtimeapi.Signal_SIGNAL_SIGQUIT,
		"": runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT, "x": runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT, "99": runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT,
	} {
		if got := signalEnum(in); got != want {
			t.Errorf("signalEnum(%q) = %v, want %v", in, got, want)
		}
	}
}
