package network

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Ready returns nil when pods can be attached: a configuration is there and good, its
// plugins are found, and, from CNI 1.1 on, they say so themselves. Else the error says
// what to do.
func (m *Manager) Ready(ctx context.Context) error {
	if err := m.host.Ready(ctx); err != nil {
		return err
	}
	c, err := m.usableConf()
	if err != nil {
		return err
	}
	if err := m.cni.GetStatusNetworkList(ctx, c.list); err != nil {
		return fmt.Errorf("network %s of %s is not ready: %w: %w", c.list.Name, c.file, pluginFailure(ctx, err), errdefs.ErrUnavailable)
	}
	return nil
}

// Status describes the network for people. It runs each plugin once to ask its version.
type Status struct {
	ConfFile     string
	Network      string
	CNIVersion   string
	Plugins      []string // paths
	Capabilities []string // arguments that some plugin takes
	Pods         int      // attached, or left over
	Problem      error    // nil: ready
}

// Status looks at everything that Attach needs.
func (m *Manager) Status(ctx context.Context) Status {
	var s Status
	ids, err := m.known()
	if err != nil {
		s.Problem = err
		return s
	}
	s.Pods = len(ids)
	c, err := m.usableConf()
	if err != nil {
		s.Problem = err
		return s
	}
	s.ConfFile, s.Network, s.CNIVersion = c.file, c.list.Name, c.list.CNIVersion
	for _, name := range c.plugins() {
		if path, err := m.exec.FindInPath(name, m.config.PluginDirs); err == nil {
			s.Plugins = append(s.Plugins, path)
		}
	}
	if s.Capabilities, err = m.cni.ValidateNetworkList(ctx, c.list); err != nil {
		s.Problem = fmt.Errorf("network configuration %s: %w: %w", c.file, pluginFailure(ctx, err), errdefs.ErrFailedPrecondition)
		return s
	}
	slices.Sort(s.Capabilities)
	s.Problem = m.Ready(ctx)
	return s
}

// String returns one line for each thing that is known.
func (s Status) String() string {
	var b strings.Builder
	if s.ConfFile != "" {
		fmt.Fprintf(&b, "configuration: %s (network %s, CNI %s)\n", s.ConfFile, s.Network, s.CNIVersion)
		fmt.Fprintf(&b, "plugins: %s\n", strings.Join(s.Plugins, ", "))
		if len(s.Capabilities) > 0 {
			fmt.Fprintf(&b, "capabilities: %s\n", strings.Join(s.Capabilities, ", "))
		}
	}
	fmt.Fprintf(&b, "pods: %d\n", s.Pods)
	if s.Problem != nil {
		fmt.Fprintf(&b, "problem: %v\n", s.Problem)
	} else {
		b.WriteString("ready\n")
	}
	return b.String()
}
