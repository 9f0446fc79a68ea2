package dialect

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	cpuPeriod  = 100_000 // µs: the kubelet's QuotaPeriod
	minQuota   = 1_000   // µs
	minShares  = 2
	maxShares  = 262_144
	cpuMaximum = 10_000 // cpu_maximum of all processors

	oomGuaranteed = -997
	oomBestEffort = 1000
)

// Limits turns the limits that a Windows kubelet sends. Without a spec they are all that
// is known; the CPU limit is as exact as its unit, a ten-thousandth of the host.
func (w *Windows) Limits(field string, r *runtimeapi.WindowsContainerResources) (*runtimeapi.LinuxContainerResources, error) {
	out := &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: r.GetMemoryLimitInBytes()}
	if r.GetMemoryLimitInBytes() < 0 {
		return nil, invalid(field+".memory_limit_in_bytes", "%d is negative", r.GetMemoryLimitInBytes())
	}
	if r.GetCpuMaximum() < 0 || r.GetCpuMaximum() > cpuMaximum {
		return nil, invalid(field+".cpu_maximum", "%d is not between 0 and %d", r.GetCpuMaximum(), cpuMaximum)
	}
	if r.GetCpuCount() < 0 || r.GetCpuCount() > 1<<16 {
		return nil, invalid(field+".cpu_count", "%d is not a number of processors", r.GetCpuCount())
	}
	// None of these is ever sent by a kubelet; passing one over would be a lie.
	switch {
	case r.GetCpuShares() != 0:
		return nil, unbuilt(field+".cpu_shares", "weights of Windows have no meaning in a VM")
	case r.GetRootfsSizeInBytes() != 0:
		return nil, unbuilt(field+".rootfs_size_in_bytes", "the size of a pod's disk is its runtime handler's")
	case len(r.GetAffinityCpus()) > 0:
		return nil, unbuilt(field+".affinity_cpus", "a VM's processors are not pinned")
	}
	switch {
	case r.GetCpuCount() > 0: // which Windows puts before cpu_maximum
		out.CpuPeriod, out.CpuQuota = cpuPeriod, r.GetCpuCount()*cpuPeriod
	case r.GetCpuMaximum() > 0:
		out.CpuPeriod = cpuPeriod
		out.CpuQuota = max(minQuota, r.GetCpuMaximum()*int64(w.c.Processors)*cpuPeriod/cpuMaximum)
	}
	return out, nil
}

// ShowResources is the way back, for status: a Windows kubelet reads only these.
func (w *Windows) ShowResources(r *runtimeapi.LinuxContainerResources) *runtimeapi.WindowsContainerResources {
	out := &runtimeapi.WindowsContainerResources{MemoryLimitInBytes: r.GetMemoryLimitInBytes()}
	if r.GetCpuQuota() > 0 {
		period := r.GetCpuPeriod()
		if period <= 0 {
			period = cpuPeriod
		}
		milli := r.GetCpuQuota() / period * 1000
		milli += r.GetCpuQuota() % period * 1000 / period
		out.CpuMaximum = min(max(milli*10/int64(w.c.Processors), 1), cpuMaximum)
	}
	return out
}

// calculate is the kubelet's calculateLinuxResources. requested tells whether there is a
// CPU request; else the limit stands for it.
func calculate(requestMilli int64, requested bool, limitMilli, memory int64) *runtimeapi.LinuxContainerResources {
	if !requested {
		requestMilli = limitMilli
	}
	return &runtimeapi.LinuxContainerResources{
		CpuPeriod: cpuPeriod, CpuQuota: quota(limitMilli), CpuShares: shares(requestMilli), MemoryLimitInBytes: memory,
	}
}

func quota(milli int64) int64 {
	if milli == 0 {
		return 0
	}
	return max(minQuota, milli*cpuPeriod/1000)
}

func shares(milli int64) int64 { return min(max(milli*1024/1000, minShares), maxShares) }

// containerResources are what a Linux kubelet makes of a container's spec.
func (w *Windows) containerResources(pod *corev1.Pod, c *corev1.Container) *runtimeapi.LinuxContainerResources {
	_, requested := c.Resources.Requests[corev1.ResourceCPU]
	out := calculate(c.Resources.Requests.Cpu().MilliValue(), requested,
		c.Resources.Limits.Cpu().MilliValue(), c.Resources.Limits.Memory().Value())
	out.OomScoreAdj = w.oomScore(pod, c)
	for name, q := range c.Resources.Limits {
		// hugepages-2Mi is 2MB to the CRI.
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			out.HugepageLimits = append(out.HugepageLimits, &runtimeapi.HugepageLimit{
				PageSize: strings.TrimSuffix(size, "i") + "B", Limit: uint64(max(q.Value(), 0)),
			})
		}
	}
	slices.SortFunc(out.HugepageLimits, func(a, b *runtimeapi.HugepageLimit) int { return strings.Compare(a.PageSize, b.PageSize) })
	return out
}

// oomScore is the kubelet's GetContainerOOMScoreAdjust.
func (w *Windows) oomScore(pod *corev1.Pod, c *corev1.Container) int64 {
	switch {
	case pod.Spec.PriorityClassName == "system-node-critical", pod.Status.QOSClass == corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case pod.Status.QOSClass == corev1.PodQOSBestEffort:
		return oomBestEffort
	case w.c.MemoryBytes == 0:
		return oomBestEffort - 1
	}
	of := func(c *corev1.Container) int64 {
		// In floating point: the product of bytes and 1000 may not fit.
		return 1000 - int64(1000*float64(c.Resources.Requests.Memory().Value())/float64(w.c.MemoryBytes))
	}
	score := of(c)
	if sidecar(c) {
		// Not to be ended before what it serves: the regular container that asks for least.
		most := int64(0)
		for i := range pod.Spec.Containers {
			most = max(most, of(&pod.Spec.Containers[i]))
		}
		score = min(score, most)
	}
	return min(max(score, 1000+oomGuaranteed), oomBestEffort-1)
}

func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// podResources are what the sandbox of a pod gets, without overhead: the sum of its
// containers, or what one of the containers before them needs beside the sidecars that
// run by then, if that is more.
func podResources(pod *corev1.Pod) *runtimeapi.LinuxContainerResources {
	sum := func(of func(*corev1.Container) int64) int64 {
		var total, sidecars, most int64
		for i := range pod.Spec.Containers {
			total += of(&pod.Spec.Containers[i])
		}
		for i := range pod.Spec.InitContainers {
			c := &pod.Spec.InitContainers[i]
			if sidecar(c) {
				sidecars += of(c)
				most = max(most, sidecars)
				continue
			}
			most = max(most, sidecars+of(c))
		}
		return max(total+sidecars, most)
	}
	requested := false
	request := sum(func(c *corev1.Container) int64 {
		_, ok := c.Resources.Requests[corev1.ResourceCPU]
		requested = requested || ok
		return c.Resources.Requests.Cpu().MilliValue()
	})
	return calculate(request, requested,
		sum(func(c *corev1.Container) int64 { return c.Resources.Limits.Cpu().MilliValue() }),
		sum(func(c *corev1.Container) int64 { return c.Resources.Limits.Memory().Value() }))
}
