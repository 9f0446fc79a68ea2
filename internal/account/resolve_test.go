package account

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

const (
	passwdFile = `# a comment
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
broken line
app:x:1000:1001::/home/app:/bin/sh
1000:x:2000:2000::/home/odd:/bin/sh
nohome:x:3000:3000
huge:x:99999999999:1::/:/bin/sh
`
	groupFile = `root:x:0:
daemon:x:1:
adm:x:4:app,daemon
app:x:1001:
video:x:44:root,app
4:x:40:
`
)

func TestResolve(t *testing.T) {
	tests := []struct {
		name string
		req  Request
		want Identity
		err  string
	}{
		{name: "root_by_default", want: Identity{Groups: []uint32{0, 44}, Home: "/root"}},
		{name: "name", req: Request{Spec: "app"}, want: Identity{UID: 1000, GID: 1001, Groups: []uint32{1001, 4, 44}, Home: "/home/app"}},
		{name: "strict", req: Request{Spec: "app", Strict: true, Groups: []uint32{7}}, want: Identity{UID: 1000, GID: 1001, Groups: []uint32{1001, 7}, Home: "/home/app"}},
		{name: "number_is_a_name_first", req: Request{Spec: "1000"}, want: Identity{UID: 2000, GID: 2000, Groups: []uint32{2000}, Home: "/home/odd"}},
		{name: "number_with_entry", req: Request{Spec: "1"}, want: Identity{UID: 1, GID: 1, Groups: []uint32{1, 4}, Home: "/usr/sbin"}},
		{name: "number_without_entry", req: Request{Spec: "4242"}, want: Identity{UID: 4242, Groups: []uint32{0}, Home: "/"}},
		{name: "no_home_field", req: Request{Spec: "nohome"}, want: Identity{UID: 3000, GID: 3000, Groups: []uint32{3000}, Home: "/"}},
		{name: "name_and_group", req: Request{Spec: "app:adm"}, want: Identity{UID: 1000, GID: 4, Groups: []uint32{4, 44}, Home: "/home/app"}},
		{name: "numbers", req: Request{Spec: "5:6"}, want: Identity{UID: 5, GID: 6, Groups: []uint32{6}, Home: "/"}},
		{name: "forced_gid", req: Request{Spec: "app", GID: ptr(9), Groups: []uint32{9, 4, 10}}, want: Identity{UID: 1000, GID: 9, Groups: []uint32{9, 4, 44, 10}, Home: "/home/app"}},
		{name: "unknown_user", req: Request{Spec: "nobody"}, err: `user "nobody" is not in the image's /etc/passwd`},
		{name: "unknown_group", req: Request{Spec: "app:nobody"}, err: `group "nobody" is not in the image's /etc/group`},
		{name: "empty_group", req: Request{Spec: "app:"}, err: "names no group"},
		{name: "entry_out_of_range", req: Request{Spec: "huge"}, err: `user "huge" is not in`},
		{name: "number_out_of_range", req: Request{Spec: "4294967295"}, err: `user "4294967295" is not in`},
		{name: "forced_gid_out_of_range", req: Request{GID: ptr(1 << 31)}, err: "is above"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Resolve(tt.req, strings.NewReader(passwdFile), strings.NewReader(groupFile))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !errdefs.IsInvalidArgument(err) {
					t.Fatalf("Resolve(%+v) = %v, want an InvalidArgument with %q", tt.req, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("Resolve(%+v) (-want +got):\n%s", tt.req, d)
			}
		})
	}
}

func TestResolve_NoFiles(t *testing.T) {
	got, err := Resolve(Request{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Identity{Groups: []uint32{0}, Home: "/root"}, got); d != "" {
		t.Error(d)
	}
	if _, err := Resolve(Request{Spec: "app"}, nil, nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a name without files = %v, want InvalidArgument", err)
	}
}

func TestResolve_Bounded(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"file": strings.NewReader(strings.Repeat("a:b:c:d\n", maxFile/8+1)),
		"line": bytes.NewReader(make([]byte, 2*maxLine)),
	} {
		if _, err := Resolve(Request{Spec: "x"}, r, nil); !errdefs.IsInvalidArgument(err) || strings.Contains(err.Error(), `"x"`) {
			t.Errorf("a large %s = %v, want an InvalidArgument about its size", name, err)
		}
	}
}

func FuzzResolve(f *testing.F) {
	f.Add("app:adm", passwdFile, groupFile)
	f.Add("", "::::", "a:::")
	f.Add("0:0", "", "")
	f.Fuzz(func(t *testing.T, spec, passwd, group string) {
		id, err := Resolve(Request{Spec: spec}, strings.NewReader(passwd), strings.NewReader(group))
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatalf("Resolve(%q) = %v, want InvalidArgument", spec, err)
			}
			return
		}
		if id.UID > maxID || id.GID > maxID || len(id.Groups) == 0 || id.Groups[0] != id.GID || id.Home == "" {
			t.Fatalf("Resolve(%q) = %+v", spec, id)
		}
	})
}

func ptr(n uint32) *uint32 { return &n }

// TestIdentity_Check: all that Resolve returns passes, and what it cannot return does not.
func TestIdentity_Check(t *testing.T) {
	files := Files{Passwd: []byte(passwdFile), Group: []byte(groupFile)}
	for _, spec := range []string{"", "app", "1000", "5:6", "nohome", "2147483647"} {
		id, err := files.Resolve(Request{Spec: spec, Groups: []uint32{3_000_000_000}})
		if err == nil {
			err = id.Check()
		}
		if err != nil {
			t.Errorf("%q: %v", spec, err)
		}
	}
	good := Identity{UID: 1, GID: 2, Groups: []uint32{2}, Home: "/"}
	for name, spoil := range map[string]func(*Identity){
		"uid":           func(id *Identity) { id.UID = maxID + 1 },
		"gid":           func(id *Identity) { id.GID, id.Groups = maxID+1, []uint32{maxID + 1} },
		"no_groups":     func(id *Identity) { id.Groups = nil },
		"other_group":   func(id *Identity) { id.Groups = []uint32{3, 2} },
		"too_many":      func(id *Identity) { id.Groups = append(id.Groups, make([]uint32, maxGroups)...) },
		"no_home":       func(id *Identity) { id.Home = "" },
		"too_long_home": func(id *Identity) { id.Home = strings.Repeat("/", maxLine+1) },
	} {
		id := good
		spoil(&id)
		if err := id.Check(); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: Check = %v, want InvalidArgument", name, err)
		}
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}
