package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/selftest"
	"github.com/porthole-run/porthole/internal/localsock"
	"github.com/porthole-run/porthole/internal/privatedir"
)

// edge is this host's pipes and folders, as serve makes them.
type edge struct{}

var _ selftest.Edge = edge{}

func (edge) Listen(_ context.Context, name string) (net.Listener, error) {
	return localsock.ListenPipe(name, localsock.PipeConfig{Descriptor: config.DefaultDescriptor, Buffer: pipeBuffer})
}

func (edge) Dial(ctx context.Context, name string) (net.Conn, error) {
	return dial(ctx, config.Endpoint{Kind: config.Pipe, Address: name})
}

func (edge) Folder(dir string) error { return privatedir.Make(dir, 0o711) }

// Open opens a pipe to read and write, or a folder to list it.
func (edge) Open(path string) error {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	access, flags := uint32(windows.FILE_LIST_DIRECTORY), uint32(windows.FILE_FLAG_BACKUP_SEMANTICS)
	if strings.Contains(path, `\pipe\`) {
		access, flags = windows.GENERIC_READ|windows.GENERIC_WRITE, windows.SECURITY_SQOS_PRESENT|windows.SECURITY_ANONYMOUS
	}
	var h windows.Handle
	for begin := time.Now(); ; time.Sleep(busyWait) {
		h, err = windows.CreateFile(name, access, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING, flags, 0)
		if !errors.Is(err, windows.ERROR_PIPE_BUSY) || time.Since(begin) > dialTimeout {
			break
		}
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return windows.CloseHandle(h)
}

// busyWait is until a pipe that has no instance to spare is tried again.
const busyWait = 10 * time.Millisecond

// AsUser takes this process's user, Administrators and SYSTEM out of what a thread may use, and all
// privileges: what is left is what any user of the host has.
func (edge) AsUser(f func() error) error {
	token, err := userToken()
	if err != nil {
		return err
	}
	defer token.Close()
	runtime.LockOSThread() // without its pair where the thread keeps the token: it ends with this goroutine then
	if err := windows.SetThreadToken(nil, token); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("take a user's rights: %w", err)
	}
	err = f()
	if back := windows.RevertToSelf(); back != nil {
		return errors.Join(err, fmt.Errorf("take own rights back: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

var createRestrictedToken = sync.OnceValues(func() (*windows.LazyProc, error) {
	p := windows.NewLazySystemDLL("advapi32.dll").NewProc("CreateRestrictedToken")
	return p, p.Find()
})

// disableMaxPrivilege takes all privileges but that of passing through folders.
const disableMaxPrivilege = 1

// userToken is a token to impersonate a user who is no administrator with.
func userToken() (token windows.Token, err error) {
	restrict, err := createRestrictedToken()
	if err != nil {
		return 0, err
	}
	var own windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_DUPLICATE|windows.TOKEN_QUERY, &own); err != nil {
		return 0, fmt.Errorf("open own token: %w", err)
	}
	defer own.Close()
	user, err := own.GetTokenUser()
	if err != nil {
		return 0, fmt.Errorf("find own user: %w", err)
	}
	without := []windows.SIDAndAttributes{{Sid: user.User.Sid}}
	for _, kind := range []windows.WELL_KNOWN_SID_TYPE{windows.WinBuiltinAdministratorsSid, windows.WinLocalSystemSid} {
		sid, err := windows.CreateWellKnownSid(kind)
		if err != nil {
			return 0, err
		}
		without = append(without, windows.SIDAndAttributes{Sid: sid})
	}
	var limited windows.Token
	ok, _, errno := restrict.Call(uintptr(own), disableMaxPrivilege, uintptr(len(without)), uintptr(unsafe.Pointer(&without[0])),
		0, 0, 0, 0, uintptr(unsafe.Pointer(&limited)))
	runtime.KeepAlive(user)
	if ok == 0 {
		return 0, fmt.Errorf("make a token without an administrator's rights: %w", errno)
	}
	defer limited.Close()
	err = windows.DuplicateTokenEx(limited, windows.TOKEN_IMPERSONATE|windows.TOKEN_QUERY, nil, windows.SecurityImpersonation, windows.TokenImpersonation, &token)
	if err != nil {
		return 0, fmt.Errorf("make a token to impersonate with: %w", err)
	}
	return token, nil
}
