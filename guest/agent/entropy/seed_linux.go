package entropy

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Seed mixes b into the kernel's random pool, counted as that many bytes of entropy, and
// makes each of the kernel's generators take a new key from the pool: bytes that were
// made up in advance are thrown away (random(4): RNDADDENTROPY, RNDRESEEDCRNG). It needs
// CAP_SYS_ADMIN.
func Seed(b []byte) error {
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("seed random pool: %w", err)
	}
	defer f.Close()
	// struct rand_pool_info of linux/random.h: bits of entropy, bytes, the bytes.
	info := make([]byte, 8, 8+len(b))
	binary.NativeEndian.PutUint32(info, uint32(8*len(b)))
	binary.NativeEndian.PutUint32(info[4:], uint32(len(b)))
	info = append(info, b...)
	if err := ioctl(f, unix.RNDADDENTROPY, unsafe.Pointer(&info[0])); err != nil {
		return fmt.Errorf("seed random pool: add entropy: %w", err)
	}
	if err := ioctl(f, unix.RNDRESEEDCRNG, nil); err != nil {
		return fmt.Errorf("seed random pool: take new keys: %w", err)
	}
	return nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}
