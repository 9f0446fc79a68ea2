//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/account"
	"github.com/porthole-run/porthole/internal/phase"
)

const (
	passwdFile = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n1000:x:2000:2000::/odd:/bin/sh\n"
	groupFile  = "root:x:0:\nadm:x:4:app,1000\napp:x:1001:\n"
)

// imageRoot has the files of an image in each root that is mounted.
type imageRoot struct {
	*machine
	files map[string]string
}

func (r *imageRoot) MountOverlay(target string, layers []string, upper, work string) error {
	err := r.machine.MountOverlay(target, layers, upper, work)
	for name, content := range r.files {
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(target, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(target, name), []byte(content), 0o644)
		}
	}
	return err
}

// TestCreateContainer_FoundUser: whom the host found by the same files is whom the agent finds, in all that
// the runtime is told; it then looks at no file.
func TestCreateContainer_FoundUser(t *testing.T) {
	files := account.Files{Passwd: []byte(passwdFile), Group: []byte(groupFile)}
	root := &imageRoot{machine: newMachine(t)}
	h := newHostOf(t, root.machine, root)
	hello(t, h)
	nine := uint32(9)
	for name, req := range map[string]account.Request{
		"image_default": {}, "name": {Spec: "app"}, "number": {Spec: "7"}, "number_as_name": {Spec: "1000"}, "both": {Spec: "app:adm"},
		"numbers": {Spec: "5:6"}, "gid": {Spec: "app", GID: &nine}, "groups": {Spec: "app", Groups: []uint32{70, 4, 80}},
		"strict": {Spec: "app", Groups: []uint32{70}, Strict: true}, "no_entry": {Spec: "4242", GID: &nine, Groups: []uint32{1}},
	} {
		t.Run(name, func(t *testing.T) {
			u := &api.User{Spec: req.Spec, SupplementalGroups: req.Groups, StrictGroups: req.Strict, HasGid: req.GID != nil}
			if req.GID != nil {
				u.Gid = *req.GID
			}
			id, err := files.Resolve(req)
			if err != nil {
				t.Fatal(err)
			}
			root.files = map[string]string{"etc/passwd": passwdFile, "etc/group": groupFile}
			want := h.createAs(u, nil)
			if !slices.Contains(want.steps, "find user") {
				t.Errorf("the agent that has to look does not: %q", want.steps)
			}
			found := &api.ResolvedUser{Uid: id.UID, Gid: id.GID, AdditionalGids: id.Groups, Home: id.Home}
			root.files = map[string]string{"etc/passwd/x": "a folder", "etc/group/x": "a folder"}
			got := h.createAs(u, found)
			if slices.Contains(got.steps, "find user") {
				t.Errorf("the agent looks though it was told: %q", got.steps)
			}
			if d := cmp.Diff(want.process, got.process); d != "" {
				t.Errorf("process (-found by the agent +found by the host):\n%s", d)
			}
			if d := cmp.Diff(want.answer, got.answer); d != "" {
				t.Errorf("answer (-found by the agent +found by the host):\n%s", d)
			}
		})
	}
	if _, err := h.CreatePod(t.Context(), podRequest()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateContainer(t.Context(), containerRequest("c")); status.Code(err) != codes.InvalidArgument {
		t.Errorf("CreateContainer with a folder at /etc/passwd = %v, want InvalidArgument", err)
	}
}

// TestCreateContainer_FoundNobody: who cannot be is refused before anything is made.
func TestCreateContainer_FoundNobody(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if _, err := h.CreatePod(t.Context(), podRequest()); err != nil {
		t.Fatal(err)
	}
	before := m.String() + h.files()
	for name, u := range map[string]*api.ResolvedUser{
		"empty": {}, "uid": {Uid: 1 << 31, AdditionalGids: []uint32{0}, Home: "/"}, "no_home": {AdditionalGids: []uint32{0}},
		"other_group": {Gid: 1, AdditionalGids: []uint32{0, 1}, Home: "/"},
	} {
		r := containerRequest("c")
		r.FoundUser = u
		if _, err := h.CreateContainer(t.Context(), r); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "found_user") {
			t.Errorf("%s: CreateContainer = %v, want InvalidArgument of found_user", name, err)
		}
	}
	if d := cmp.Diff(before, m.String()+h.files()); d != "" {
		t.Errorf("left (-before +after):\n%s", d)
	}
}

// TestCreateContainer_FoundUnmapped: a user namespace is as strict with one who was found on the host.
func TestCreateContainer_FoundUnmapped(t *testing.T) {
	h := newHost(t, newMachine(t))
	hello(t, h)
	p := podRequest()
	p.Namespaces = &api.PodNamespaces{Users: &api.UserNamespace{
		Uids: &api.IDMapping{HostId: 70000, Length: 100}, Gids: &api.IDMapping{HostId: 70000, Length: 100},
	}}
	if _, err := h.CreatePod(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	r := containerRequest("c")
	r.FoundUser = &api.ResolvedUser{Uid: 100, AdditionalGids: []uint32{0}, Home: "/"}
	if _, err := h.CreateContainer(t.Context(), r); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "100") {
		t.Errorf("CreateContainer = %v, want InvalidArgument of user 100", err)
	}
}

// created is what came of a container.
type created struct {
	process *specs.Process
	answer  []uint32
	steps   []string
}

// createAs makes a container in a pod of its own and takes both away.
func (h *host) createAs(u *api.User, found *api.ResolvedUser) created {
	h.t.Helper()
	ctx := context.Background()
	if _, err := h.CreatePod(ctx, podRequest()); err != nil {
		h.t.Fatal(err)
	}
	r := containerRequest("c")
	r.User, r.FoundUser = u, found
	resp, err := h.CreateContainer(ctx, r)
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(h.dir, "p", "p", "c", "c", "config.json"))
	if err != nil {
		h.t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.RemovePod(ctx, &api.RemovePodRequest{PodId: "p"}); err != nil {
		h.t.Fatal(err)
	}
	out := created{process: spec.Process, answer: append([]uint32{resp.User.Uid, resp.User.Gid}, resp.User.AdditionalGids...)}
	pctx, phases := phase.Record(ctx)
	if err := phase.Graft(pctx, resp.Phases); err != nil {
		h.t.Fatal(err)
	}
	for _, s := range phases.Spans() {
		out.steps = append(out.steps, s.Name)
	}
	return out
}
