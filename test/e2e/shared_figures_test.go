package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/procmem"
	"github.com/porthole-run/porthole/internal/testneed"
)

// TestSharedVM_Figures measures pods that share a VM next to pods with one each, in turn
// on one machine: it fails when a further pod is not faster and smaller. docs/handlers.md
// has what it prints.
func TestSharedVM_Figures(t *testing.T) {
	testneed.Long(t)
	const pods, rounds = 4, 2
	servers := map[string]*server{
		"boot":  ownServer(t, serverConfig{vm: `template = "off"`, extra: fewAndMany}),
		"clone": ownServer(t, serverConfig{vm: `template = "on"`}),
	}
	kinds := []struct{ name, server, handler string }{{"linux, booted", "boot", "linux"}, {"linux, cloned", "clone", "linux"}, {"linux-shared", "boot", "linux-shared"},
		// What the NICs cost that wait.
		{"2 pods at most", "boot", "few"}, {"16 pods at most", "boot", "many"}}
	firsts, nexts, firstKiB, nextKiB := map[string][]time.Duration{}, map[string][]time.Duration{}, map[string][]int{}, map[string][]int{}
	for round := range rounds {
		for _, kind := range kinds {
			s := servers[kind.server]
			s.pull(t, env.registry.sample)
			var all []*pod
			n := pods
			if kind.handler == "few" || kind.handler == "many" {
				n = 2
			}
			for i := range n {
				c := podConfig(t)
				c.Metadata.Name, c.Metadata.Namespace = fmt.Sprintf("figures-%d-%d", round, i), "figures"
				before := hostMemory(t, s)
				begin := time.Now()
				r, err := s.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: c, RuntimeHandler: kind.handler})
				took := time.Since(begin)
				if err != nil {
					t.Fatal(err)
				}
				p := &pod{t: t, s: s, id: r.PodSandboxId, config: c}
				all = append(all, p)
				p.start(sh("idle", "exec sleep 600")).exec("true")
				more := hostMemory(t, s) - before
				t.Logf("%s, pod %d: %v, %d KiB", kind.name, i, took, more)
				if i == 0 {
					firsts[kind.name], firstKiB[kind.name] = append(firsts[kind.name], took), append(firstKiB[kind.name], more)
				} else {
					nexts[kind.name], nextKiB[kind.name] = append(nexts[kind.name], took), append(nextKiB[kind.name], more)
				}
			}
			for _, p := range all {
				p.remove()
			}
		}
		slices.Reverse(kinds)
	}
	for _, kind := range kinds {
		n := kind.name
		for _, d := range []map[string][]time.Duration{firsts, nexts} {
			slices.Sort(d[n])
		}
		for _, d := range []map[string][]int{firstKiB, nextKiB} {
			slices.Sort(d[n])
		}
		t.Logf("%s: first pod %v, %d KiB; further pods %v (%v to %v), %d KiB (%d to %d)", n,
			middle(firsts[n]), middle(firstKiB[n]), middle(nexts[n]), nexts[n][0], nexts[n][len(nexts[n])-1],
			middle(nextKiB[n]), nextKiB[n][0], nextKiB[n][len(nextKiB[n])-1])
	}
	if shared, own := middle(nexts["linux-shared"]), middle(nexts["linux, booted"]); 2*shared > own {
		t.Errorf("a further pod takes %v in a shared VM and %v in its own", shared, own)
	}
	if shared, own := middle(nextKiB["linux-shared"]), middle(nextKiB["linux, booted"]); 2*shared > own {
		t.Errorf("a further pod takes %d KiB in a shared VM and %d KiB in its own", shared, own)
	}
}

// fewAndMany are handlers as linux-shared that differ in how many pods a VM holds.
const fewAndMany = `
[handlers.few]
share_by = "namespace"
pods = 2
vcpus = 2
memory = "1GiB"
[handlers.many]
share_by = "namespace"
pods = 16
vcpus = 2
memory = "1GiB"
`

func middle[T any](sorted []T) T { return sorted[len(sorted)/2] }

// hostMemory is the proportional set size of a server's QEMUs and shims in KiB.
func hostMemory(t *testing.T, s *server) int {
	t.Helper()
	sum := qemuMemory(t, s)
	for _, pid := range shimPIDs(t, s) {
		held, err := procmem.Held(pid)
		if err != nil {
			t.Fatal(err)
		}
		sum += int(held >> 10)
	}
	return sum
}
