//go:build linux

package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// prepareDevices makes sure that the guest has what a container was promised of it.
func (a *Agent) prepareDevices(l *specs.Linux) error {
	for _, d := range l.Devices {
		if err := a.cfg.Devices.Find(d); err != nil {
			return fmt.Errorf("device %s: %w", d.Path, err)
		}
	}
	if l.Resources == nil {
		return nil
	}
	return a.preparePages(l.Resources)
}

// preparePages leaves out limits of 0 for huge pages of sizes that the guest's kernel does
// not have: callers send them for each size of their own kernel. For other limits it lets
// the kernel make the pages.
func (a *Agent) preparePages(r *specs.LinuxResources) error {
	if len(r.HugepageLimits) == 0 {
		return nil
	}
	sizes := a.cfg.Devices.PageSizes()
	var kept []specs.LinuxHugepageLimit
	for _, h := range r.HugepageLimits {
		has := slices.Contains(sizes, h.Pagesize)
		switch {
		case !has && h.Limit == 0:
			continue
		case !has && len(sizes) == 0:
			return invalid("the guest's kernel has no huge pages, of which %s were asked for", h.Pagesize)
		case !has:
			return invalid("the guest's kernel has no huge pages of %s: it has %s", h.Pagesize, strings.Join(sizes, ", "))
		}
		kept = append(kept, h)
		if h.Limit > 0 {
			if err := a.cfg.Devices.AllowPages(h.Pagesize, h.Limit); err != nil {
				return err
			}
		}
	}
	r.HugepageLimits = kept
	return nil
}

// guestResources is preparePages for new limits of a container.
func (a *Agent) guestResources(b []byte) ([]byte, error) {
	var r specs.LinuxResources
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, invalid("resources: %v", err)
	}
	if len(r.HugepageLimits) == 0 {
		return b, nil
	}
	if err := a.preparePages(&r); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}
