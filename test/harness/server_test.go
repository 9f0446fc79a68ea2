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
