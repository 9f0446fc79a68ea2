package hcs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/testneed"
)

// TestLibrary_Stub checks the calls themselves against a computecore.dll that checks
// its arguments, is built from testdata/computecore.c and lies where Windows' own does.
func TestLibrary_Stub(t *testing.T) {
	if modcomputecore.NewProc("PortholeTestLibrary").Find() != nil {
		testneed.Skip(t, "the library of testdata/computecore.c as computecore.dll")
	}
	lib, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	host := New(lib)
	ctx := t.Context()
	document := ComputeSystem{Owner: "porthole"}
	for range 100 {
		events := make(chan Event, 2)
		s, err := host.Create(ctx, "vm-ä", document, func(e Event) { events <- e })
		if err != nil {
			t.Fatal(err)
		}
		want := Properties{ID: "vm-ä", Owner: "porthole", SystemType: "VirtualMachine", State: "Running"}
		if p, err := s.Properties(ctx); err != nil || p != want {
			t.Fatalf("Properties() = %+v, %v, want %+v", p, err, want)
		}
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if e := <-events; e.Type != SystemCrashReport || e.CrashLog() != "Kernel panic" {
			t.Fatalf("first event = %+v", e)
		}
		if e := <-events; e.Type != SystemExited || !e.Exit().Code().Is(UnexpectedExit) {
			t.Fatalf("second event = %+v", e)
		}
		if err := s.Modify(ctx, ModifyRequest{ResourcePath: "x", RequestType: RequestAdd}); err != nil {
			t.Error(err)
		}
		for _, err := range []error{s.Pause(ctx), s.Save(ctx, SaveOptions{SaveType: "ToFile"}), s.Resume(ctx)} {
			if err != nil {
				t.Error(err)
			}
		}
		if err := s.Terminate(ctx); !HasCode(err, SystemAlreadyStopped) || !strings.Contains(err.Error(), "gone") {
			t.Errorf("Terminate() = %v", err)
		}
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	if _, err := host.Create(ctx, "refused", document, nil); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), "not ällowed") {
		t.Errorf("Create() = %v, want PermissionDenied and what the library says", err)
	}
	if _, err := host.Create(ctx, "a\x00b", document, nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Create() with a NUL = %v, want InvalidArgument", err)
	}
	if _, err := host.Open(ctx, "vm", nil); !errdefs.IsNotFound(err) {
		t.Errorf("Open() = %v, want NotFound", err)
	}
	if list, err := host.List(ctx, "porthole"); err != nil || len(list) != 1 || list[0].ID != "x" {
		t.Errorf("List() = %v, %v", list, err)
	}
	file, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{host.GrantVM("vm", file), host.RevokeVM("vm", file), host.GrantGroup(file), host.CreateStateFile(file)} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := host.GrantGroup(filepath.Join(filepath.Dir(file), "gone")); !errdefs.IsNotFound(err) {
		t.Errorf("GrantGroup() of nothing = %v, want NotFound", err)
	}
	host.Close()
	// The library tells what is open as a version's minor number.
	if v, err := host.Schema(); err != nil || !slices.Equal(v, []Version{{Major: 2, Minor: 0}}) {
		t.Errorf("Schema() = %v, %v: operations or handles are open", v, err)
	}
}
