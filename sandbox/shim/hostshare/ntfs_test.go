package hostshare

import (
	"testing"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	kernel "github.com/porthole-run/porthole/share/client"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/ntfs"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/posix"
)

func TestNTFSOptions(t *testing.T) {
	const pods = `C:\var\lib\kubelet\pods\6b1f\volumes\`
	group := func(readOnly bool) shim.ShareSource {
		return shim.ShareSource{ReadOnly: readOnly, FolderSource: sandbox.FolderSource{FSGroup: 2000}}
	}
	for _, tc := range []struct {
		path   string
		source shim.ShareSource
		want   ntfs.Options
	}{
		{`C:\srv`, shim.ShareSource{}, ntfs.Options{FileMode: 0o755, DirMode: 0o755}},
		{pods + `kubernetes.io~configmap\words`, shim.ShareSource{}, ntfs.Options{FileMode: 0o644, DirMode: 0o755}},
		{pods + `kubernetes.io~empty-dir\data`, group(false), ntfs.Options{GID: 2000, FileMode: 0o775, DirMode: 0o2775}},
		{pods + `kubernetes.io~secret\key`, group(true), ntfs.Options{GID: 2000, FileMode: 0o644, DirMode: 0o2755}},
	} {
		if got := ntfsOptions(tc.path, tc.source); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.path, got, tc.want)
		}
	}
}

// TestNTFS_FSGroup: a process of the pod's group, with another user, writes into a volume that
// Windows has made, and what it makes there is the group's too.
func TestNTFS_FSGroup(t *testing.T) {
	vol := ntfake.New(ntfake.Config{})
	host, _, err := vol.Root().Open(ntapi.OpenRequest{Name: "host", Access: ntapi.AccessWriteData, Disposition: ntapi.DispositionCreate, Share: ntapi.ShareAll})
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	source := shim.ShareSource{FolderSource: sandbox.FolderSource{FSGroup: 2000}}
	b, err := ntfs.New(vol.Root(), ntfsOptions(`C:\pods\6b1f\volumes\kubernetes.io~empty-dir\data`, source))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, err := share.NewSession(share.Config{Backend: b, Locker: lock.New(lock.Limits{}).Session("test")})
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernel.Mount(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	as := func(c card.Cred) card.Proc {
		p, err := k.Start(c, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Exit)
		return p
	}
	member, other := as(card.Cred{UID: 1000, GID: 1000, Groups: []uint32{2000}, Umask: 0o022}), as(card.Cred{UID: 1001, GID: 1001})
	for _, name := range []string{"host", "new"} {
		f, err := member.Open(name, posix.O_CREAT|posix.O_RDWR, 0o644)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		st, err := member.Stat(name, true)
		if err != nil || st.GID != 2000 {
			t.Errorf("%s: %+v, %v, want group 2000", name, st, err)
		}
	}
	if err := other.Mkdir("x", 0o755); posix.FromError(err) != posix.EACCES {
		t.Errorf("one who is not of the group makes a folder: %v", err)
	}
}
