package config

import (
	"maps"
	"net"
	"net/netip"
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
	maxVCPUs   = 64
	maxUIDs    = 65536
	noID       = 1<<32 - 1 // what Linux takes for "no user"
)

var handlerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// check adds to d what is wrong with values that have the right type.
func (c *Config) check(d *document) {
	if c.Version != Version {
		d.add("version", "is %d, this build reads %d", c.Version, Version)
	}
	d.absolute("root", c.Root)
	d.absolute("state", c.State)
	d.oneOf("log.format", c.Log.Format, "json", "text")
	d.absolute("grpc.socket", c.GRPC.Socket)
	// The bound is the kernel's: sun_path with its NUL.
	if len(c.GRPC.Socket) > 107 {
		d.add("grpc.socket", "is longer than 107 bytes, the most for a socket's path")
	}
	d.between("grpc.gid", c.GRPC.GID, 0, noID-1)
	if c.GRPC.Mode&0o007 != 0 {
		d.add("grpc.mode", "lets everybody connect, who then can do what root can")
	}
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
	d.oneOf("vm.driver", c.VM.Driver, "qemu")
	d.oneOf("vm.accel", c.VM.Accel, "auto", "kvm", "tcg")
	d.absolute("vm.qemu", c.VM.QEMU)
	d.absolute("vm.bundle", c.VM.Bundle)
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
	c.VM.checkSizes(d, "vm")
	for _, name := range slices.Sorted(maps.Keys(c.Handlers)) {
		key := join("handlers", name)
		if !handlerName.MatchString(name) {
			d.add(key, "is not a name for a runtime handler: a-z, 0-9 and -, at most 63")
		}
		vm := c.Handlers[name].Over(c.VM)
		vm.checkSizes(d, key)
	}
}

func (v VM) checkSizes(d *document, key string) {
	d.between(key+".vcpus", v.VCPUs, 1, maxVCPUs)
	d.between(key+".max_vcpus", v.MaxVCPUs, 0, maxVCPUs)
	if v.MaxVCPUs > 0 && v.MaxVCPUs < v.VCPUs {
		d.add(key+".max_vcpus", "is %d, less than vcpus, which is %d", v.MaxVCPUs, v.VCPUs)
	}
	if v.Memory < minMemory {
		d.add(key+".memory", "is %s, a guest needs %s", v.Memory, Size(minMemory))
	}
	if v.MaxMemory > 0 && v.MaxMemory < v.Memory {
		d.add(key+".max_memory", "is %s, less than memory, which is %s", v.MaxMemory, v.Memory)
	}
	if v.Scratch < minScratch {
		d.add(key+".scratch", "is %s, a file system needs %s", v.Scratch, Size(minScratch))
	}
}

func (d *document) absolute(key, p string) {
	// Slashes on every system: what is checked here are the paths of Linux hosts.
	if !path.IsAbs(p) {
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
