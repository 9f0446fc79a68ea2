package cri

import (
	"fmt"
	"path/filepath"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// podConfig checks what is asked of a pod and converts it. Every field of the message
// is either converted, refused, or in docs/cri.md's list of those without meaning here.
func podConfig(c *runtimeapi.PodSandboxConfig, handler string) (sandbox.PodConfig, error) {
	none := sandbox.PodConfig{}
	if c == nil {
		return none, invalid("config", "is missing")
	}
	md := c.GetMetadata()
	if md == nil {
		return none, invalid("config.metadata", "is missing")
	}
	if err := firstError(
		checkPodName("config.metadata.name", md.GetName()),
		checkPodName("config.metadata.namespace", md.GetNamespace()),
		checkPodName("config.metadata.uid", md.GetUid()),
		checkHostname("config.hostname", c.GetHostname()),
		checkLogDirectory(c.GetLogDirectory()),
		checkMap("config.labels", c.GetLabels()),
		checkMap("config.annotations", c.GetAnnotations()),
		checkDNS(c.GetDnsConfig()),
		checkEmptyWindows("config.windows", c.GetWindows()),
	); err != nil {
		return none, err
	}
	ports, err := portMappings(c.GetPortMappings())
	if err != nil {
		return none, err
	}
	out := sandbox.PodConfig{
		Name: md.GetName(), Namespace: md.GetNamespace(), UID: md.GetUid(), Attempt: md.GetAttempt(),
		Hostname:     c.GetHostname(),
		LogDirectory: c.GetLogDirectory(),
		DNS: sandbox.DNS{
			Servers:  c.GetDnsConfig().GetServers(),
			Searches: c.GetDnsConfig().GetSearches(),
			Options:  c.GetDnsConfig().GetOptions(),
		},
		PortMappings:   ports,
		Labels:         c.GetLabels(),
		Annotations:    c.GetAnnotations(),
		RuntimeHandler: handler,
	}
	return out, podLinux(c.GetLinux(), &out)
}

// podLinux converts the Linux section; a missing one is an empty one.
func podLinux(l *runtimeapi.LinuxPodSandboxConfig, out *sandbox.PodConfig) error {
	const at = "config.linux"
	if err := firstError(
		checkSysctls(at+".sysctls", l.GetSysctls()),
		checkList(at+".cgroup_parent", []string{l.GetCgroupParent()}, 1),
	); err != nil {
		return err
	}
	var err error
	if out.Resources, err = resources(at+".resources", l.GetResources()); err != nil {
		return err
	}
	if out.Overhead, err = resources(at+".overhead", l.GetOverhead()); err != nil {
		return err
	}
	out.CgroupParent = l.GetCgroupParent()
	out.Sysctls = l.GetSysctls()

	sc := l.GetSecurityContext()
	field := at + ".security_context"
	if out.Namespaces, err = namespaces(field+".namespace_options", sc.GetNamespaceOptions()); err != nil {
		return err
	}
	//lint:ignore SA1019 a field that old callers set must not be passed over in silence
	if err := checkLegacySeccomp(field, sc.GetSeccompProfilePath()); err != nil {
		return err
	}
	out.Privileged = sc.GetPrivileged()
	out.Security, err = security(field, securityFields{
		privileged: sc.GetPrivileged(), user: sc.GetRunAsUser(), group: sc.GetRunAsGroup(),
		groups: sc.GetSupplementalGroups(), policy: sc.GetSupplementalGroupsPolicy(),
		readonlyRootfs: sc.GetReadonlyRootfs(), selinux: sc.GetSelinuxOptions(),
		seccomp: sc.GetSeccomp(), apparmor: sc.GetApparmor(),
	})
	return err
}

func checkLogDirectory(dir string) error {
	const field = "config.log_directory"
	if dir == "" {
		return nil
	}
	if len(dir) > maxPath {
		return invalid(field, "is longer than %d bytes", maxPath)
	}
	if !filepath.IsAbs(dir) {
		return invalid(field, "%q is not an absolute path", dir)
	}
	return checkText(field, dir)
}

// checkDNS keeps what would break out of its line of resolv.conf.
func checkDNS(d *runtimeapi.DNSConfig) error {
	const at = "config.dns_config"
	for i, s := range d.GetServers() {
		if err := checkAddress(fmt.Sprintf("%s.servers[%d]", at, i), s); err != nil {
			return err
		}
	}
	return firstError(
		checkList(at+".servers", d.GetServers(), maxDNSEntries),
		checkList(at+".searches", d.GetSearches(), maxDNSEntries),
		checkList(at+".options", d.GetOptions(), maxDNSEntries),
	)
}

// checkEmptyWindows refuses a Windows section that says anything.
func checkEmptyWindows(field string, m proto.Message) error {
	if proto.Size(m) > 0 {
		return unbuilt(field, "settings of Windows nodes are not built yet")
	}
	return nil
}

func portMappings(in []*runtimeapi.PortMapping) ([]sandbox.PortMapping, error) {
	if len(in) > maxPorts {
		return nil, invalid("config.port_mappings", "has %d entries, at most %d are taken", len(in), maxPorts)
	}
	var out []sandbox.PortMapping
	for i, p := range in {
		field := fmt.Sprintf("config.port_mappings[%d]", i)
		protocol, ok := protocols[p.GetProtocol()]
		if !ok {
			return nil, invalid(field+".protocol", "%d is not a protocol", p.GetProtocol())
		}
		if p.GetContainerPort() < 1 || p.GetContainerPort() > 65535 {
			return nil, invalid(field+".container_port", "%d is not a port", p.GetContainerPort())
		}
		if p.GetHostPort() < 0 || p.GetHostPort() > 65535 {
			return nil, invalid(field+".host_port", "%d is not a port", p.GetHostPort())
		}
		if p.GetHostIp() != "" {
			if err := checkAddress(field+".host_ip", p.GetHostIp()); err != nil {
				return nil, err
			}
		}
		out = append(out, sandbox.PortMapping{
			Protocol: protocol, ContainerPort: p.GetContainerPort(), HostPort: p.GetHostPort(), HostIP: p.GetHostIp(),
		})
	}
	return out, nil
}

// namespaces converts namespace modes. Whether the pod's VM gives them is the manager's
// to say.
func namespaces(field string, o *runtimeapi.NamespaceOption) (sandbox.Namespaces, error) {
	none := sandbox.Namespaces{}
	out := none
	for _, m := range []struct {
		name string
		in   runtimeapi.NamespaceMode
		out  *sandbox.NamespaceMode
	}{
		{"network", o.GetNetwork(), &out.Network}, {"pid", o.GetPid(), &out.PID}, {"ipc", o.GetIpc(), &out.IPC},
	} {
		mode, ok := namespaceModes[m.in]
		if !ok {
			return none, invalid(field+"."+m.name, "%d is not a namespace mode", m.in)
		}
		*m.out = mode
	}
	if out.TargetID = o.GetTargetId(); out.TargetID != "" {
		if err := checkID(field+".target_id", out.TargetID); err != nil {
			return none, err
		}
	}
	var err error
	if out.Users, err = userNamespace(field+".userns_options", o.GetUsernsOptions()); err != nil {
		return none, err
	}
	return out, out.Validate(field)
}

// podStatus is the answer's form of a pod.
func podStatus(p sandbox.Pod) *runtimeapi.PodSandboxStatus {
	st := &runtimeapi.PodSandboxStatus{
		Id:        p.ID,
		Metadata:  podMetadata(&p.Config),
		State:     podState(p.State),
		CreatedAt: p.CreatedAt.UnixNano(),
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{
			Options: &runtimeapi.NamespaceOption{
				Network: namespaceMode(shownNetwork(p.Config)),
				Pid:     namespaceMode(p.Config.Namespaces.PID),
				Ipc:     namespaceMode(p.Config.Namespaces.IPC),

				UsernsOptions: shownUsers(p.Config.Namespaces.Users),
			},
		}},
		Labels:         p.Config.Labels,
		Annotations:    p.Config.Annotations,
		RuntimeHandler: p.Config.RuntimeHandler,
		Network:        &runtimeapi.PodSandboxNetworkStatus{},
	}
	for i, ip := range p.IPs {
		if i == 0 {
			st.Network.Ip = ip
			continue
		}
		st.Network.AdditionalIps = append(st.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip})
	}
	return st
}

// podItem is a pod in a list. Nothing of it but the state changes while there is the pod.
func podItem(p *sandbox.Pod, state runtimeapi.PodSandboxState) *runtimeapi.PodSandbox {
	return &runtimeapi.PodSandbox{
		Id: p.ID, Metadata: podMetadata(&p.Config), State: state, CreatedAt: p.CreatedAt.UnixNano(),
		Labels: p.Config.Labels, Annotations: p.Config.Annotations, RuntimeHandler: p.Config.RuntimeHandler,
	}
}

// podAttributes is a pod in a list of figures. Nothing of it changes while there is the pod.
func podAttributes(p *sandbox.Pod) *runtimeapi.PodSandboxAttributes {
	return &runtimeapi.PodSandboxAttributes{
		Id: p.ID, Metadata: podMetadata(&p.Config), Labels: p.Config.Labels, Annotations: p.Config.Annotations,
	}
}

func podMetadata(c *sandbox.PodConfig) *runtimeapi.PodSandboxMetadata {
	return &runtimeapi.PodSandboxMetadata{Name: c.Name, Uid: c.UID, Namespace: c.Namespace, Attempt: c.Attempt}
}
