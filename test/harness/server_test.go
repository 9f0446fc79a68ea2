package harness

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/deploy"
)

func TestOwnLeases(t *testing.T) {
	out := ownLeases(deploy.CNIConf, "/some/folder")
	if !json.Valid(out) || strings.Count(string(out), `"dataDir": "/some/folder"`) != 1 {
		t.Errorf("the default conf list with leases of its own:\n%s", out)
	}
	for _, conf := range []string{`{"plugins": [`, `[]`, `{"plugins": [7, {"ipam": 3}]}`, `{"plugins": [{"type": "bridge", "ipam": {"type": "dhcp"}}]}`} {
		if got := string(ownLeases([]byte(conf), "/x")); strings.Contains(got, "/x") {
			t.Errorf("ownLeases(%s) = %s", conf, got)
		}
	}
}

func TestParentOf(t *testing.T) {
	for stat, want := range map[string]int{
		"12 (sh) S 7 12 12 0 -1":          7,
		"12 (a b) (c)) R 41 12 12 0":      41,
		"12 (containerd-shim) Z 1 12 0 0": 1,
	} {
		if got, err := parentOf(stat); got != want || err != nil {
			t.Errorf("parentOf(%q) = %d, %v, want %d", stat, got, err, want)
		}
	}
	for _, stat := range []string{"", "12 sh S 7", "12 (sh) S", "12 (sh) S x 1"} {
		if _, err := parentOf(stat); err == nil {
			t.Errorf("parentOf(%q): no error", stat)
		}
	}
}
