package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"text/tabwriter"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/internal/procmem"
	"github.com/porthole-run/porthole/sandbox"
)

// topPod is what one pod costs the host next to what its containers use. A nil figure is
// not known: its VM does not answer, or the host does not tell.
type topPod struct {
	ID         string   `json:"id"`
	Namespace  string   `json:"namespace"`
	Name       string   `json:"name"`
	Containers *int     `json:"containers"` // that run
	Cores      *float64 `json:"cores"`      // that they use of late
	GuestBytes *uint64  `json:"guestBytes"` // the containers' working set
	ShimPID    int      `json:"shimPid"`    // the same in pods that share a VM
	ShimBytes  *uint64  `json:"shimBytes"`  // of the host's memory
	VMBytes    *uint64  `json:"vmBytes"`
}

// topOf puts the figures of the ready pods together: those of the VMs, and those of the
// host. held is procmem.Held.
func topOf(pods []sandbox.Pod, usages []sandbox.PodUsage, held func(pid int) (uint64, error)) []topPod {
	used := map[string]sandbox.PodUsage{}
	for _, u := range usages {
		used[u.Pod.ID] = u
	}
	of := func(pid int) *uint64 {
		if pid == 0 {
			return nil
		}
		n, err := held(pid)
		if err != nil {
			return nil
		}
		return &n
	}
	out := make([]topPod, 0, len(pods))
	for _, p := range pods {
		t := topPod{
			ID: p.ID, Namespace: p.Config.Namespace, Name: p.Config.Name,
			ShimPID: p.Shim.PID, ShimBytes: of(p.Shim.PID), VMBytes: of(p.Shim.VMPID),
		}
		if u, ok := used[p.ID]; ok {
			n := len(u.Containers)
			t.Containers = &n
			if u.NanoCores != nil {
				cores := float64(*u.NanoCores) / 1e9
				t.Cores = &cores
			}
			if g := u.Usage.Group; g != nil && g.Memory != nil {
				set := g.Memory.WorkingSet()
				t.GuestBytes = &set
			}
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b topPod) int { return -cmp.Compare(a.held(), b.held()) })
	return out
}

// held is what is known of the host's memory that the pod's VM holds, in bytes.
func (t topPod) held() uint64 {
	var sum uint64
	for _, n := range []*uint64{t.ShimBytes, t.VMBytes} {
		if n != nil {
			sum += *n
		}
	}
	return sum
}

// serveTop answers with the figures of now.
func serveTop(m *sandbox.Manager) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		pods, err := m.Pods(r.Context(), sandbox.PodFilter{State: sandbox.PodReady})
		if err != nil {
			answer(w, nil, err)
			return
		}
		usages, err := m.PodsUsage(r.Context(), sandbox.PodFilter{}, false)
		answer(w, topOf(pods, usages, procmem.Held), err)
	}
}

// Top returns what each ready pod costs, the one that holds most first.
func (a *adminClient) Top(ctx context.Context) (all []topPod, err error) {
	err = a.do(ctx, http.MethodGet, "/top", nil, nil, decodeTo(&all))
	return all, err
}

// runTop shows what the running daemon's pods cost.
func runTop(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "top")
	path := configFlag(f)
	asJSON := f.Bool("json", false, "print JSON")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	c, err := config.Load(*path)
	if err != nil {
		return err
	}
	all, err := newAdminClient(adminEndpoint(c)).Top(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(io.out).Encode(all)
	}
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "POD\tID\tCONTAINERS\tCORES\tUSED MiB\tHELD MiB\tOF THE VM\tOF THE SHIM\t")
	var sum uint64
	seen := map[int]bool{} // VMs
	for _, t := range all {
		if !seen[t.ShimPID] {
			sum += t.held()
		}
		seen[t.ShimPID] = true
		fmt.Fprintf(w, "%s/%s\t%.13s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", t.Namespace, t.Name, t.ID,
			orDash(t.Containers, func(n int) string { return fmt.Sprint(n) }),
			orDash(t.Cores, func(n float64) string { return fmt.Sprintf("%.2f", n) }),
			orDash(t.GuestBytes, inMiB), inMiB(t.held()), orDash(t.VMBytes, inMiB), orDash(t.ShimBytes, inMiB))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.out, "%d pods in %d VMs hold %s MiB of the host\n", len(all), len(seen), inMiB(sum))
	return err
}

func inMiB(n uint64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }

func orDash[T any](v *T, text func(T) string) string {
	if v == nil {
		return "-"
	}
	return text(*v)
}
