package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOnWindows_Defaults: the default text differs in its values alone, and is valid.
func TestOnWindows_Defaults(t *testing.T) {
	c, err := onWindows.defaults()
	if err != nil {
		t.Fatal(err)
	}
	linux, windows := strings.Split(onUnix.text(), "\n"), strings.Split(onWindows.text(), "\n")
	if len(linux) != len(windows) {
		t.Fatalf("%d lines, on Linux %d", len(windows), len(linux))
	}
	var got []string
	for i, line := range windows {
		if line != linux[i] {
			got = append(got, line)
		}
	}
	want := []string{
		`root = 'C:\ProgramData\porthole\root'`,
		`state = 'C:\ProgramData\porthole\state'`,
		`socket = "npipe:////./pipe/porthole"`,
		`registry_config_dir = 'C:\ProgramData\porthole\certs.d'`,
		`conf_dir = 'C:\etc\cni\net.d'`,
		`plugin_dirs = ['C:\opt\cni\bin']`,
		`driver = "hcs"`,
		`bundle = ""`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines that differ from Linux' (-want +got):\n%s", diff)
	}
	if e := c.GRPC.Endpoint(); e != (Endpoint{Pipe, `\\.\pipe\porthole`}) || c.VM.Driver != "hcs" {
		t.Errorf("endpoint = %v, driver = %s", e, c.VM.Driver)
	}
	if _, err := onWindows.parse([]byte(onWindows.text()), c); err != nil {
		t.Errorf("its own text over the defaults: %v", err)
	}
}

func TestOnWindows_NamesProblems(t *testing.T) {
	base, err := onWindows.defaults()
	if err != nil {
		t.Fatal(err)
	}
	_, err = onWindows.parse([]byte(`root = 'C:\'
state = "/run/porthole"
[log]
file = 'log\porthole.log'
[grpc]
socket = "/run/porthole.sock"
[images]
registry_config_dir = '\\server\share\certs.d'
[network]
plugin_dirs = ['C:cni']
[vm]
driver = "qemu"
bundle = '\guest'
`), base)
	want := `configuration: 7 problems
  line 1: root: is the root of all files, not a folder for one daemon
  line 2: state: "/run/porthole" is not an absolute path
  line 4: log.file: "log\\porthole.log" is not an absolute path
  line 6: grpc.socket: is a unix socket, which the daemon has on Linux alone: npipe:////./pipe/porthole
  line 10: network.plugin_dirs: "C:cni" is not an absolute path
  line 12: vm.driver: "qemu" is not one of hcs
  line 13: vm.bundle: "\\guest" is not an absolute path`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	long := `state = 'C:\` + strings.Repeat("x", 200) + `'`
	if _, err := onWindows.parse([]byte(long), base); err != nil {
		t.Errorf("a long state folder, in which no sockets are: %v", err)
	}
}
