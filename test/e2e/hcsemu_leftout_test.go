package e2e

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// leftOut are the tests that `make test-hcsemu` leaves out, with their reasons.
// docs/testing.md has the same table: TestLeftOut compares them.
var leftOut = map[string]string{
	"TestPOSIX":                       noShares,
	"TestVolumes":                     noShares,
	"TestVolumeMapping":               noShares,
	"TestVolumeEvents":                noShares,
	"TestVolumeEvents_Alone":          noShares,
	"TestVolumeShared":                noShares,
	"TestVolumeMemory":                noShares,
	"TestVolumeHostMounts":            noShares,
	"TestVolumeDaemonKilled":          noShares,
	"TestVolumesRefused":              noShares,
	"TestSharedVM/volumes":            noShares,
	"TestSharedVM/volumes-go-on":      noShares,
	"TestPodDetails/termination-log":  noShares,
	"TestUserNamespace/folder":        noShares,
	"TestTemplate_ClonesShareNothing": noTemplates,
	"TestTemplate_Sizes":              noTemplates,
	"TestTemplate_DaemonKilled":       noTemplates,
	"TestTemplate_Fallback":           noTemplates,
	"TestTemplate_Many":               noTemplates,
	"TestTemplate_Figures":            noTemplates,
	"TestTemplate_FreedMemory":        noTemplates,
	"TestMux_Containerd":              "the runtime beside is Linux' containerd, on a unix socket, which Wine has not",
	"TestWindowsKubelet":              "it plays a Windows kubelet whose drives are folders of a Linux host",
	"TestSharedVM_Figures":            "it compares with pods whose VMs are clones, and the driver for Hyper-V clones no VMs",
	"TestCheckpoint":                  noSaving,
	"TestCheckpoint_Again":            noSaving,
	"TestCheckpoint_Refused":          noSaving,
	"TestCheckpoint_Volumes":          noSaving,
	"TestMountThroughLinks":           noShares,
	"TestStress":                      "tried once, beside much else: pods took longer than its callers wait, 20 s, so that nothing happened; nothing was left",
	"TestTemplate_FirstPod":           noTemplates,
	"TestPodCgroup":                   noGroups,
	"TestPodCgroupGone":               noGroups,
	"TestPodCgroupLimit":              noGroups,
	"TestHostPorts":                   "the emulator's HNS takes policies and does nothing with them, so that no port of the host leads to a pod",
	"TestUpgrade":                     "it builds and runs a daemon for Linux",
	"TestPodNetwork":                  "it wants IPv4 and IPv6; CNI's win-bridge gives one address: TestEmulatorNetwork is in its place",
}

const (
	noShares    = "host folders keep what NTFS lacks in extended attributes and reparse points, and Wine has neither"
	noSaving    = "the emulator saves no VMs"
	noGroups    = "Windows has no control groups"
	noTemplates = "the driver for Hyper-V clones no VMs"
)

// tryVar, when set, has the tests that are left out run like the others, to see what becomes of them.
const tryVar = "PORTHOLE_E2E_LEFTOUT"

// leaveOut tells package testing which tests not to run, with those that -skip names.
func leaveOut() error {
	if os.Getenv(tryVar) != "" {
		return nil
	}
	var patterns []string
	for _, name := range slices.Sorted(maps.Keys(leftOut)) {
		patterns = append(patterns, "^"+strings.ReplaceAll(name, "/", "$/^")+"$")
	}
	if f := flag.Lookup("test.skip"); f != nil && f.Value.String() != "" {
		return fmt.Errorf("-skip: what is left out is in the table leftOut alone")
	}
	return flag.Set("test.skip", strings.Join(patterns, "|"))
}

// TestLeftOut: what the table names is there, and the document has the same.
func TestLeftOut(t *testing.T) {
	tests := declaredTests(t)
	doc, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| ` + "`" + `(Test[\w/-]+)` + "`" + ` \| (.*) \|$`)
	told := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		told[m[1]] = m[2]
	}
	for name, reason := range leftOut {
		if test, _, _ := strings.Cut(name, "/"); !tests[test] {
			t.Errorf("%s is left out, and there is no such test", name)
		}
		if told[name] != reason {
			t.Errorf("docs/testing.md says of %s %q, want %q", name, told[name], reason)
		}
	}
	for name := range told {
		if leftOut[name] == "" {
			t.Errorf("docs/testing.md says that %s is left out, which it is not", name)
		}
	}
}
