package config

import (
	"path"
	"regexp"
	"strings"
)

// platform is what differs between systems in a configuration.
type platform struct {
	path      string            // where the daemon looks when no path is given
	values    map[string]string // defaults other than those of default.toml, in TOML, by key
	driver    string            // of VMs
	maxSocket int               // longest path of a socket; 0: sockets have no paths
	absolute  func(string) bool
	root      func(string) bool // the root of all files, or of a drive's
}

// onUnix has the defaults of default.toml.
var onUnix = platform{
	path: "/etc/porthole/config.toml", driver: "qemu", maxSocket: maxSocket,
	absolute: path.IsAbs,
	root:     func(p string) bool { return path.Clean(p) == "/" },
}

// onWindows has what installs of Windows nodes have. Users may write below
// C:\ProgramData, so that the folder there is made for Administrators alone; those who may
// write below C:\Program Files can replace the daemon anyway.
var onWindows = platform{
	path: `C:\ProgramData\porthole\config.toml`,
	values: map[string]string{
		"root":                       `'C:\ProgramData\porthole\root'`,
		"state":                      `'C:\ProgramData\porthole\state'`,
		"grpc.socket":                `"npipe:////./pipe/porthole"`,
		"images.registry_config_dir": `'C:\ProgramData\porthole\certs.d'`,
		"network.conf_dir":           `'C:\etc\cni\net.d'`,
		"network.plugin_dirs":        `['C:\opt\cni\bin']`,
		"vm.driver":                  `"hcs"`,
		"vm.bundle":                  `""`,
	},
	driver:   "hcs",
	absolute: windowsAbsolute.MatchString,
	root:     windowsRoot.MatchString,
}

var (
	windowsAbsolute = regexp.MustCompile(`^([A-Za-z]:[\\/]|\\\\[^\\/]+[\\/][^\\/]+)`)
	windowsRoot     = regexp.MustCompile(`^([A-Za-z]:[\\/.]*|\\\\[^\\/]+[\\/][^\\/]+[\\/.]*)$`)
)

// text is the commented default configuration.
func (p platform) text() string {
	lines := strings.SplitAfter(defaultText, "\n")
	at := keyLines([]byte(defaultText))
	for key, value := range p.values {
		n := at[key] - 1
		name, _, _ := strings.Cut(lines[n], " = ")
		lines[n] = name + " = " + value + "\n"
	}
	return strings.Join(lines, "")
}
