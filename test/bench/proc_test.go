package main

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/test/harness"
)

// Other runs of Porthole and containerd may be on the machine.
func TestShims(t *testing.T) {
	all := []harness.Process{
		{PID: 10, Parent: 1, Args: []string{"/opt/porthole", "shim", "--dir", "/tmp/pb1/p/run/vm/a"}},
		{PID: 11, Parent: 1, Args: []string{"/opt/porthole", "shim", "--dir", "/tmp/pb12/p/run/vm/a"}},
		{PID: 12, Parent: 1, Args: []string{"/opt/porthole", "serve", "--config", "/tmp/pb1/p/config.toml"}},
		{PID: 13, Parent: 10, Args: []string{"/usr/bin/qemu-system-x86_64", "-nodefaults"}},
		{PID: 20, Parent: 1, Args: []string{"/usr/bin/containerd-shim-runc-v2", "-id", "x", "-address", "/tmp/pb1/c/containerd.sock"}},
		{PID: 21, Parent: 1, Args: []string{"/usr/bin/containerd-shim-runc-v2", "-id", "x", "-address", "/run/containerd/containerd.sock"}},
		{PID: 22, Parent: 20, Args: []string{"/pause"}},
		{PID: 23, Parent: 1, Args: []string{"porthole"}},
	}
	pids := func(ps []harness.Process) []int {
		var out []int
		for _, p := range ps {
			out = append(out, p.PID)
		}
		return out
	}
	for name, c := range map[string]struct{ got, want []int }{
		"porthole":   {pids(harness.Shims(all, "/tmp/pb1/p")), []int{10}},
		"containerd": {pids(containerdShims(all, "/tmp/pb1/c/containerd.sock")), []int{20}},
		"qemu":       {pids(harness.Children(all, 10)), []int{13}},
		"pause":      {pids(harness.Children(all, 20)), []int{22}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseUsage(t *testing.T) {
	if got, err := parseUsageV1("2500000000\n"); got != 2.5 || err != nil {
		t.Errorf("parseUsageV1 = %v, %v, want 2.5", got, err)
	}
	if got, err := parseUsageV2("usage_usec 1500000\nuser_usec 1000000\n"); got != 1.5 || err != nil {
		t.Errorf("parseUsageV2 = %v, %v, want 1.5", got, err)
	}
	if _, err := parseUsageV1("many"); err == nil {
		t.Error("parseUsageV1 of no number: no error")
	}
	if _, err := parseUsageV2("user_usec 1\n"); err == nil {
		t.Error("parseUsageV2 without usage_usec: no error")
	}
}

func TestOwnCgroup(t *testing.T) {
	const text = "12:cpu,cpuacct:/a/b:c\n1:name=systemd:/s\n0::/unified\n"
	for controller, want := range map[string]string{"cpuacct": "/a/b:c", "": "/unified", "memory": "/"} {
		if got := ownCgroup(text, controller); got != want {
			t.Errorf("ownCgroup(%q) = %q, want %q", controller, got, want)
		}
	}
}

func TestMountsBelow(t *testing.T) {
	const text = "21 1 8:1 / / rw - ext4 /dev/sda rw\n" +
		"30 21 7:0 / /tmp/pb1 rw - ext4 /dev/loop0 rw\n" +
		"31 30 0:9 / /tmp/pb1/c/shm rw - tmpfs shm rw\n" +
		"32 31 0:9 / /tmp/pb1/c/shm/in rw - tmpfs shm rw\n" +
		"33 21 0:9 / /tmp/pb12/c rw - tmpfs shm rw\n"
	want := []string{"/tmp/pb1/c/shm/in", "/tmp/pb1/c/shm"}
	if diff := cmp.Diff(want, mountsBelow(text, "/tmp/pb1")); diff != "" {
		t.Errorf("mountsBelow (-want +got):\n%s", diff)
	}
}

func TestPeerConf(t *testing.T) {
	conf, err := peerConf(deploy.CNIConf)
	if err != nil {
		t.Fatal(err)
	}
	type confList struct {
		Name    string
		Plugins []struct {
			Type, Bridge string
			IPMasq       bool
			IPAM         struct{ Ranges [][]map[string]string }
		}
	}
	var ours, theirs confList
	if err := json.Unmarshal(deploy.CNIConf, &ours); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(conf, &theirs); err != nil {
		t.Fatal(err)
	}
	if ours.Name == theirs.Name || ours.Plugins[0].Bridge == theirs.Plugins[0].Bridge || cmp.Equal(ours.Plugins[0].IPAM, theirs.Plugins[0].IPAM) {
		t.Errorf("the peer shares a name, bridge or addresses:\n%s", conf)
	}
	theirs.Name, theirs.Plugins[0].Bridge, theirs.Plugins[0].IPAM = ours.Name, ours.Plugins[0].Bridge, ours.Plugins[0].IPAM
	if diff := cmp.Diff(ours, theirs); diff != "" {
		t.Errorf("the peer's conf differs in more than that (-ours +theirs):\n%s", diff)
	}
	for _, bad := range []string{"", "{}", `{"plugins":[{"type":"ptp"}]}`, `{"plugins":[{"type":"bridge"}]}`, `{"plugins":[1]}`} {
		if _, err := peerConf([]byte(bad)); err == nil {
			t.Errorf("peerConf(%q): no error", bad)
		}
	}
}

func TestUndoGoesOnAfterErrors(t *testing.T) {
	var u undo
	var order []int
	for i := range 3 {
		u.add(func() error {
			order = append(order, i)
			if i == 1 {
				return errors.New("failed")
			}
			return nil
		})
	}
	if err := u.run(); err == nil {
		t.Error("run = nil, want the error of its second step")
	}
	if diff := cmp.Diff([]int{2, 1, 0}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestNotesRead(t *testing.T) {
	if got, err := memoryTotal("MemTotal:       24684084 kB\nMemFree: 1 kB\n"); got != "23.5 GiB of memory" || err != nil {
		t.Errorf("memoryTotal = %q, %v", got, err)
	}
	if _, err := memoryTotal("MemFree: 1 kB\n"); err == nil {
		t.Error("memoryTotal without MemTotal: no error")
	}
	doctor := `[{"name":"root","detail":"runs as root"},{"name":"accelerator","detail":"tcg: no KVM"}]`
	if got, err := doctorDetail(doctor, "accelerator"); got != "tcg: no KVM" || err != nil {
		t.Errorf("doctorDetail = %q, %v", got, err)
	}
	for _, bad := range []string{"", "[]", "{}"} {
		if _, err := doctorDetail(bad, "accelerator"); err == nil {
			t.Errorf("doctorDetail(%q): no error", bad)
		}
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-n", "4"})
	if err != nil || o.n != 4 || o.pulls != 3 || o.pods != 5 {
		t.Errorf("parse = %+v, %v, want 4 samples, 3 pulls, 5 pods", o, err)
	}
	for _, bad := range [][]string{{"-n", "0"}, {"-pods", "0"}, {"-pulls", "-1"}, {"extra"}, {"-unknown"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("parse(%q): no error", bad)
		}
	}
}
