package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]int{
		"": 15, "SIGTERM": 15, "TERM": 15, "term": 15, "sigterm": 15, "15": 15, "9": 9, "SIGKILL": 9, "64": 64,
		"SIGRTMIN": 34, "RTMIN+3": 37, "SIGRTMIN+3": 37, "SIGRTMINPLUS15": 49, "SIGRTMAX": 64, "RTMAX-2": 62, "SIGRTMAXMINUS14": 50,
	} {
		if got, err := parseSignal(in); err != nil || got != want {
			t.Errorf("parseSignal(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"0", "-1", "65", "SIG", "SIGFOO", "RTMIN+31", "RTMIN-1", "RTMAX-31", "RTMIN+", "RTMIN+999", "TERM ", "1e1"} {
		if got, err := parseSignal(in); !errdefs.IsInvalidArgument(err) {
			t.Errorf("parseSignal(%q) = %d, %v; want InvalidArgument", in, got, err)
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	for _, s := range []string{"", "SIGTERM", "15", "SIGRTMIN+3", "SIGRTMAXMINUS2", "-1", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSignal(s)
		if err == nil && (n < 1 || n > sigRTMax) || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Fatalf("parseSignal(%q) = %d, %v", s, n, err)
		}
	})
}

func FuzzRecords(f *testing.F) {
	id := strings.Repeat("0", 32)
	for _, r := range []any{
		podRecord{Version: 1, ID: id, State: "ready", Config: PodConfig{Name: "p"}, Network: &NetworkResult{IPs: []string{"10.0.0.1"}}},
		containerRecord{Version: 1, ID: id, PodID: id, State: "running", StopSignal: "SIGTERM"},
		podRecord{Version: 2, ID: id, State: "flying"},
		map[string]any{"version": 1, "id": "../../etc", "state": "ready"},
	} {
		data, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("{"))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := decodePodRecord(data); err == nil {
			if !validID(p.ID) || p.Version != recordVersion {
				t.Fatalf("took pod record %+v", p)
			}
			if _, err := json.Marshal(p); err != nil {
				t.Fatal(err)
			}
		}
		if c, err := decodeContainerRecord(data); err == nil && (!validID(c.ID) || !validID(c.PodID) || c.Version != recordVersion) {
			t.Fatalf("took container record %+v", c)
		}
	})
}

func TestRecordRoundTrip(t *testing.T) {
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	uid := int64(0)
	p := podRecord{
		Version: 1, ID: newID(), State: "ready", CreatedAt: at, Reason: "r",
		Config:  PodConfig{Name: "p", Labels: map[string]string{"a": "b"}, Security: Security{RunAsUser: &uid}},
		Network: &NetworkResult{Namespace: "ns", NICs: []PodNIC{{NIC: NIC{Name: "eth0"}, Routes: []Route{{Destination: "0.0.0.0/0"}}}}},
	}
	c := containerRecord{
		Version: 1, ID: newID(), PodID: p.ID, State: "exited", CreatedAt: at, StartedAt: at.Add(1), FinishedAt: at.Add(2),
		ExitCode: 3, Reason: "Error", Message: "m", StopSignal: "SIGTERM", Config: ContainerConfig{Name: "c"},
		User: ResolvedUser{UID: 1, AdditionalGIDs: []uint32{2}},
	}
	if err := errors.Join(s.makePodDir(p.ID), s.savePod(p), s.saveContainer(c)); err != nil {
		t.Fatal(err)
	}
	pods, broken, err := s.load()
	if err != nil || len(broken) != 0 || len(pods) != 1 {
		t.Fatalf("load = %v, %v, %v", pods, broken, err)
	}
	if diff := cmp.Diff(stored{pod: p, containers: []containerRecord{c}}, pods[0], cmp.AllowUnexported(stored{}, brokenRecord{})); diff != "" {
		t.Errorf("load (-want +got):\n%s", diff)
	}
}

func TestTransitions(t *testing.T) {
	var b bytes.Buffer
	for from := podMaking; from <= podRemoving; from++ {
		for e := podMade; e <= podRecovered; e++ {
			if to, err := step(podTransitions, from, e); err == nil {
				fmt.Fprintf(&b, "pod %s %s %s\n", from, e, to)
			} else if !errdefs.IsFailedPrecondition(err) {
				t.Errorf("step(%s, %s) = %v, want FailedPrecondition", from, e, err)
			}
		}
	}
	for from := containerCreating; from <= containerRemoving; from++ {
		for e := containerMade; e <= containerRemove; e++ {
			if to, err := step(containerTransitions, from, e); err == nil {
				fmt.Fprintf(&b, "container %s %s %s\n", from, e, to)
			}
		}
	}
	golden := filepath.Join("testdata", "transitions.golden")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, b.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
}

func TestResolvConf(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	stub := write("stub", "nameserver 127.0.0.53\nsearch a\n")
	host := write("host", "# c\nsearch x y\nnameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\noptions edns0\nnonsense\n")
	cni := NetworkResult{DNSServers: []string{"10.0.0.1"}, DNSSearch: []string{"cni"}}
	for name, tt := range map[string]struct {
		asked DNS
		files []string
		want  string
	}{
		"asked":        {DNS{Servers: []string{"1.1.1.1"}}, []string{host}, "nameserver 1.1.1.1\n"},
		"host":         {DNS{}, []string{host}, "search x y\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions edns0\n"},
		"after-stub":   {DNS{}, []string{stub, host}, "search x y\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions edns0\n"},
		"only-stub":    {DNS{}, []string{stub}, "search cni\nnameserver 10.0.0.1\n"},
		"missing-file": {DNS{}, []string{filepath.Join(dir, "no")}, "search cni\nnameserver 10.0.0.1\n"},
	} {
		if got := resolvConf(tt.asked, tt.files, cni); got != tt.want {
			t.Errorf("%s: resolvConf = %q, want %q", name, got, tt.want)
		}
	}
}

func TestResourcesValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		r     Resources
		field string // empty: it is fine
	}{
		"none":           {Resources{}, ""},
		"all":            {Resources{CPUPeriod: 1000, CPUQuota: -1, CPUShares: 2, MemoryLimit: minMemoryLimit, MemorySwapLimit: -1, CpusetCPUs: "0-2,7", CpusetMems: "0"}, ""},
		"unified":        {Resources{Unified: map[string]string{"hugetlb.2MB.max": "0", "cpu.weight.nice": "1", "memory.high": "max", "io.max": "8:0 rbps=1"}}, ""},
		"memory":         {Resources{MemoryLimit: 100}, "memory_limit_in_bytes"},
		"memory-huge":    {Resources{MemoryLimit: 99_999_999_999_999}, "memory_limit_in_bytes"},
		"swap":           {Resources{MemoryLimit: 8 * mib, MemorySwapLimit: 4 * mib}, "memory_swap_limit_in_bytes"},
		"period":         {Resources{CPUPeriod: 10}, "cpu_period"},
		"quota":          {Resources{CPUQuota: 10}, "cpu_quota"},
		"shares":         {Resources{CPUShares: -1}, "cpu_shares"},
		"oom":            {Resources{OOMScoreAdj: 1001}, "oom_score_adj"},
		"cpuset":         {Resources{CpusetCPUs: "3-1"}, "cpuset_cpus"},
		"cpuset-huge":    {Resources{CpusetCPUs: "65535"}, "cpuset_cpus"},
		"cpuset-words":   {Resources{CpusetCPUs: "0,all"}, "cpuset_cpus"},
		"mems":           {Resources{CpusetMems: "1"}, "cpuset_mems"},
		"page":           {Resources{HugepageLimits: []HugepageLimit{{}}}, "hugepage_limits[0].page_size"},
		"unified-none":   {Resources{Unified: map[string]string{"nope.max": "1"}}, "unified"},
		"unified-cgroup": {Resources{Unified: map[string]string{"cgroup.procs": "1"}}, "unified"},
		"unified-path":   {Resources{Unified: map[string]string{"../memory.max": "1"}}, "unified"},
		"unified-empty":  {Resources{Unified: map[string]string{"memory.max": ""}}, "unified"},
		"unified-lines":  {Resources{Unified: map[string]string{"memory.max": "1\n2"}}, "unified"},
	} {
		err := tt.r.Validate("resources")
		if tt.field == "" && err != nil ||
			tt.field != "" && (!errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), "resources."+tt.field+": ")) {
			t.Errorf("%s: Validate = %v, want it to refuse %q", name, err, tt.field)
		}
	}
}

func TestResourcesFit(t *testing.T) {
	for list, vcpus := range map[string]int{"": 1, "0": 1, "0-1,3": 4, "99": 0} {
		if err := (Resources{CpusetCPUs: list}).fits("r", vcpus); err != nil {
			t.Errorf("%q with %d vCPUs: %v", list, vcpus, err)
		}
	}
	err := Resources{CpusetCPUs: "0,2"}.fits("r", 2)
	if !errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), `r.cpuset_cpus: "0,2"`) {
		t.Errorf("fits = %v, want InvalidArgument", err)
	}
}

func FuzzLastOf(f *testing.F) {
	for _, s := range []string{"", "0", "0-2,7", "1-", "-1", ",", "9-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := lastOf(s); err == nil && (n < -1 || n > maxCPU) {
			t.Errorf("lastOf(%q) = %d", s, n)
		}
	})
}

func TestHandlerSize(t *testing.T) {
	h := Handler{VCPUs: 1, MemoryMiB: 256, MaxVCPUs: 4, MaxMemoryMiB: 2048, ScratchBytes: mib, HostMiB: 96}
	for name, tt := range map[string]struct {
		r      Resources
		told   Resources
		vcpus  int
		memory int
	}{
		"none":       {vcpus: 1, memory: 256},
		"small":      {Resources{MemoryLimit: 1, CPUQuota: 1000}, Resources{}, 1, 256},
		"exact":      {Resources{MemoryLimit: 192 * mib, CPUQuota: 100_000}, Resources{}, 1, 256},
		"one-more":   {Resources{MemoryLimit: 192*mib + 1, CPUQuota: 100_001}, Resources{}, 2, 320},
		"period":     {Resources{CPUQuota: 100_000, CPUPeriod: 50_000}, Resources{}, 2, 256},
		"capped":     {Resources{CPUQuota: 10_000_000}, Resources{}, 4, 256},
		"no-cpu-cap": {Resources{CPUQuota: -1}, Resources{}, 1, 256},
		// 512 and 400 MiB, less 96 of the host's: 816, of which a VM has whole steps.
		"overhead":       {Resources{MemoryLimit: 512 * mib}, Resources{MemoryLimit: 400 * mib}, 1, 768},
		"overhead-small": {Resources{MemoryLimit: 512 * mib}, Resources{MemoryLimit: 100 * mib}, 1, 576},
		"overhead-cpu":   {Resources{CPUQuota: 100_000}, Resources{CPUQuota: 50_000}, 1, 256},
		"overhead-alone": {Resources{}, Resources{MemoryLimit: 1024 * mib}, 1, 256},
	} {
		vcpus, memory, err := h.size(tt.r, tt.told)
		if err != nil || vcpus != tt.vcpus || memory != tt.memory {
			t.Errorf("%s: size = %d, %d, %v; want %d, %d", name, vcpus, memory, err, tt.vcpus, tt.memory)
		}
	}
	if _, _, err := h.size(Resources{MemoryLimit: 4096 * mib}, Resources{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("size beyond the bound = %v, want InvalidArgument", err)
	}
	unbounded := Handler{VCPUs: 1, MemoryMiB: 256, ScratchBytes: mib}
	for _, r := range []Resources{{CPUQuota: 6_400_001}, {MemoryLimit: MaxMemoryMiB * mib}} {
		if _, _, err := unbounded.size(r, Resources{}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("size of %+v, more than a VM can have: %v, want InvalidArgument", r, err)
		}
	}
}
