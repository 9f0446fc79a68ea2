package e2e

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const mib = 1 << 20

func (k *container) stats() *cri.ContainerStats {
	k.t.Helper()
	r, err := k.s.ContainerStats(testContext(k.t), &cri.ContainerStatsRequest{ContainerId: k.id})
	if err != nil {
		k.t.Fatalf("ContainerStats: %v", err)
	}
	return r.Stats
}

func (p *pod) stats() *cri.LinuxPodSandboxStats {
	p.t.Helper()
	r, err := p.s.PodSandboxStats(testContext(p.t), &cri.PodSandboxStatsRequest{PodSandboxId: p.id})
	if err != nil {
		p.t.Fatalf("PodSandboxStats: %v", err)
	}
	return r.Stats.Linux
}

// between fails unless got is from low to high.
func between(t *testing.T, what string, got, low, high uint64) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s = %d, want %d to %d", what, got, low, high)
	} else {
		t.Logf("%s = %d (%d to %d)", what, got, low, high)
	}
}

// cpuOf adds up what the shell's `times` printed of itself, in nanoseconds.
func cpuOf(t *testing.T, times string) uint64 {
	t.Helper()
	var sum float64
	for _, m := range regexp.MustCompile(`(\d+)m([\d.]+)s`).FindAllStringSubmatch(strings.Split(times, "\n")[0], -1) {
		minutes, _ := strconv.ParseFloat(m[1], 64)
		secs, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatalf("times printed %q", times)
		}
		sum += 60*minutes + secs
	}
	if sum == 0 {
		t.Fatalf("times printed %q", times)
	}
	return uint64(sum * 1e9)
}

// TestStats compares figures with known use: CPU time as the shell that used it counts
// it, memory of a known size, files of a known size, and traffic of a known size.
func TestStats(t *testing.T) {
	p := runPod(t, env.server)
	limited := sh("main", "exec sleep 1000")
	limited.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 128 * mib}
	k := p.start(limited)

	// CPU. Two figures make a rate, which is that of their own difference.
	before := k.stats()
	burnt := cpuOf(t, k.exec("i=0; while [ $i -lt 80000 ]; do i=$((i+1)); done; times; sleep 2"))
	after := k.stats()
	used := after.Cpu.UsageCoreNanoSeconds.Value - before.Cpu.UsageCoreNanoSeconds.Value
	// To get into the container takes CPU of the container's too.
	between(t, "CPU time of a loop", used, burnt-burnt/20, burnt+burnt/10+800e6)
	span := after.Cpu.Timestamp - before.Cpu.Timestamp
	if span < int64(time.Second) {
		t.Fatalf("the loop took %d ns, too little for a rate", span)
	}
	if after.Cpu.UsageNanoCores == nil {
		t.Error("no rate after two figures")
	} else {
		rate := uint64(float64(used) / float64(span) * 1e9)
		between(t, "CPU rate", after.Cpu.UsageNanoCores.Value, rate-rate/1000-1, rate+rate/1000+1)
	}
	if now := time.Now().UnixNano(); after.Cpu.Timestamp > now || after.Cpu.Timestamp < now-int64(time.Minute) {
		t.Errorf("figures are of %d, now is %d", after.Cpu.Timestamp, now)
	}

	// Memory: dd holds a buffer of 48 MiB while nobody reads from it.
	hog := sh("hog", "dd if=/dev/zero bs=48M count=1 2>/dev/null | sleep 1000")
	hog.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 100 * mib}
	h := p.start(hog)
	var m *cri.MemoryUsage
	eventually(t, "dd has its buffer", func() bool {
		m = h.stats().Memory
		return m.RssBytes.Value >= 48*mib
	})
	between(t, "RSS of 48 MiB", m.RssBytes.Value, 48*mib, 52*mib)
	between(t, "working set of 48 MiB", m.WorkingSetBytes.Value, m.RssBytes.Value, 60*mib)
	between(t, "usage of 48 MiB", m.UsageBytes.Value, m.WorkingSetBytes.Value, 64*mib)
	between(t, "what is available", m.AvailableBytes.GetValue(), 100*mib-m.WorkingSetBytes.Value, 100*mib-m.WorkingSetBytes.Value)
	between(t, "page faults", m.PageFaults.Value, 1, 10*48*mib/4096)

	// The writable layer, by bytes and inodes, there and gone again.
	empty := k.stats().WritableLayer
	k.exec("mkdir /d && dd if=/dev/urandom of=/d/big bs=1M count=24 2>/dev/null && i=0 && while [ $i -lt 50 ]; do echo x > /d/$i; i=$((i+1)); done")
	full := k.stats().WritableLayer
	between(t, "bytes of 24 MiB and 50 files", full.UsedBytes.Value-empty.UsedBytes.Value, 24*mib+50*4096, 24*mib+50*4096+128<<10)
	between(t, "inodes of 51 files and a folder", full.InodesUsed.Value-empty.InodesUsed.Value, 52, 52)
	k.exec("rm -r /d")
	gone := k.stats().WritableLayer
	between(t, "inodes once they are removed", gone.InodesUsed.Value, empty.InodesUsed.Value, empty.InodesUsed.Value+1) // a whiteout at most
	between(t, "bytes once they are removed", gone.UsedBytes.Value, empty.UsedBytes.Value, empty.UsedBytes.Value+64<<10)
	if other := h.stats().WritableLayer; other.UsedBytes.Value >= 1*mib {
		t.Errorf("another container's layer takes %d bytes", other.UsedBytes.Value)
	}
	fs, err := p.s.Images.ImageFsInfo(testContext(t), &cri.ImageFsInfoRequest{})
	if err != nil || len(fs.ContainerFilesystems) != 1 || fs.ContainerFilesystems[0].FsId.Mountpoint != full.FsId.Mountpoint {
		t.Errorf("ImageFsInfo = %v, %v, want the file system of the layers, %v", fs, err, full.FsId)
	}

	// Traffic: 8 MiB from the host and as much back.
	const sent = 8 * mib
	gateway := strings.Fields(k.exec("ip route | grep default"))[2]
	address := sink(t, gateway, sent)
	was := p.stats().Network.DefaultInterface
	k.exec(fmt.Sprintf("nc %s </dev/null >/dev/null; dd if=/dev/zero bs=1M count=8 2>/dev/null | nc %s >/dev/null", address.down, address.up))
	is := p.stats().Network.DefaultInterface
	if is.Name != "eth0" {
		t.Errorf("default interface %q", is.Name)
	}
	// Frames have headers, and the other way has acknowledgements.
	between(t, "bytes received of 8 MiB", is.RxBytes.Value-was.RxBytes.Value, sent, sent+sent/10+64<<10)
	between(t, "bytes sent of 8 MiB", is.TxBytes.Value-was.TxBytes.Value, sent, sent+sent/10+64<<10)
	between(t, "errors", is.RxErrors.Value+is.TxErrors.Value, 0, 0)

	// The pod as a whole: sleep, and dd with its shell and its sleep.
	all := p.stats()
	between(t, "processes of the pod", all.Process.ProcessCount.Value, 4, 4)
	between(t, "memory of the pod", all.Memory.WorkingSetBytes.Value, 48*mib, 80*mib)
	if len(all.Containers) != 2 {
		t.Errorf("%d containers of the pod, want 2", len(all.Containers))
	}
	if sum := all.Containers[0].Cpu.UsageCoreNanoSeconds.Value + all.Containers[1].Cpu.UsageCoreNanoSeconds.Value; all.Cpu.UsageCoreNanoSeconds.Value < sum-sum/20 {
		t.Errorf("the pod used %d ns of CPU, its containers %d", all.Cpu.UsageCoreNanoSeconds.Value, sum)
	}
	for name, psi := range map[string]*cri.PsiStats{
		"cpu": all.Cpu.Psi, "memory": all.Memory.Psi, "io": all.Io.GetPsi(), "cpu of a container": after.Cpu.Psi,
	} {
		if psi.GetSome() == nil || psi.GetFull() == nil {
			t.Errorf("no pressure figures of %s", name)
		}
	}
	if after.Cpu.Psi.GetSome().GetTotal() == 0 {
		t.Error("a loop next to other processes on one CPU never waited for it")
	}

	// crictl's tables, and the metrics.
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"stats", "-s", "2"}, k.id[:13] + ` +main +[\d.]+ +[\d.]+[kM]?B +[\d.]+kB +\d+ +0B`},
		{[]string{"statsp", "-s", "2"}, p.config.Metadata.Name + ` +` + p.id[:13] + ` +[\d.]+ +[5678][\d.]+MB`},
	} {
		out, stderr, err := crictl(t, "", c.args...)
		if err != nil || !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("crictl %s: %v %s\n%s\nwant a line like %s", c.args, err, stderr, out, c.want)
		}
		t.Logf("crictl %s\n%s", strings.Join(c.args, " "), out)
	}
	metrics := p.metrics()
	between(t, "container_file_descriptors of sleep", metrics["main container_file_descriptors"], 3, 6)
	between(t, "container_processes of dd and others", metrics["hog container_processes"], 3, 3)
	between(t, "container_spec_memory_limit_bytes", metrics["hog container_spec_memory_limit_bytes"], 100*mib, 100*mib)
	between(t, "container_memory_rss", metrics["hog container_memory_rss"], 48*mib, 52*mib)
	between(t, "container_network_receive_bytes_total", metrics[" container_network_receive_bytes_total"], sent, 3*sent)
	between(t, "container_cpu_usage_seconds_total", metrics["main container_cpu_usage_seconds_total"], burnt/1e9-burnt/20e9, burnt/1e9+20)
	// A container that has ended uses nothing, and still takes disk.
	k.wantGone(h)
}

// wantGone ends a container and looks at its figures.
func (k *container) wantGone(h *container) {
	k.t.Helper()
	if _, err := h.s.StopContainer(testContext(h.t), &cri.StopContainerRequest{ContainerId: h.id}); err != nil {
		h.t.Fatal(err)
	}
	if s := h.stats(); s.Cpu != nil || s.Memory != nil || s.WritableLayer.GetUsedBytes().GetValue() == 0 {
		h.t.Errorf("a container that has ended: %v, want what its layer takes alone", s)
	}
}

// addresses are where a pod gets bytes from and where it can send some, as nc takes them.
type addresses struct{ down, up string }

// sink serves n bytes to each that connects to one port, and reads all on another.
func sink(t *testing.T, host string, n int) addresses {
	t.Helper()
	serve := func(f func(net.Conn)) string {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				f(c)
				c.Close()
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return host + " " + port
	}
	return addresses{
		down: serve(func(c net.Conn) { c.Write(make([]byte, n)) }),
		up:   serve(func(c net.Conn) { io.Copy(io.Discard, c) }),
	}
}

// metrics returns the pod's metrics by container and name, added up over other labels.
func (p *pod) metrics() map[string]uint64 {
	p.t.Helper()
	d, err := p.s.ListMetricDescriptors(testContext(p.t), &cri.ListMetricDescriptorsRequest{})
	if err != nil {
		p.t.Fatal(err)
	}
	labels := map[string]int{}
	for _, m := range d.Descriptors {
		labels[m.Name] = len(m.LabelKeys)
	}
	r, err := p.s.ListPodSandboxMetrics(testContext(p.t), &cri.ListPodSandboxMetricsRequest{})
	if err != nil {
		p.t.Fatal(err)
	}
	out := map[string]uint64{}
	add := func(of string, all []*cri.Metric) {
		for _, m := range all {
			if n, ok := labels[m.Name]; !ok || n != len(m.LabelValues) {
				p.t.Errorf("metric %s has %d labels, its descriptor %d", m.Name, len(m.LabelValues), n)
			}
			out[of+" "+m.Name] += m.Value.Value
		}
	}
	for _, pm := range r.PodMetrics {
		if pm.PodSandboxId != p.id {
			continue
		}
		add("", pm.Metrics)
		for _, c := range pm.ContainerMetrics {
			add(c.Metrics[0].LabelValues[5], c.Metrics)
		}
	}
	for name := range labels {
		found := false
		for key := range out {
			found = found || strings.HasSuffix(key, " "+name)
		}
		if !found && name != "container_hugetlb_usage_bytes" && !strings.HasPrefix(name, "container_spec_cpu") {
			p.t.Errorf("metric %s has no value", name)
		}
	}
	if out, stderr, err := crictl(p.t, "", "metricsp"); err != nil || !strings.Contains(out, "container_memory_working_set_bytes") {
		p.t.Errorf("crictl metricsp: %v %s\n%s", err, stderr, out)
	}
	return out
}

// TestContainerEvents reads the events of a pod's life while it lives it.
func TestContainerEvents(t *testing.T) {
	stream, err := env.server.GetContainerEvents(testContext(t), &cri.GetEventsRequest{})
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := runPod(t, env.server)
	k := p.start(sh("main", "exit 3"))
	k.wait()
	k.remove()
	p.remove()
	names := map[string]string{p.id: "pod", k.id: "main"}
	var got []string
	for len(got) == 0 || got[len(got)-1] != "DELETED pod NOTREADY" {
		e, err := stream.Recv()
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		if e.PodSandboxStatus.GetId() != p.id {
			continue
		}
		line := strings.TrimSuffix(strings.TrimPrefix(e.ContainerEventType.String(), "CONTAINER_"), "_EVENT") + " " + names[e.ContainerId] +
			" " + strings.TrimPrefix(e.PodSandboxStatus.State.String(), "SANDBOX_")
		for _, c := range e.ContainersStatuses {
			line += fmt.Sprintf(" %s:%d", strings.TrimPrefix(c.State.String(), "CONTAINER_"), c.ExitCode)
		}
		got = append(got, line)
	}
	want := "CREATED pod READY|STARTED pod READY|CREATED main READY CREATED:0|STARTED main READY RUNNING:0|" +
		"STOPPED main READY EXITED:3|DELETED main READY|STOPPED pod NOTREADY|DELETED pod NOTREADY"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("events\n%s\nwant\n%s", s, want)
	}
}
