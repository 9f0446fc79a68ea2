package kernelimage

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// bzImage wraps a packed kernel the way the kernel's build does.
func bzImage(packed []byte, release string) []byte {
	const sects = 2
	b := make([]byte, (sects+1)*512)
	b[offSetupSects] = sects
	binary.LittleEndian.PutUint16(b[offBootFlag:], 0xaa55)
	copy(b[offHeader:], "HdrS")
	binary.LittleEndian.PutUint16(b[offVersion:], 0x020f)
	copy(b[0x400:], release+" (builder) #1 SMP\x00")
	binary.LittleEndian.PutUint16(b[offKernelVersion:], 0x200)
	binary.LittleEndian.PutUint32(b[offPayload:], 16)
	binary.LittleEndian.PutUint32(b[offPayloadLength:], uint32(len(packed)))
	b = append(b, make([]byte, 16)...)
	b = append(b, packed...)
	return append(b, "relocations and the like"...)
}

func sized(packed, plain []byte) []byte {
	return binary.LittleEndian.AppendUint32(packed, uint32(len(plain)))
}

func packGzip(plain []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(plain)
	w.Close()
	return b.Bytes() // gzip itself ends with the size
}

func packZstd(plain []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return sized(w.EncodeAll(plain, nil), plain)
}

// packLZ4 makes one block: a few literals, a long overlapping match that
// repeats them, and the tail as literals.
func packLZ4(head string, repeat int, tail string) (packed, plain []byte) {
	if len(head) > 14 || len(tail) > 14 {
		panic("literal runs of this sample are short")
	}
	block := append([]byte{byte(len(head)<<4 | 15)}, head...)
	block = binary.LittleEndian.AppendUint16(block, uint16(len(head)))
	rest := repeat - 4 - 15
	for ; rest >= 255; rest -= 255 {
		block = append(block, 255)
	}
	block = append(block, byte(rest), byte(len(tail)<<4))
	block = append(block, tail...)

	plain = []byte(head)
	for i := range repeat {
		plain = append(plain, head[i%len(head)])
	}
	plain = append(plain, tail...)
	packed = binary.LittleEndian.AppendUint32(bytes.Clone(lz4LegacyMagic), uint32(len(block)))
	return sized(append(packed, block...), plain), plain
}

func TestVmlinux(t *testing.T) {
	plain := append([]byte("\x7fELF"), bytes.Repeat([]byte("kernel "), 5000)...)
	lz4, lz4Plain := packLZ4("\x7fELF.abc", 1000, "the end")
	tests := []struct {
		name          string
		packed, plain []byte
	}{
		{"gzip", packGzip(plain), plain},
		{"zstd", packZstd(plain), plain},
		{"lz4", lz4, lz4Plain},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			image := bzImage(tt.packed, "6.1.0-test")
			got, err := Vmlinux(image)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, tt.plain) {
				t.Errorf("Vmlinux gave %d bytes, want the %d that were packed", len(got), len(tt.plain))
			}
			if r, err := Release(image); err != nil || r != "6.1.0-test" {
				t.Errorf("Release = %q, %v, want 6.1.0-test", r, err)
			}
		})
	}
}

func TestVmlinux_Refused(t *testing.T) {
	plain := append([]byte("\x7fELF"), make([]byte, 1000)...)
	good := bzImage(packZstd(plain), "6.1.0")
	edit := func(change func(b []byte)) []byte {
		b := bytes.Clone(good)
		change(b)
		return b
	}
	oldProtocol := edit(func(b []byte) { b[offVersion], b[offVersion+1] = 7, 2 })
	lz4, _ := packLZ4("\x7fELF.abc", 100, "end")
	tests := []struct {
		name  string
		image []byte
		kind  func(error) bool
	}{
		{"empty", nil, errdefs.IsInvalidArgument},
		{"text", []byte(strings.Repeat("x", 4096)), errdefs.IsInvalidArgument},
		{"old_protocol", oldProtocol, errdefs.IsInvalidArgument},
		{"cut", good[:len(good)/2], errdefs.IsInvalidArgument},
		{"payload_outside", edit(func(b []byte) { binary.LittleEndian.PutUint32(b[offPayload:], 1<<31) }), errdefs.IsInvalidArgument},
		{"xz", bzImage(sized([]byte("\xfd7zXZ\x00rest"), plain), "6.1.0"), errdefs.IsNotImplemented},
		{"not_elf", bzImage(packGzip([]byte("MZ this is not it")), "6.1.0"), errdefs.IsInvalidArgument},
		{"wrong_size", bzImage(sized(packZstd(plain), plain[1:]), "6.1.0"), errdefs.IsInvalidArgument},
		{"huge", bzImage(append(packZstd(plain), 0xff, 0xff, 0xff, 0xff), "6.1.0"), errdefs.IsInvalidArgument},
		{"lz4_cut", bzImage(sized(lz4[:len(lz4)-8], plain), "6.1.0"), errdefs.IsInvalidArgument},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Vmlinux(tt.image); !tt.kind(err) {
				t.Errorf("Vmlinux = %v, which is the wrong kind", err)
			}
		})
	}
}

// elfFile makes a small 64-bit ELF file with one section and, for notes, a
// segment over it.
func elfFile(section string, body []byte, notes bool) []byte {
	const ehdr, phdr, shdr = 64, 56, 64
	names := "\x00" + section + "\x00.shstrtab\x00"
	bodyAt := uint64(ehdr + phdr)
	namesAt := bodyAt + uint64(len(body))
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1,
		Phoff: ehdr, Shoff: namesAt + uint64(len(names)), Ehsize: ehdr, Phentsize: phdr, Phnum: 1,
		Shentsize: shdr, Shnum: 3, Shstrndx: 2}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	p := elf.Prog64{Type: uint32(elf.PT_LOAD), Off: bodyAt, Filesz: uint64(len(body)), Align: 4}
	if notes {
		p.Type = uint32(elf.PT_NOTE)
	}
	le := binary.LittleEndian
	binary.Write(&b, le, h)
	binary.Write(&b, le, p)
	b.Write(body)
	b.WriteString(names)
	binary.Write(&b, le, elf.Section64{})
	binary.Write(&b, le, elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: bodyAt, Size: uint64(len(body))})
	binary.Write(&b, le, elf.Section64{Name: uint32(2 + len(section)), Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))})
	return b.Bytes()
}

func note(name string, kind uint32, desc []byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, uint32(len(name)))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = le.AppendUint32(b, kind)
	pad := func(p []byte) []byte { return append(p, make([]byte, (4-len(p)%4)%4)...) }
	return append(append(b, pad([]byte(name))...), pad(desc)...)
}

func TestPVHEntry(t *testing.T) {
	entry := note("Xen\x00", notePhys32Entry, []byte{0x50, 0x08, 0, 1, 0, 0, 0, 0})
	before := note("GNU\x00", 3, []byte("abcdef"))
	got, err := PVHEntry(elfFile(".notes", append(before, entry...), true))
	if err != nil || got != 0x01000850 {
		t.Errorf("PVHEntry = %#x, %v, want 0x1000850", got, err)
	}
	for name, kernel := range map[string][]byte{
		"no_notes":   elfFile(".text", entry, false),
		"other_note": elfFile(".notes", before, true),
		"cut_note":   elfFile(".notes", entry[:14], true),
	} {
		if _, err := PVHEntry(kernel); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s: PVHEntry = %v, want FailedPrecondition", name, err)
		}
	}
	if _, err := PVHEntry([]byte("#!/bin/sh")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("PVHEntry of a script = %v, want InvalidArgument", err)
	}
}

func TestUnsigned(t *testing.T) {
	signed := func(ko string, signature int, header []byte) []byte {
		return append(append(append([]byte(ko), make([]byte, signature)...), header...), signatureMark...)
	}
	header := []byte{0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 44}
	for name, ko := range map[string][]byte{"signed": signed("module", 300, header), "unsigned": []byte("module")} {
		if got, err := Unsigned(ko); err != nil || string(got) != "module" {
			t.Errorf("%s: Unsigned = %q, %v", name, got, err)
		}
	}
	for name, ko := range map[string][]byte{"long": signed("", 299, header), "cut": signed("", 0, header[1:])} {
		if got, err := Unsigned(ko); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: Unsigned = %q, %v, want InvalidArgument", name, got, err)
		}
	}
}

func TestReadModInfo(t *testing.T) {
	body := "license=GPL\x00alias=fs-fuse\x00alias=devname:fuse\x00depends=virtio-ring,virtio\x00name=virtio-fs\x00vermagic=6.1.0 SMP\x00"
	got, err := ReadModInfo(elfFile(".modinfo", []byte(body), false))
	if err != nil {
		t.Fatal(err)
	}
	want := ModInfo{Name: "virtio_fs", Deps: []string{"virtio_ring", "virtio"}, Aliases: []string{"fs-fuse", "devname:fuse"}, Vermagic: "6.1.0 SMP"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ReadModInfo (-want +got):\n%s", diff)
	}
	for name, ko := range map[string][]byte{
		"not_elf":    []byte("x"),
		"no_section": elfFile(".text", []byte(body), false),
		"no_name":    elfFile(".modinfo", []byte("depends=\x00"), false),
	} {
		if _, err := ReadModInfo(ko); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: ReadModInfo = %v, want InvalidArgument", name, err)
		}
	}
}

func FuzzVmlinux(f *testing.F) {
	plain := append([]byte("\x7fELF"), make([]byte, 100)...)
	lz4, _ := packLZ4("\x7fELF.abc", 100, "end")
	f.Add(bzImage(packGzip(plain), "6.1.0"))
	f.Add(bzImage(packZstd(plain), "6.1.0"))
	f.Add(bzImage(lz4, "6.1.0"))
	f.Fuzz(func(t *testing.T, image []byte) {
		if vmlinux, err := Vmlinux(image); err == nil && len(vmlinux) > MaxKernel {
			t.Errorf("Vmlinux gave %d bytes", len(vmlinux))
		}
		Release(image)
	})
}

func FuzzUnpackLZ4(f *testing.F) {
	lz4, _ := packLZ4("\x7fELF.abc", 100, "end")
	f.Add(lz4[4 : len(lz4)-4])
	f.Fuzz(func(t *testing.T, frame []byte) {
		if out, err := unpackLZ4(frame, 1<<20); err == nil && len(out) > 1<<20 {
			t.Errorf("unpackLZ4 gave %d bytes, over the limit", len(out))
		}
	})
}

func FuzzELF(f *testing.F) {
	f.Add(elfFile(".notes", note("Xen\x00", notePhys32Entry, make([]byte, 8)), true))
	f.Add(elfFile(".modinfo", []byte("name=a\x00depends=b\x00"), false))
	f.Fuzz(func(t *testing.T, file []byte) {
		PVHEntry(file)
		ReadModInfo(file)
	})
}
