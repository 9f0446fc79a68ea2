package kernelimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"github.com/containerd/errdefs"
)

// notePhys32Entry is XEN_ELFNOTE_PHYS32_ENTRY: the note, owned by "Xen", that
// carries the address at which a PVH kernel is entered in 32-bit mode.
const notePhys32Entry = 18

// PVHEntry returns the physical address of the PVH entry point of an x86-64
// kernel. A kernel without one is a FailedPrecondition error: QEMU cannot
// start it without firmware.
func PVHEntry(vmlinux []byte) (uint32, error) {
	f, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		return 0, fmt.Errorf("read kernel: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Machine != elf.EM_X86_64 {
		return 0, fmt.Errorf("read kernel: %v %v is not x86-64: %w", f.Class, f.Machine, errdefs.ErrInvalidArgument)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		if p.Off > uint64(len(vmlinux)) || p.Filesz > uint64(len(vmlinux))-p.Off {
			return 0, fmt.Errorf("read kernel: notes lie outside of the file: %w", errdefs.ErrInvalidArgument)
		}
		if entry, ok := findEntry(vmlinux[p.Off:p.Off+p.Filesz], p.Align); ok {
			return entry, nil
		}
	}
	return 0, fmt.Errorf("kernel has no PVH entry point (CONFIG_PVH): %w", errdefs.ErrFailedPrecondition)
}

func findEntry(notes []byte, align uint64) (uint32, bool) {
	if align != 8 {
		align = 4
	}
	le := binary.LittleEndian
	padded := func(n uint32) uint64 { return (uint64(n) + align - 1) &^ (align - 1) }
	for len(notes) >= 12 {
		nameSize, descSize, kind := le.Uint32(notes), le.Uint32(notes[4:]), le.Uint32(notes[8:])
		body := notes[12:]
		if padded(nameSize)+uint64(descSize) > uint64(len(body)) {
			return 0, false
		}
		name, desc := body[:nameSize], body[padded(nameSize):][:descSize]
		if kind == notePhys32Entry && string(name) == "Xen\x00" && descSize >= 4 {
			return le.Uint32(desc), true
		}
		next := padded(nameSize) + padded(descSize)
		if next > uint64(len(body)) {
			return 0, false
		}
		notes = body[next:]
	}
	return 0, false
}
