package crun

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestLogError(t *testing.T) {
	tests := []struct {
		name, log, want string
		invalid         bool
	}{
		{"nothing", "", "crun create: exited with 1", false},
		{"last_error", `{"msg":"a warning", "level":"warning"}` + "\n" + `{"msg":"mount x", "level":"error"}` + "\nnot json\n", "crun create: mount x", false},
		{"cgroup_file", "{\"msg\":\"write `cpuset.cpus`: Numerical result out of range\",\"level\":\"error\"}", "resources: crun create: write `cpuset.cpus`: Numerical result out of range", true},
		{"cgroup_path", "{\"msg\":\"opening file `/sys/fs/cgroup/p/c/memory.nope` for writing: No such file or directory\",\"level\":\"error\"}", "memory.nope", true},
		{"cgroup_unified", `{"msg":"writing file memory.high: Invalid argument","level":"error"}`, "resources: crun create: writing file memory.high", true},
		{"controller", "{\"msg\":\"the requested cgroup controller `rdma` is not available\",\"level\":\"error\"}", "rdma", true},
		{"memory", `{"msg":"OOM: the memory limit could be too low","level":"error"}`, "the memory limit could be too low", true},
		{"folder_on_file", "{\"msg\":\"mount `/run/porthole/shares/42` to `etc/passwd`: Not a directory\",\"level\":\"error\"}", "mount at /etc/passwd: one of a file and a folder", true},
		{"mount", "{\"msg\":\"mount `/run/x` to `etc/x`: Permission denied\",\"level\":\"error\"}", "crun create: mount `/run/x`", false},
		{"seccomp_action", "{\"msg\":\"invalid seccomp action `SCMP_ACT_BANANA`\",\"level\":\"error\"}", "seccomp profile: crun create: invalid", true},
		{"seccomp_operator", "{\"msg\":\"seccomp get operator `SCMP_CMP_X`\",\"level\":\"error\"}", "seccomp profile: crun create: seccomp get operator", true},
		{"seccomp_kernel", "{\"msg\":\"seccomp (SECCOMP_SET_MODE_FILTER): Invalid argument\",\"level\":\"error\"}", "crun create: seccomp (", false},
		{"other_file", "{\"msg\":\"write to `/proc/sys/kernel/x`: Invalid argument\",\"level\":\"error\"}", "crun create: write to", false},
		{"not_in_path", "{\"msg\":\"executable file `nope` not found in $PATH: No such file or directory\", \"level\":\"error\"}", `executable file "nope" not found`, true},
		{"not_at_path", `{"msg":"open executable: No such file or directory","level":"error"}`, `executable file "/cmd" not found or not executable`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := logError("create", "/cmd", 1, []byte(tt.log))
			if !strings.Contains(err.Error(), tt.want) || errdefs.IsInvalidArgument(err) != tt.invalid {
				t.Errorf("logError = %v, want %q, InvalidArgument %v", err, tt.want, tt.invalid)
			}
		})
	}
}

func FuzzLogError(f *testing.F) {
	f.Add([]byte(`{"msg":"x","level":"error"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if logError("create", "c", 1, b) == nil {
			t.Fatal("no error")
		}
	})
}
