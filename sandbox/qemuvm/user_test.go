package qemuvm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/testneed"
)

func TestUIDs_Take(t *testing.T) {
	u := UIDs{Base: 70000, Count: 2, Locks: filepath.Join(t.TempDir(), "uids")}
	first, err := u.take()
	if errors.Is(err, errors.ErrUnsupported) {
		testneed.Skip(t, "Linux: %v", err)
	}
	if err != nil || first.uid != 70000 {
		t.Fatalf("take() = %d, %v, want 70000", first.uid, err)
	}
	second, err := u.take()
	if err != nil || second.uid != 70001 {
		t.Fatalf("second take() = %d, %v, want 70001", second.uid, err)
	}
	if _, err := u.take(); !errdefs.IsResourceExhausted(err) {
		t.Errorf("third take() of two = %v, want ResourceExhausted", err)
	}
	first.giveBack()
	first.giveBack()
	if again, err := u.take(); err != nil || again.uid != 70000 {
		t.Errorf("take() after one was given back = %d, %v, want 70000", again.uid, err)
	}
	second.giveBack()
}

func TestUIDs_TakeFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if u, err := (UIDs{Base: 70000, Count: 2, Locks: file}).take(); err == nil {
		t.Errorf("take() with a file for a folder = %d", u.uid)
	}
}

func TestCheckUsers(t *testing.T) {
	dir := t.TempDir()
	passwd, subuid := filepath.Join(dir, "passwd"), filepath.Join(dir, "subuid")
	for path, text := range map[string]string{
		passwd: "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:70003:70003::/:/bin/sh\n",
		subuid: "ann:100000:65536\nbob:x:y\n\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name        string
		base, count uint32
		want        string
	}{
		{"free", 1_900_000_000, 1024, ""},
		{"up_to_a_user", 70000, 3, ""},
		{"a_user", 70000, 4, "70003 is user bob"},
		{"after_a_user", 70004, 10, ""},
		{"subordinate", 165535, 5, "165535 belongs to the subordinate users of ann"},
		{"around", 90000, 100000, "100000 belongs to the subordinate users of ann"},
		{"after_subordinate", 165536, 5, ""},
		{"the_last", maxUID, 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := UIDs{Base: tc.base, Count: tc.count}
			got, err := usersIn(u, passwd, subuid)
			if err != nil || got != tc.want {
				t.Errorf("usersIn() = %q, %v, want %q", got, err, tc.want)
			}
			if f := checkUsers(Config{UIDs: u}, passwd, subuid); f.OK != (tc.want == "") || f.OK != (f.Fix == "") {
				t.Errorf("checkUsers() = %+v", f)
			}
		})
	}
	if got, err := usersIn(UIDs{Base: 1, Count: 1}, filepath.Join(dir, "no"), filepath.Join(dir, "no")); got != "" || err != nil {
		t.Errorf("usersIn() without files = %q, %v", got, err)
	}
}
