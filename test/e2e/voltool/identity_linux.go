package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// identity prints, a line each with a name, what no two VMs may share.
func identity() error {
	for range 3 {
		var b [16]byte
		if _, err := unix.Getrandom(b[:], 0); err != nil {
			return err
		}
		fmt.Printf("getrandom %x\n", b)
	}
	for _, f := range []string{"uuid", "uuid", "boot_id"} {
		b, err := os.ReadFile("/proc/sys/kernel/random/" + f)
		if err != nil {
			return err
		}
		fmt.Println(f, strings.TrimSpace(string(b)))
	}
	b, err := startRandom()
	if err != nil {
		return err
	}
	fmt.Printf("at_random %x\n", b)
	return nil
}

// startRandom is the 16 bytes that the kernel gave this process when it started it.
func startRandom() ([]byte, error) {
	auxv, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return nil, err
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	pairs := make([]uint64, len(auxv)/8)
	if err := binary.Read(bytes.NewReader(auxv), binary.NativeEndian, pairs); err != nil {
		return nil, err
	}
	const atRandom = 25 // linux/auxvec.h
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == atRandom {
			b := make([]byte, 16)
			_, err := mem.ReadAt(b, int64(pairs[i+1]))
			return b, err
		}
	}
	return nil, fmt.Errorf("no AT_RANDOM in %d entries", len(pairs)/2)
}
