package boot

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/guest/image/modlist"
)

func TestInGroup(t *testing.T) {
	list := []modlist.Module{{Group: modlist.Base, Name: "a"}, {Group: modlist.Virtio, Name: "b"}, {Group: modlist.Base, Name: "c"}}
	if d := cmp.Diff([]modlist.Module{list[0], list[2]}, inGroup(list, modlist.Base)); d != "" {
		t.Error(d)
	}
}

func TestResolveAlias(t *testing.T) {
	const aliases = "fs_fuse fuse\nrtnl_link_veth veth\nnot-a-line\nnet_pf_16_proto_* netlink_diag\n[ broken\n"
	for name, want := range map[string]string{
		"fs-fuse": "fuse", "rtnl-link-veth": "veth", "net-pf-16-proto-4": "netlink_diag", "nf_tables": "nf_tables", "": "",
	} {
		got, err := resolveAlias(strings.NewReader(aliases), name)
		if err != nil || got != want {
			t.Errorf("resolveAlias(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
}
