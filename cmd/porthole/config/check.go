package config

import (
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	minMemory  = 64 << 20
	minScratch = 16 << 20
	minLayer   = 16 << 20
	minLogFile = 64 << 10
	maxVCPUs   = 64
	maxUIDs    = 65536
	maxSpares  = 64
	maxMemory  = 16 << 40 // more than any host has
	maxDisk    = 16 << 40 // what ext4 holds with blocks of 4 KiB
	minShm     = 4096     // a page: tmpfs takes 0 for no bound
	// maxSocket is the kernel's: sun_path with its NUL.
	maxSocket = 107
	// stateSocket is the longest path of a socket below state: of a VM's shim, whose
	// folder is named by a pod's id.
	stateSocket = "/vm/0123456789abcdef0123456789abcdef/c.sock"
	noID        = 1<<32 - 1 // what Linux takes for "no user"
)

// hostNamespaces is what becomes of pods that ask for namespaces of the host.
var hostNamespaces = []string{"refuse", "vm"}

var handlerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// check adds to d what is wrong with values that have the right type.
func (c *Config) check(d *document) {
	if c.Version != Version {
		d.add("version", "is %d, this build reads %d", c.Version, Version)
	}
	d.ownFolder("root", c.Root)
	d.ownFolder("state", c.State)
	if path.Clean(c.Root) == path.Clean(c.State) {
		d.add("state", "is the same as root")
	}
	if most := d.platform.maxSocket - len(stateSocket); d.platform.maxSocket > 0 && len(path.Clean(c.State)) > most {
		d.add("state", "is longer than %d bytes, the most for the sockets in it to have paths", most)
	}
	d.oneOf("log.format", c.Log.Format, "json", "text")
	d.optionalAbsolute("log.file", c.Log.File)
	if c.Log.MaxSize < minLogFile {
		d.add("log.max_size", "is %s, less than %s", c.Log.MaxSize, Size(minLogFile))
	}
	d.between("log.max_files", c.Log.MaxFiles, 0, 1000)
	c.GRPC.check(d)
	if (c.Streaming.CertFile == "") != (c.Streaming.KeyFile == "") {
		d.add("streaming.cert_file", "needs key_file beside it, and the other way round")
	}
	d.optionalAbsolute("streaming.cert_file", c.Streaming.CertFile)
	d.optionalAbsolute("streaming.key_file", c.Streaming.KeyFile)
	d.address("streaming.address", c.Streaming.Address, c.Streaming.CertFile == "")
	d.positive("streaming.idle_timeout", c.Streaming.IdleTimeout)
	if c.Metrics.Address != "" {
		d.address("metrics.address", c.Metrics.Address, true)
	}
	c.Tracing.check(d)
	d.absolute("images.registry_config_dir", c.Images.RegistryConfigDir)
	d.optionalAbsolute("images.docker_config", c.Images.DockerConfig)
	for _, ref := range c.Images.Pinned {
		if ref == "" || strings.ContainsAny(ref, " \t\n") {
			d.add("images.pinned", "%q is not a reference", ref)
		}
	}
	d.between("images.max_downloads", c.Images.MaxDownloads, 1, 64)
	d.between("images.max_conversions", c.Images.MaxConversions, 1, 64)
	d.positive("images.stall_timeout", c.Images.StallTimeout)
	if c.Images.MaxLayerSize < minLayer {
		d.add("images.max_layer_size", "is %s, layers want %s", c.Images.MaxLayerSize, Size(minLayer))
	}
	d.absolute("network.conf_dir", c.Network.ConfDir)
	if len(c.Network.PluginDirs) == 0 {
		d.add("network.plugin_dirs", "is empty")
	}
	for _, dir := range c.Network.PluginDirs {
		d.absolute("network.plugin_dirs", dir)
	}
	d.oneOf("vm.driver", c.VM.Driver, d.platform.driver)
	d.oneOf("vm.accel", c.VM.Accel, "auto", "kvm", "tcg")
	if d.platform.driver == "qemu" {
		d.absolute("vm.qemu", c.VM.QEMU)
	}
	d.optionalAbsolute("vm.bundle", c.VM.Bundle)
	d.between("vm.uid_base", c.VM.UIDBase, 1, noID-1)
	d.between("vm.uid_count", c.VM.UIDCount, 1, maxUIDs)
	if last := c.VM.UIDBase + c.VM.UIDCount - 1; last >= noID && c.VM.UIDBase < noID {
		d.add("vm.uid_count", "is %d, too many from uid %d on", c.VM.UIDCount, c.VM.UIDBase)
	}
	d.between("vm.gid", c.VM.GID, 0, noID-1)
	if strings.ContainsAny(c.VM.ExtraCmdline, "\n\x00") || len(c.VM.ExtraCmdline) > 1024 {
		d.add("vm.extra_cmdline", "must be one line of at most 1024 bytes")
	}
	d.positive("vm.start_timeout", c.VM.StartTimeout)
	d.oneOf("vm.template", c.VM.Template, "auto", "on", "off")
	if _, n := c.VM.SpareCount(); n < 0 || n > maxSpares {
		d.add("vm.spares", "%q is not \"off\", \"auto\" or a number to %d", c.VM.Spares, maxSpares)
	}
	d.between("vm.spare_memory", int64(c.VM.SpareMemory), 1<<20, 1<<50)
	if auto, n := c.VM.SpareCount(); (auto || n > 0) && c.VM.SpareMemory < c.VM.Memory {
		d.add("vm.spare_memory", "is %s, less than one spare, which has memory: %s", c.VM.SpareMemory, c.VM.Memory)
	}
	d.oneOf("vm.host_namespaces", c.VM.HostNamespaces, hostNamespaces...)
	d.oneOf("vm.pod_cgroup", c.VM.PodCgroup, "auto", "on", "off")
	d.oneOf("vm.cgroup_driver", c.VM.CgroupDriver, "auto", "cgroupfs", "systemd")
	if c.VM.HostOverhead < 0 || c.VM.HostOverhead > maxMemory {
		d.add("vm.host_overhead", "is %s, not between 0 and %s", c.VM.HostOverhead, Size(maxMemory))
	}
	c.Kubelet.check(d)
	c.Upstream.check(d)
	all := func(string) bool { return true }
	c.VM.checkSizes(d, "vm", all)
	for _, name := range slices.Sorted(maps.Keys(c.Handlers)) {
		key := join("handlers", name)
		if !handlerName.MatchString(name) {
			d.add(key, "is not a name for a runtime handler: a-z, 0-9 and -, at most 63")
		}
		h := c.Handlers[name]
		if h.HostNamespaces != nil {
			d.oneOf(join(key, "host_namespaces"), *h.HostNamespaces, hostNamespaces...)
		}
		// What it does not set was looked at in [vm].
		h.Over(c.VM).checkSizes(d, key, h.sets)
		c.checkSharing(d, key, h)
	}
}

// maxSharedPods is how many NICs a VM can have: sandbox.MaxNICs.
const maxSharedPods = 16

var annotationName = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)

func (c *Config) checkSharing(d *document, key string, h Handler) {
	s, shares := h.Sharing()
	if !shares {
		for name, set := range map[string]bool{"pods": h.Pods != nil, "privileged": h.Privileged != nil} {
			if set {
				d.add(key+"."+name, "is for handlers with share_by")
			}
		}
		return
	}
	if by := *h.ShareBy; by != "namespace" && (!strings.HasPrefix(by, byAnnotation) || !annotationName.MatchString(s.Annotation)) {
		d.add(key+".share_by", "%q is neither namespace nor annotation:NAME", by)
	}
	d.between(key+".pods", s.Pods, 2, maxSharedPods)
	if vm := h.Over(c.VM); vm.Memory <= vm.Overhead {
		d.add(key+".memory", "is %s, no more than overhead, which is %s: nothing is left for pods", vm.Memory, vm.Overhead)
	}
	for name, value := range map[string]bool{"max_vcpus": h.MaxVCPUs != nil, "max_memory": h.MaxMemory != nil} {
		if value {
			d.add(key+"."+name, "is for VMs that grow with their pod, which a shared one does not")
		}
	}
}

func (t Tracing) check(d *document) {
	d.optionalAbsolute("tracing.ca_file", t.CAFile)
	if t.Endpoint == "" {
		return
	}
	u, err := url.Parse(t.Endpoint)
	switch {
	case err != nil || u.Hostname() == "" || !validPort(u.Port()) || u.Scheme != "http" && u.Scheme != "https":
		d.add("tracing.endpoint", "%q is not like http://127.0.0.1:4317 or https://HOST:PORT", t.Endpoint)
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		d.add("tracing.endpoint", "%q has more than a host and a port", t.Endpoint)
	case t.CAFile != "" && u.Scheme == "http":
		d.add("tracing.ca_file", "is for https alone")
	}
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func (g GRPC) check(d *document) {
	e, err := ParseEndpoint(g.Socket)
	if err != nil {
		d.add("grpc.socket", "%v", err)
	}
	d.between("grpc.gid", g.GID, 0, noID-1)
	if g.Mode&0o007 != 0 {
		d.add("grpc.mode", "lets everybody connect, who then can do what root can")
	}
	if err := checkDescriptor(g.SecurityDescriptor); err != nil {
		d.add("grpc.security_descriptor", "%v", err)
	}
	files := map[string]string{"cert_file": g.CertFile, "key_file": g.KeyFile, "client_ca_file": g.ClientCAFile}
	given := 0
	for _, key := range slices.Sorted(maps.Keys(files)) {
		d.optionalAbsolute("grpc."+key, files[key])
		if files[key] != "" {
			given++
		}
	}
	switch tcp := e.Kind == TCP; {
	case err != nil:
	case e.Kind == Unix && d.platform.maxSocket == 0:
		d.add("grpc.socket", "is a unix socket, which the daemon has on Linux alone: npipe:////./pipe/porthole")
	case given > 0 && given < len(files):
		d.add("grpc", "cert_file, key_file and client_ca_file are needed together")
	case given > 0 && !tcp:
		d.add("grpc", "cert_file, key_file and client_ca_file are for tcp:// alone")
	case given > 0 && g.InsecureTCP:
		d.add("grpc.insecure_tcp", "contradicts cert_file")
	case tcp && given == 0 && !g.InsecureTCP:
		d.add("grpc.socket", "tcp:// needs cert_file, key_file and client_ca_file, else every program of this host can do what root can; for a test alone, set insecure_tcp")
	case !tcp && g.InsecureTCP:
		d.add("grpc.insecure_tcp", "is for tcp:// alone")
	}
}

// checkSizes adds what is wrong with the sizes of the table at key, of which it looks at
// those that sets says are set there, and at pairs of which one is.
func (v VM) checkSizes(d *document, key string, sets func(key string) bool) {
	bad := func(name, format string, args ...any) { d.add(key+"."+name, format, args...) }
	if sets("vcpus") {
		d.between(key+".vcpus", v.VCPUs, 1, maxVCPUs)
	}
	if sets("max_vcpus") {
		d.between(key+".max_vcpus", v.MaxVCPUs, 0, maxVCPUs)
	}
	if (sets("vcpus") || sets("max_vcpus")) && v.MaxVCPUs > 0 && v.MaxVCPUs < v.VCPUs {
		bad("max_vcpus", "is %d, less than vcpus, which is %d", v.MaxVCPUs, v.VCPUs)
	}
	for _, s := range []struct {
		name        string
		size        Size
		least, most Size
		what        string // needs least
	}{
		{"memory", v.Memory, minMemory, maxMemory, "a guest"},
		{"overhead", v.Overhead, 0, maxMemory, ""},
		{"max_memory", v.MaxMemory, 0, maxMemory, ""},
		{"scratch", v.Scratch, minScratch, maxDisk, "a file system"},
		{"shm", v.Shm, minShm, maxMemory, "it"},
	} {
		switch {
		case !sets(s.name):
		case s.size < s.least:
			bad(s.name, "is %s, %s needs %s", s.size, s.what, s.least)
		case s.size > s.most:
			bad(s.name, "is %s, more than %s", s.size, s.most)
		}
	}
	if (sets("memory") || sets("max_memory")) && v.MaxMemory > 0 && v.MaxMemory < v.Memory {
		bad("max_memory", "is %s, less than memory, which is %s", v.MaxMemory, v.Memory)
	}
}

// ownFolder is for a folder that the daemon has to itself.
func (d *document) ownFolder(key, p string) {
	d.absolute(key, p)
	if d.platform.root(p) {
		d.add(key, "is the root of all files, not a folder for one daemon")
	}
}

func (d *document) absolute(key, p string) {
	if !d.platform.absolute(p) {
		d.add(key, "%q is not an absolute path", p)
	}
}

func (d *document) optionalAbsolute(key, p string) {
	if p != "" {
		d.absolute(key, p)
	}
}

func (d *document) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		d.add(key, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

func (d *document) between(key string, n, least, most int64) {
	if n < least || n > most {
		d.add(key, "%d is not between %d and %d", n, least, most)
	}
}

func (d *document) positive(key string, v Duration) {
	if v <= 0 {
		d.add(key, "must be more than nothing")
	}
}

func (d *document) address(key, addr string, loopback bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		d.add(key, "%q is not an address such as 127.0.0.1:9000", addr)
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		d.add(key, "%q is not a port", port)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		d.add(key, "%q is not an IP address", host)
		return
	}
	if loopback && !ip.IsLoopback() {
		d.add(key, "%s is not a loopback address", ip)
	}
}
