package sandbox

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/containerd/errdefs"
)

// maxHostname is the kernel's limit on host names, in bytes.
const maxHostname = 63

// GuestHostname is the pod's host name: the one asked for, else the pod's name, cut to
// what the kernel takes.
func (c PodConfig) GuestHostname() string {
	name := c.Hostname
	if name == "" {
		name = c.Name
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// hostsFile is the pod's /etc/hosts.
func hostsFile(hostname string, ips []string) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n")
	b.WriteString("::1\tlocalhost ip6-localhost ip6-loopback\n")
	b.WriteString("fe00::\tip6-localnet\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	for _, ip := range ips {
		fmt.Fprintf(&b, "%s\t%s\n", ip, hostname)
	}
	return b.String()
}

// resolvConf is the pod's /etc/resolv.conf: what the caller asked for, else what the
// first of hostFiles that names a server of use in a pod says, else what CNI gave.
func resolvConf(asked DNS, hostFiles []string, n NetworkResult) string {
	if len(asked.Servers)+len(asked.Searches)+len(asked.Options) > 0 {
		return formatResolvConf(asked)
	}
	for _, path := range hostFiles {
		// A missing or unreadable file is a host without that resolver: the next one may do.
		if data, err := os.ReadFile(path); err == nil {
			if d := parseResolvConf(string(data)); len(d.Servers) > 0 {
				return formatResolvConf(d)
			}
		}
	}
	return formatResolvConf(DNS{Servers: n.DNSServers, Searches: n.DNSSearch, Options: n.DNSOptions})
}

// parseResolvConf reads a host's resolv.conf. Servers on the host's loopback are left
// out: in a pod that address is the pod itself.
func parseResolvConf(data string) DNS {
	var d DNS
	for line := range strings.Lines(data) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if ip, err := netip.ParseAddr(f[1]); err == nil && !ip.IsLoopback() && ip.Zone() == "" {
				d.Servers = append(d.Servers, ip.String())
			}
		case "search", "domain":
			d.Searches = f[1:]
		case "options":
			d.Options = append(d.Options, f[1:]...)
		}
	}
	return d
}

func formatResolvConf(d DNS) string {
	var b strings.Builder
	if len(d.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.Searches, " "))
	}
	for _, s := range d.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return b.String()
}

// validate keeps a caller from writing lines of its own into the pod's files.
func (d DNS) validate() error {
	for i, s := range d.Servers {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("dns.servers[%d]: %q is not an IP address: %w", i, s, errdefs.ErrInvalidArgument)
		}
	}
	for field, words := range map[string][]string{"searches": d.Searches, "options": d.Options} {
		for i, s := range words {
			if !plainWord(s) {
				return fmt.Errorf("dns.%s[%d]: %q is not one word: %w", field, i, s, errdefs.ErrInvalidArgument)
			}
		}
	}
	return nil
}

// plainWord reports whether s is not empty and holds neither white space nor control characters.
func plainWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}
