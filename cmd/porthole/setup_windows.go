package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/windows"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/setup"
	"github.com/porthole-run/porthole/cmd/porthole/winhost"
	"github.com/porthole-run/porthole/internal/winsvc"
)

func setupConfig() (setup.Config, error) {
	programs, err := windows.KnownFolderPath(windows.FOLDERID_ProgramFiles, 0)
	if err != nil {
		return setup.Config{}, fmt.Errorf("find the folder of programs: %w", err)
	}
	data, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0)
	if err != nil {
		return setup.Config{}, fmt.Errorf("find the folder of data: %w", err)
	}
	return setup.Config{
		InstallDir: filepath.Join(programs, "porthole"), DataDir: filepath.Join(data, "porthole"),
		Service: scmService{}, Host: windowsHostSetup{}, Protect: protect, SampleData: "C:/ProgramData/porthole",
		ConfDir: confDir,
	}, nil
}

func confDir(path string) (string, error) {
	c, err := config.Load(path)
	if err != nil {
		return "", err
	}
	return filepath.FromSlash(c.Network.ConfDir), nil
}

// dataAccess is who may do something in the folder of data: SYSTEM and Administrators. ProgramData
// lets all users make files.
const dataAccess = "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"

func protect(dir string) error {
	d, err := windows.SecurityDescriptorFromString(dataAccess)
	if err != nil {
		return err
	}
	list, _, err := d.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
}

// scmService is the service as package winsvc has it.
type scmService struct{}

func (scmService) Query() (string, error) {
	s, err := winsvc.Query(serviceName)
	if err != nil || !s.Installed {
		return "", err
	}
	words, err := windows.DecomposeCommandLine(s.Command)
	if err != nil || len(words) == 0 {
		return "", fmt.Errorf("the service runs %q, which is no command: %w", s.Command, err)
	}
	return words[0], nil
}

func (scmService) Install(executable string, args []string) error {
	return winsvc.Install(serviceOf(executable, args...))
}

func (scmService) Repoint(executable string, args []string) error {
	return winsvc.Repoint(serviceName, executable, args)
}

func (scmService) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	return winsvc.Start(ctx, serviceName)
}

func (scmService) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	return winsvc.Stop(ctx, serviceName)
}

func (scmService) Uninstall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	if err := winsvc.Uninstall(ctx, serviceName); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// windowsHostSetup is this host.
type windowsHostSetup struct{}

func (windowsHostSetup) Lacks(ctx context.Context) ([]string, error) {
	facts, err := winhost.Gather(ctx, winhost.Places{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range winhost.Check(facts) {
		if f.Needed && !f.OK {
			out = append(out, finding(f).String())
		}
	}
	return out, nil
}

func (windowsHostSetup) Healthy(ctx context.Context, path string) error {
	return untilReady(ctx, path)
}

// EndPods ends the VMs, whose shims end with them, and takes down the pods' networks by their
// records. A host whose features are gone has neither.
func (windowsHostSetup) EndPods(ctx context.Context, path string) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	vms := endLeftovers(ctx, nil, log)
	if errdefs.IsFailedPrecondition(vms) {
		vms = nil
	}
	m, _, err := newNetwork(c, log)
	if err == nil {
		_, err = m.Prune(ctx, nil)
	} else if errdefs.IsFailedPrecondition(err) {
		err = nil
	}
	return errors.Join(vms, err)
}
