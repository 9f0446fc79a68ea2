package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/sparsefile"
	"github.com/porthole-run/porthole/test/harness"
)

func wantTemplates(t *testing.T, s *server) harness.Templates {
	t.Helper()
	st, err := s.Templates(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// template is the id of the template that a pod's VM is a clone of, and why it is none.
func (p *pod) template() (id, failure string) {
	p.t.Helper()
	r, err := p.s.PodSandboxStatus(testContext(p.t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil {
		p.t.Fatal(err)
	}
	var info struct {
		Shim struct{ Template, TemplateError string } `json:"shim"`
	}
	if err := json.Unmarshal([]byte(r.Info["info"]), &info); err != nil {
		p.t.Fatal(err)
	}
	return info.Shim.Template, info.Shim.TemplateError
}

// templateFiles are the open files of templates that a process has, by path in /proc.
func templateFiles(t *testing.T, pid int) []string {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "/memfd:porthole template") {
			out = append(out, fd)
		}
	}
	return out
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if err := sparsefile.Pack(testContext(t), h, f); err != nil { // a disk is all but holes
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestTemplate_ClonesShareNothing runs pods from one template: of what must be a VM's own
// nothing is in two of them, whether drawn by the kernel or by processes, and what they
// did has not changed the template.
func TestTemplate_ClonesShareNothing(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "on"`})
	files := templateFiles(t, s.PID())
	if len(files) != 3 {
		t.Fatalf("the daemon has open files of templates: %v, want memory, state and scratch disk", files)
	}
	var sums []string
	for _, f := range files {
		sums = append(sums, fileSum(t, f))
	}
	seen := map[string]string{}
	var template string
	for i := range 4 {
		p := runPod(t, s, func(c *cri.PodSandboxConfig) {
			c.Metadata.Name, c.Hostname = fmt.Sprintf("clone-%d", i), fmt.Sprintf("host-%d", i)
		})
		id, failure := p.template()
		if id == "" || template != "" && id != template {
			t.Fatalf("pod %d is a clone of %q (%s), want %q", i, id, failure, template)
		}
		template = id
		var told []string
		// Two processes each: what the first is given, the second is not.
		for range 2 {
			told = append(told, strings.Split(p.output(fmt.Sprint("identity-", len(told)), "/voltool identity",
				func(c *cri.ContainerConfig) { c.Mounts = []*cri.Mount{toolMount(t)} }), "\n")...)
		}
		told = append(told, strings.Split(p.output("net",
			"echo mac $(cat /sys/class/net/eth0/address); echo hostname $(hostname); echo now $(date +%s)"), "\n")...)
		told = append(told, "ip "+p.status().Network.GetIp())
		if len(told) != 2*7+4 {
			t.Fatalf("pod %d tells %q", i, told)
		}
		var boots []string
		for _, line := range told {
			what, value, _ := strings.Cut(line, " ")
			switch {
			case value == "" || strings.Trim(value, "0") == "":
				t.Errorf("pod %d: %s is %q", i, what, value)
			case what == "boot_id":
				boots = append(boots, value)
				continue
			case what == "now":
				sec, _ := strconv.ParseInt(value, 10, 64)
				if off := time.Since(time.Unix(sec, 0)); off > 30*time.Second || off < -5*time.Second {
					t.Errorf("pod %d: its clock is off by %v", i, off)
				}
				continue
			}
			if by, ok := seen[value]; ok {
				t.Errorf("pod %d has the %s %q, which was %s", i, what, value, by)
			}
			seen[value] = fmt.Sprintf("%s of pod %d", what, i)
		}
		boots = slices.Compact(boots)
		if len(boots) != 1 || seen[boots[0]] != "" {
			t.Errorf("pod %d has the boot ids %q, want one of its own (%s)", i, boots, seen[boots[0]])
		}
		seen[boots[0]] = fmt.Sprintf("boot id of pod %d", i)
	}

	for i, f := range files {
		if got := fileSum(t, f); got != sums[i] {
			t.Errorf("%s was %s and is %s", f, sums[i], got)
		}
		w, err := os.OpenFile(f, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.WriteAt([]byte{1}, 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("write to a template = %v, want EPERM", err)
		}
		if err := unix.Fallocate(int(w.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096); !errors.Is(err, unix.EPERM) {
			t.Errorf("hole in a template = %v, want EPERM", err)
		}
	}
	for _, pid := range shimPIDs(t, s) {
		if f := templateFiles(t, pid); len(f) != 0 {
			t.Errorf("shim %d keeps %v open", pid, f)
		}
	}
	if c := wantTemplates(t, s).Status.Counts; c.Clones != 4 || c.Fallbacks != 0 {
		t.Errorf("counts are %+v, want 4 clones", c)
	}
}

// TestTemplate_Sizes: a smaller pod fits a class, for a larger one a class is made, and
// limits hold in a VM that is larger.
func TestTemplate_Sizes(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "on"`})
	sized := func(name string, memory int64) *pod {
		return runPod(t, s, func(c *cri.PodSandboxConfig) {
			c.Metadata.Name = name
			c.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: memory}
		})
	}
	if id, failure := sized("small", 64<<20).template(); id == "" {
		t.Errorf("a small pod is no clone: %s", failure)
	}
	sized("first", 300<<20) // it boots, or waits for its template, whichever is quicker
	if err := s.AwaitTemplates(testContext(t)); err != nil {
		t.Fatal(err)
	}
	p := sized("second", 300<<20)
	if id, failure := p.template(); id == "" {
		t.Errorf("the second pod of a larger size is no clone: %s", failure)
	}
	limited := func(c *cri.ContainerConfig) {
		c.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 32 << 20}
	}
	// busybox's dd holds its block in memory.
	out := p.output("eater", "grep MemTotal /proc/meminfo; dd if=/dev/zero of=/dev/null bs=128M count=1 2>/dev/null; echo $?", limited)
	if total, code, _ := strings.Cut(out, "\n"); code == "0" {
		t.Errorf("a container with 32 MiB used 128 in a VM of %s", total)
	}
	for _, c := range wantTemplates(t, s).Status.Classes {
		if c.State != "ready" {
			t.Errorf("class %+v", c)
		}
	}
}

// TestTemplate_DaemonKilled: clones do not need the daemon that had the template, and the
// next daemon makes one anew.
func TestTemplate_DaemonKilled(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "on"`})
	p := runPod(t, s)
	first, failure := p.template()
	if first == "" {
		t.Fatalf("the pod is no clone: %s", failure)
	}
	k := p.start(sh("sleeper", "exec sleep 600"))
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got := k.exec("echo still here"); got != "still here" {
		t.Errorf("exec after the restart: %q", got)
	}
	// One that does not wait boots, while the template is made.
	early := runPod(t, s, func(c *cri.PodSandboxConfig) { c.Metadata.Name = "early" })
	early.output("early", "true")
	if err := s.AwaitTemplates(testContext(t)); err != nil {
		t.Fatal(err)
	}
	late := runPod(t, s, func(c *cri.PodSandboxConfig) { c.Metadata.Name = "late" })
	if id, failure := late.template(); id == "" || id == first {
		t.Errorf("a pod after the restart is a clone of %q (%s), was %q", id, failure, first)
	}
	if got := k.exec("echo still here"); got != "still here" {
		t.Errorf("exec beside the new template: %q", got)
	}
}

// refusing writes a QEMU that ends when one of its arguments has a part.
func refusing(t *testing.T, part string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in *%s*) echo refused for the test >&2; exit 1;; esac
exec /usr/bin/qemu-system-x86_64 "$@"
`, part)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestTemplate_Fallback: where clones or templates do not work, pods boot, and it is said.
func TestTemplate_Fallback(t *testing.T) {
	t.Run("clones", func(t *testing.T) {
		s := ownServer(t, serverConfig{vm: fmt.Sprintf("template = \"on\"\nqemu = %q", refusing(t, "-incoming"))})
		p := runPod(t, s)
		if id, failure := p.template(); id != "" || !strings.Contains(failure, "refused for the test") {
			t.Errorf("the pod is a clone of %q, failure %q", id, failure)
		}
		if got := p.output("works", "echo works"); got != "works" {
			t.Errorf("output %q", got)
		}
		if c := wantTemplates(t, s).Status.Counts; c.Fallbacks != 1 {
			t.Errorf("counts are %+v, want a fallback", c)
		}
		if err := s.AwaitTemplates(testContext(t)); err != nil { // it is made anew, in vain
			t.Fatal(err)
		}
	})
	t.Run("template", func(t *testing.T) {
		s := ownServer(t, serverConfig{vm: fmt.Sprintf("template = \"on\"\nqemu = %q", refusing(t, "share=on"))})
		p := runPod(t, s)
		if id, failure := p.template(); id != "" || failure != "" {
			t.Errorf("the pod is a clone of %q, failure %q", id, failure)
		}
		if got := p.output("works", "echo works"); got != "works" {
			t.Errorf("output %q", got)
		}
		st := wantTemplates(t, s).Status
		if len(st.Classes) != 1 || st.Classes[0].State != "failed" || !strings.Contains(st.Classes[0].Error, "refused for the test") {
			t.Errorf("status is %+v", st)
		}
	})
	t.Run("off", func(t *testing.T) {
		s := ownServer(t, serverConfig{vm: `template = "off"`})
		if st := wantTemplates(t, s); st.Used || len(templateFiles(t, s.PID())) != 0 {
			t.Errorf("status is %+v", st)
		}
		if id, _ := runPod(t, s).template(); id != "" {
			t.Errorf("the pod is a clone of %q", id)
		}
	})
}

// TestTemplate_FirstPod asks for a pod as soon as the daemon answers, while the template is
// made: it waits for that one, rather than boot beside it.
func TestTemplate_FirstPod(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "on"`})
	begin := time.Now()
	p := runPod(t, s)
	took := time.Since(begin)
	id, failure := p.template()
	t.Logf("the first pod took %v; load average %s", took, loadAverage(t))
	if id == "" {
		t.Errorf("the first pod booted: %q", failure)
	}
	begin = time.Now()
	runPod(t, s, func(c *cri.PodSandboxConfig) { c.Metadata.Name += "-second" })
	t.Logf("the second took %v", time.Since(begin))
}

func loadAverage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))[0]
}
