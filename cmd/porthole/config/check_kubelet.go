package config

import (
	"maps"
	"regexp"
	"slices"

	"github.com/porthole-run/porthole/cri/endpoint"
)

const maxProcessors = 1 << 16

var (
	driveName   = regexp.MustCompile(`^[A-Za-z]:$`)
	drivePath   = regexp.MustCompile(`^([A-Za-z]:)?[\\/]`)
	driveLetter = regexp.MustCompile(`^[a-z]$`)
)

func (k WindowsKubelet) check(d *document) {
	const at = "windows_kubelet"
	d.oneOf(at+".dialect", k.Dialect, "auto", "on", "off")
	d.endpoint(at+".pods_api", k.PodsAPI)
	d.positive(at+".pods_api_timeout", k.PodsAPITimeout)
	d.oneOf(at+".without_spec", k.WithoutSpec, "refuse", "drop-security-context")
	d.oneOf(at+".host_network", k.HostNetwork, "refuse", "pod")
	if !drivePath.MatchString(k.SeccompRoot) {
		d.add(at+".seccomp_root", "%q is not an absolute path of Windows", k.SeccompRoot)
	}
	if !driveName.MatchString(k.SystemDrive) {
		d.add(at+".system_drive", "%q is not a drive such as C:", k.SystemDrive)
	}
	d.between(at+".processors", k.Processors, 0, maxProcessors)
	for _, drive := range slices.Sorted(maps.Keys(k.Drives)) {
		key := join(at+".drives", drive)
		if !driveLetter.MatchString(drive) {
			d.add(key, "is not the letter of a drive, a to z")
		}
		d.absolute(key, k.Drives[drive])
	}
}

func (u Upstream) check(d *document) {
	if u.Endpoint != "" {
		d.endpoint("upstream.endpoint", u.Endpoint)
	}
	d.oneOf("upstream.default", u.Default, "porthole", "upstream")
	d.positive("upstream.timeout", u.Timeout)
}

func (d *document) endpoint(key, value string) {
	if _, err := endpoint.Dialer(value); err != nil {
		d.add(key, "%q is neither unix:///PATH nor npipe:////./pipe/NAME", value)
	}
}
