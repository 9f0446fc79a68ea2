package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// usersImage has layers of files over base, and a user in its config.
func usersImage(t *testing.T, base v1.Image, name, user string, layers ...map[string]debimage.File) string {
	t.Helper()
	img := base
	for _, l := range layers {
		above, err := files(img, l)()
		if err != nil {
			t.Fatal(err)
		}
		img = above
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	changed := config.DeepCopy()
	changed.Config.User = user
	if img, err = mutate.ConfigFile(img, changed); err != nil {
		t.Fatal(err)
	}
	if _, err := env.registry.Push(testContext(t), "e2e/"+name, "1", img); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s/e2e/%s:1", env.registry.host, name)
}

// TestContainerUser_Images: whom processes of images run as is the same whether the host looks in the
// layers or, where a file is larger than it reads, the guest in the container's root.
func TestContainerUser_Images(t *testing.T) {
	type tree = map[string]debimage.File
	const users = "root:x:0:0::/root:/bin/sh\napp:x:1234:1235::/srv/app:/bin/sh\n77:x:88:99::/odd:/bin/sh\n"
	const groups = "root:x:0:\nstaff:x:2000:app,root\ntty:x:5:app\n"
	layers := map[string][]tree{
		"replaced": {{"etc/passwd": {Content: users}}},
		"whiteout": {{"etc/passwd": {Content: users}}, {"etc/.wh.passwd": {}}},
		"symlink":  {{"etc/passwd": {Symlink: "../usr/lib/users"}}, {"usr/lib/users": {Content: users}}},
	}
	uid := func(n int64) *cri.Int64Value { return &cri.Int64Value{Value: n} }
	type security = cri.LinuxContainerSecurityContext
	cases := []struct {
		name, image string
		security    *security
		want        string // uid, gid, further groups as sorted text, home; or the error
	}{
		{"image", "replaced", nil, "1234 2000 5 /srv/app"},
		{"name", "replaced", &security{RunAsUsername: "app"}, "1234 1235 2000 5 /srv/app"},
		{"number", "replaced", &security{RunAsUser: uid(1234), RunAsGroup: uid(7), SupplementalGroups: []int64{9}}, "1234 7 2000 5 9 /srv/app"},
		{"number-as-name", "replaced", &security{RunAsUser: uid(77)}, "88 99 /odd"},
		{"strict", "replaced", &security{RunAsUsername: "app", SupplementalGroups: []int64{9}, SupplementalGroupsPolicy: cri.SupplementalGroupsPolicy_Strict}, "1234 1235 9 /srv/app"},
		{"hidden", "replaced", &security{RunAsUsername: "demo"}, `user "demo" is not in the image's /etc/passwd`},
		{"whiteout-number", "whiteout", &security{RunAsUser: uid(1234)}, "1234 0 /"},
		{"whiteout-name", "whiteout", &security{RunAsUsername: "app"}, `user "app" is not in the image's /etc/passwd`},
		{"symlink", "symlink", &security{RunAsUsername: "app"}, "1234 1235 2000 5 /srv/app"},
		{"symlink-image", "symlink", nil, "1234 2000 5 /srv/app"},
	}
	base, err := debimage.Sample(testContext(t), filepath.Join(env.cache, "debs"))
	if err != nil {
		t.Fatal(err)
	}
	padding := strings.Repeat("#"+strings.Repeat("-", 1000)+"\n", 300)
	p := runPod(t, env.server)
	for where, group := range map[string]string{"host": groups, "guest": groups + padding} {
		refs := map[string]string{}
		for name, l := range layers {
			refs[name] = usersImage(t, base, "users-"+name+"-"+where, "app:staff", append(slices.Clone(l), tree{"etc/group": {Content: group}})...)
		}
		for _, c := range cases {
			t.Run(where+"/"+c.name, func(t *testing.T) {
				q := *p
				q.t = t
				config := sh(where+"-"+c.name, `echo "$(id -u) $(id -g) $(id -G) $HOME"`)
				config.Image.Image, config.Linux.SecurityContext = refs[c.image], c.security
				id, err := q.tryCreate(config)
				if err != nil {
					if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want) {
						t.Errorf("CreateContainer: %v, want InvalidArgument with %s", err, c.want)
					}
					return
				}
				k := &container{pod: &q, id: id, config: config}
				defer k.remove()
				k.start()
				if s := k.wait(); s.ExitCode != 0 {
					t.Fatalf("exit code %d: %s", s.ExitCode, k.logText("stderr"))
				}
				got := strings.Fields(k.stdout())
				// id -G repeats the primary group, in no order that matters.
				further := slices.DeleteFunc(slices.Sorted(slices.Values(got[2:len(got)-1])), func(g string) bool { return g == got[1] })
				line := strings.Join(append(append(got[:2:2], further...), got[len(got)-1]), " ")
				if line != c.want {
					t.Errorf("got %s, want %s", line, c.want)
				}
			})
		}
	}
	// Who looked is in what the calls spent their time on.
	looked := map[string]int{}
	out, err := env.server.Porthole(testContext(t), "why-slow", "--config", env.server.HostPath(env.server.ConfigPath), "--json", p.id).CombinedOutput()
	if err != nil {
		t.Fatalf("porthole why-slow: %v: %s", err, out)
	}
	var h phase.History
	if err := json.Unmarshal(out, &h); err != nil {
		t.Fatal(err)
	}
	for _, call := range h.Calls {
		if call.Name != "CreateContainer" || call.Error != "" {
			continue
		}
		where, _, _ := strings.Cut(call.Container, "-")
		by := "by the host"
		if slices.ContainsFunc(call.Spans, func(s phase.Span) bool { return s.Name == "find user" }) {
			by = "by the guest"
		}
		looked[where+" "+by]++
	}
	if looked["host by the host"] == 0 || looked["guest by the guest"] == 0 || len(looked) != 2 {
		t.Errorf("who looked users up: %v", looked)
	}
}
