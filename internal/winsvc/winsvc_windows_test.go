package winsvc

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/porthole-run/porthole/internal/testneed"
)

// asService makes TestAsService the process of a service of this name.
var asService = flag.String("as-service", "", "")

// exitAtStop is what the service of the test ends with.
const exitAtStop = 7

func TestAsService(t *testing.T) {
	if *asService == "" {
		return // TestService starts it
	}
	ends := errors.New("asked to end")
	err := Run(t.Context(), *asService, func(error) int { return exitAtStop }, func(ctx context.Context, ready func()) error {
		events, err := OpenEvents(*asService)
		if err != nil {
			return err
		}
		defer events.Close()
		if err := events.Info(1, "a test's service runs"); err != nil {
			return err
		}
		ready()
		<-ctx.Done()
		return ends
	})
	if !errors.Is(err, ends) {
		t.Errorf("Run = %v, want what the work returned", err)
	}
}

// TestService installs, starts, stops and removes a service whose process is this test.
func TestService(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("porthole-test-%d", os.Getpid())
	s := Service{Name: name, DisplayName: name, Executable: self, Args: []string{"-test.run=^TestAsService$", "-as-service=" + name}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Install(s); errors.Is(err, fs.ErrPermission) {
		testneed.Skip(t, "the rights to install a service: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer Uninstall(ctx, name)
	if err := Install(s); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Install again = %v, want ErrExist", err)
	}
	if err := Start(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := Start(ctx, name); err != nil {
		t.Errorf("Start again = %v", err)
	}
	st, err := Query(name)
	if err != nil || st.Status != "running" || !st.Automatic || !strings.Contains(st.Command, filepath.Base(self)) {
		t.Errorf("Query = %+v, %v, want it to run", st, err)
	}
	for range 2 {
		if err := Stop(ctx, name); err != nil {
			t.Errorf("Stop = %v", err)
		}
	}
	if st, err := Query(name); err != nil || st.Status != "stopped" || st.ExitCode != exitAtStop {
		t.Errorf("Query = %+v, %v, want it stopped with exit code %d", st, err, exitAtStop)
	}
	if err := Repoint(name, self, append(s.Args, "-test.v")); err != nil {
		t.Error(err)
	}
	if st, err := Query(name); err != nil || !strings.HasSuffix(st.Command, "-test.v") || !st.Automatic {
		t.Errorf("Query after Repoint = %+v, %v", st, err)
	}
	if err := Start(ctx, name); err != nil { // Uninstall stops it
		t.Fatal(err)
	}
	if err := Uninstall(ctx, name); err != nil {
		t.Errorf("Uninstall = %v", err)
	}
	if st, err := Query(name); err != nil || st.Installed {
		t.Errorf("Query = %+v, %v, want nothing", st, err)
	}
	if err := Uninstall(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Uninstall again = %v, want ErrNotExist", err)
	}
	if err := Repoint(name, self, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Repoint of what is not installed = %v, want ErrNotExist", err)
	}
	if err := Start(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Start of what is not installed = %v, want ErrNotExist", err)
	}
}
