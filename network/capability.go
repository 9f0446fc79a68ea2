package network

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
)

// Annotations that bound a pod's traffic, in bits a second.
const (
	ingressBandwidth = "kubernetes.io/ingress-bandwidth"
	egressBandwidth  = "kubernetes.io/egress-bandwidth"
)

// bandwidth is the argument of the capability of the same name.
type bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// dnsArgs is the argument of the capability dns, by the names that containerd and the kubelet before it
// gave it, which Windows' plugins read; CNI's own conventions have others.
type dnsArgs struct {
	Servers  []string `json:"servers,omitempty"`
	Searches []string `json:"searches,omitempty"`
	Options  []string `json:"options,omitempty"`
}

// args returns what plugins get in CNI_ARGS.
func (p Pod) args() [][2]string {
	return [][2]string{
		{"IgnoreUnknown", "1"},
		{"K8S_POD_NAMESPACE", p.Namespace},
		{"K8S_POD_NAME", p.Name},
		{"K8S_POD_INFRA_CONTAINER_ID", p.ID},
		{"K8S_POD_UID", p.UID},
	}
}

// capabilities returns the arguments that plugins get when they ask for them.
func (p Pod) capabilities() (map[string]any, error) {
	caps := make(map[string]any)
	var ports []PortMapping
	for _, pm := range p.PortMappings {
		if pm.HostPort != 0 {
			pm.Protocol = strings.ToLower(pm.Protocol)
			ports = append(ports, pm)
		}
	}
	if len(ports) > 0 {
		caps["portMappings"] = ports
	}
	var b bandwidth
	for _, a := range []struct {
		name        string
		rate, burst *uint64
	}{
		{ingressBandwidth, &b.IngressRate, &b.IngressBurst},
		{egressBandwidth, &b.EgressRate, &b.EgressBurst},
	} {
		text, ok := p.Annotations[a.name]
		if !ok {
			continue
		}
		rate, err := parseRate(text)
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", a.name, err)
		}
		// No burst is asked for, but the plugin wants one, and takes no larger.
		*a.rate, *a.burst = rate, math.MaxUint32
		caps["bandwidth"] = &b
	}
	if len(p.Annotations) > 0 {
		caps["io.kubernetes.cri.pod-annotations"] = p.Annotations
	}
	if len(p.DNS.Servers)+len(p.DNS.Search)+len(p.DNS.Options) > 0 {
		caps["dns"] = dnsArgs{Servers: p.DNS.Servers, Searches: p.DNS.Search, Options: p.DNS.Options}
	}
	if p.CgroupParent != "" {
		caps["cgroupPath"] = p.CgroupParent
	}
	return caps, nil
}

// validate checks what becomes an argument of plugins.
func (p Pod) validate() error {
	if err := validateID(p.ID); err != nil {
		return err
	}
	for _, a := range p.args() {
		if strings.ContainsAny(a[1], ";=\x00") {
			return fmt.Errorf("%s %q has a character that CNI arguments cannot carry: %w", a[0], a[1], errdefs.ErrInvalidArgument)
		}
	}
	for _, pm := range p.PortMappings {
		if pm.HostPort < 0 || pm.HostPort > 65535 || (pm.HostPort > 0 && (pm.ContainerPort < 1 || pm.ContainerPort > 65535)) {
			return fmt.Errorf("port mapping of host port %d to port %d: not in 1 to 65535: %w", pm.HostPort, pm.ContainerPort, errdefs.ErrInvalidArgument)
		}
		switch strings.ToLower(pm.Protocol) {
		case "tcp", "udp", "sctp":
		default:
			return fmt.Errorf("port mapping of host port %d: protocol %q is not tcp, udp or sctp: %w", pm.HostPort, pm.Protocol, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

var (
	rateText = regexp.MustCompile(`^([0-9]{1,18}(?:\.[0-9]{1,9})?)([kMGTP]i?|Ki)?$`)
	rateUnit = map[string]int64{
		"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50,
	}
)

// parseRate reads the Kubernetes quantities that make sense as bits a second; the bounds
// are those of the kubelet.
func parseRate(text string) (uint64, error) {
	m := rateText.FindStringSubmatch(text)
	unit := int64(0)
	if m != nil {
		unit = rateUnit[m[2]]
	}
	n, ok := new(big.Rat), false
	if unit != 0 {
		n, ok = n.SetString(m[1])
	}
	if !ok {
		return 0, fmt.Errorf("%.40q is no quantity such as 10M: %w", text, errdefs.ErrInvalidArgument)
	}
	n.Mul(n, new(big.Rat).SetInt64(unit))
	if n.Cmp(big.NewRat(1e3, 1)) < 0 || n.Cmp(big.NewRat(1e15, 1)) > 0 {
		return 0, fmt.Errorf("%s is not in 1k to 1P: %w", text, errdefs.ErrInvalidArgument)
	}
	return new(big.Int).Quo(n.Num(), n.Denom()).Uint64(), nil
}
