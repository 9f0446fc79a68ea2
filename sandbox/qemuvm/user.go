package qemuvm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
)

// UIDs is a range of users of which each VM has one to itself: a QEMU that was broken
// into can then not signal or trace that of another pod.
//
// A user is taken by locking a file, which the kernel undoes with the process that owns
// the VM, however that ends. No record has to be right for it, so that it holds whatever
// daemons come and go. QEMU has no part of the lock: it could let go of it.
type UIDs struct {
	Base, Count uint32
	// Locks is the folder of the lock files, made when missing. All who start VMs with
	// users of the range share it.
	Locks string
}

// maxUID is the highest number that names a user.
const maxUID = math.MaxUint32 - 1

func (u UIDs) validate() error {
	switch {
	case u.Base == 0:
		return errors.New("uids must not begin with root's")
	case u.Count == 0:
		return errors.New("no uids are given")
	case u.Count-1 > maxUID-u.Base:
		return fmt.Errorf("%d uids from %d on go beyond %d", u.Count, u.Base, uint32(maxUID))
	case !filepath.IsAbs(u.Locks):
		return fmt.Errorf("folder %q for the locks of uids is not an absolute path", u.Locks)
	}
	return nil
}

// user is one of UIDs, taken until it is given back. Zero, it is root.
type user struct {
	uid  uint32
	lock *os.File
}

// take takes the lowest user that is free. ResourceExhausted when there is none.
func (u UIDs) take() (user, error) {
	if u.Count == 0 {
		return user{}, nil // New refuses that
	}
	if err := os.MkdirAll(u.Locks, 0o700); err != nil {
		return user{}, fmt.Errorf("take a uid: %w", err)
	}
	for i := range u.Count {
		uid := u.Base + i
		f, err := tryLock(filepath.Join(u.Locks, strconv.FormatUint(uint64(uid), 10)))
		switch {
		case err == nil:
			return user{uid: uid, lock: f}, nil
		case !errors.Is(err, errLocked):
			return user{}, fmt.Errorf("take uid %d: %w", uid, err)
		}
	}
	return user{}, fmt.Errorf("each of the %d uids from %d on has a vm: stop some, or configure more uids: %w",
		u.Count, u.Base, errdefs.ErrResourceExhausted)
}

// giveBack lets others take the user; no process of it is left. It may be called again.
func (u user) giveBack() {
	if u.lock != nil {
		_ = u.lock.Close()
	}
}

// errLocked says that another has the lock.
var errLocked = errors.New("file is locked")
