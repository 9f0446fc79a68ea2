package main

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/porthole-run/porthole/image"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// TestFindUser: what is asked of a user reaches the rules, and what they come to the sandbox. Where
// they come to an error, or the image is not certain, the guest is to look.
func TestFindUser(t *testing.T) {
	type files = map[string]debimage.File
	known := files{
		"etc/passwd": {Content: "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"},
		"etc/group":  {Content: "adm:x:4:app\n"},
	}
	reg, err := registry.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	store, err := image.Open(image.Config{Root: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	roots := map[string]sandbox.RootFS{}
	for name, layers := range map[string][]files{
		"known": {known}, "without": {{"bin/sh": {Content: "x"}}}, "hidden": {known, {"etc/.wh.passwd": {}}},
		"folder": {known, {"etc/passwd": {Folder: true}}},
	} {
		img, err := debimage.Build(t.Context(), debimage.Spec{Files: layers, Config: v1.Config{}})
		if err == nil {
			_, err = reg.Push(t.Context(), name, "v1", img)
		}
		var id string
		if err == nil {
			id, err = store.Pull(t.Context(), reg.Host()+"/"+name+":v1", image.Auth{})
		}
		if err == nil {
			roots[name], err = rootFS{store}.Prepare(t.Context(), id, name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		image string
		user  sandbox.User
		want  *sandbox.FoundUser // nil: not known
	}{
		"default":          {"known", sandbox.User{}, &sandbox.FoundUser{Groups: []uint32{0}, Home: "/root"}},
		"name":             {"known", sandbox.User{Spec: "app"}, &sandbox.FoundUser{UID: 1000, GID: 1001, Groups: []uint32{1001, 4}, Home: "/home/app"}},
		"groups":           {"known", sandbox.User{Spec: "app", SupplementalGroups: []uint32{7}}, &sandbox.FoundUser{UID: 1000, GID: 1001, Groups: []uint32{1001, 4, 7}, Home: "/home/app"}},
		"strict":           {"known", sandbox.User{Spec: "app", SupplementalGroups: []uint32{7}, StrictGroups: true}, &sandbox.FoundUser{UID: 1000, GID: 1001, Groups: []uint32{1001, 7}, Home: "/home/app"}},
		"gid":              {"known", sandbox.User{Spec: "app", HasGID: true, GID: 9}, &sandbox.FoundUser{UID: 1000, GID: 9, Groups: []uint32{9, 4}, Home: "/home/app"}},
		"gid_0":            {"known", sandbox.User{Spec: "app", HasGID: true}, &sandbox.FoundUser{UID: 1000, Groups: []uint32{0, 4}, Home: "/home/app"}},
		"no_such_name":     {"known", sandbox.User{Spec: "who"}, nil},
		"no_files":         {"without", sandbox.User{Spec: "5:6"}, &sandbox.FoundUser{UID: 5, GID: 6, Groups: []uint32{6}, Home: "/"}},
		"no_files_name":    {"without", sandbox.User{Spec: "app"}, nil},
		"hidden_by_number": {"hidden", sandbox.User{Spec: "1000"}, &sandbox.FoundUser{UID: 1000, Groups: []uint32{0}, Home: "/"}},
		"hidden_by_name":   {"hidden", sandbox.User{Spec: "app"}, nil},
		"not_certain":      {"folder", sandbox.User{Spec: "1000"}, nil},
	}
	for name, tt := range tests {
		var got *sandbox.FoundUser
		if found, ok := (rootFS{store}).FindUser(t.Context(), roots[tt.image], tt.user); ok {
			got = &found
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
