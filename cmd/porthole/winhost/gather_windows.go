package winhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/winsvc"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// answerTimeout is how long a service that hangs is waited for.
const answerTimeout = 10 * time.Second

func gather(ctx context.Context, p Places) (Facts, error) {
	f := Facts{
		Elevated: windows.GetCurrentProcessToken().IsElevated(),
		Services: map[string]Service{}, Volumes: map[string]Volume{}, Pipe: p.Pipe,
	}
	f.Product, f.Build, f.Revision = version()
	for _, n := range needed {
		s, err := winsvc.Query(n.name)
		if err == nil && !s.Installed {
			continue
		}
		f.Services[n.name] = Service{Status: s.Status, Disabled: s.Disabled, Err: err}
	}
	f.Schema, f.SchemaErr = answer(ctx, "the Host Compute Service", func() ([]hcs.Version, error) {
		lib, err := hcs.Open()
		if err != nil {
			return nil, err
		}
		return hcs.New(lib).Schema()
	})
	f.HNS, f.HNSErr = answer(ctx, "the Host Network Service", func() (hcnnet.Version, error) {
		hns, err := hcnnet.SystemHNS()
		if err != nil {
			return hcnnet.Version{}, err
		}
		return hns.Version()
	})
	for _, dir := range p.Dirs {
		f.Volumes[dir] = volume(dir)
	}
	f.Exclusions, f.ExclusionsErr = exclusions()
	if p.Pipe != "" {
		f.PipeACL, f.PipeErr = pipeACL(p.Pipe)
	}
	return f, ctx.Err()
}

// answer waits for a call that cannot be given up until ctx or the time limit ends. What it
// leaves behind then ends with the call, or this process.
func answer[T any](ctx context.Context, who string, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := call()
		done <- result{v, err}
	}()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%s does not answer: %w", who, ctx.Err())
	}
}

// version is the build from the kernel, which no manifest or compatibility mode changes,
// and what the registry says besides.
func version() (product string, build, revision int) {
	product, build = "Windows", int(windows.RtlGetVersion().BuildNumber)
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Windows NT\CurrentVersion`, registry.QUERY_VALUE)
	if err != nil {
		return product, build, 0
	}
	defer k.Close()
	if s, _, err := k.GetStringValue("ProductName"); err == nil {
		product = s
	}
	if n, _, err := k.GetIntegerValue("UBR"); err == nil {
		revision = int(n)
	}
	return product, build, revision
}

// volume looks at a folder, or the nearest one above it that is there.
func volume(dir string) (v Volume) {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return Volume{Err: err}
	}
	var mount, system [windows.MAX_LONG_PATH]uint16
	if err := windows.GetVolumePathName(p, &mount[0], uint32(len(mount))); err != nil {
		return Volume{Err: fmt.Errorf("find volume: %w", err)}
	}
	if err := windows.GetVolumeInformation(&mount[0], nil, 0, nil, nil, nil, &system[0], uint32(len(system))); err != nil {
		return Volume{Err: fmt.Errorf("ask volume: %w", err)}
	}
	v.FileSystem = windows.UTF16ToString(system[:])
	if err := windows.GetDiskFreeSpaceEx(p, &v.FreeBytes, nil, nil); err != nil {
		return Volume{Err: fmt.Errorf("measure volume: %w", err)}
	}
	attributes, err := windows.GetFileAttributes(p)
	if err != nil {
		return Volume{Err: fmt.Errorf("read attributes: %w", err)}
	}
	v.Compressed = attributes&windows.FILE_ATTRIBUTE_COMPRESSED != 0
	v.Encrypted = attributes&windows.FILE_ATTRIBUTE_ENCRYPTED != 0
	return v
}

// exclusions are the names of values below these keys, set here and by policies.
func exclusions() ([]string, error) {
	const defender = `SOFTWARE\Microsoft\Windows Defender`
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, defender, registry.QUERY_VALUE)
	if err != nil {
		return nil, keyError(err)
	}
	k.Close()
	var out []string
	for _, path := range []string{
		defender + `\Exclusions\Paths`, `SOFTWARE\Policies\Microsoft\Windows Defender\Exclusions\Paths`,
	} {
		k, err := registry.OpenKey(registry.LOCAL_MACHINE, path, registry.QUERY_VALUE)
		if err = keyError(err); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		names, err := k.ReadValueNames(-1)
		k.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		out = append(out, names...)
	}
	return out, nil
}

func keyError(err error) error {
	if errors.Is(err, registry.ErrNotExist) {
		return fs.ErrNotExist
	}
	return err
}

func pipeACL(name string) (string, error) {
	d, err := windows.GetNamedSecurityInfo(name, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return "", fmt.Errorf("read its access: %w", err)
	}
	return d.String(), nil
}
