package config

import "strconv"

// VM is [vm].
type VM struct {
	Driver       string   `toml:"driver" json:"driver"`
	QEMU         string   `toml:"qemu" json:"qemu"`
	Accel        string   `toml:"accel" json:"accel"`
	UIDBase      int64    `toml:"uid_base" json:"uid_base"`
	UIDCount     int64    `toml:"uid_count" json:"uid_count"`
	GID          int64    `toml:"gid" json:"gid"`
	Bundle       string   `toml:"bundle" json:"bundle"`
	ExtraCmdline string   `toml:"extra_cmdline" json:"extra_cmdline"`
	StartTimeout Duration `toml:"start_timeout" json:"start_timeout"`
	Template     string   `toml:"template" json:"template"`
	Spares       string   `toml:"spares" json:"spares"`
	SpareMemory  Size     `toml:"spare_memory" json:"spare_memory"`
	VCPUs        int64    `toml:"vcpus" json:"vcpus"`
	Memory       Size     `toml:"memory" json:"memory"`
	Overhead     Size     `toml:"overhead" json:"overhead"`
	MaxVCPUs     int64    `toml:"max_vcpus" json:"max_vcpus"`
	MaxMemory    Size     `toml:"max_memory" json:"max_memory"`
	Scratch      Size     `toml:"scratch" json:"scratch"`
	Shm          Size     `toml:"shm" json:"shm"`

	HostNamespaces string `toml:"host_namespaces" json:"host_namespaces"`
	PodCgroup      string `toml:"pod_cgroup" json:"pod_cgroup"`
	CgroupDriver   string `toml:"cgroup_driver" json:"cgroup_driver"`
	HostOverhead   Size   `toml:"host_overhead" json:"host_overhead"`
}

// SpareCount reads spares: whether demand says how many there are, else how many.
func (v VM) SpareCount() (auto bool, fixed int) {
	switch v.Spares {
	case "auto":
		return true, 0
	case "off":
		return false, 0
	}
	n, err := strconv.Atoi(v.Spares)
	if err != nil {
		return false, -1 // which check refuses
	}
	return false, n
}
