package kernelimage

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
)

// MaxKernel bounds the size of an unpacked kernel, in bytes.
const MaxKernel = 512 << 20

// Offsets in the setup header of a bzImage, from the kernel's
// Documentation/x86/boot.rst.
const (
	offSetupSects    = 0x1f1
	offBootFlag      = 0x1fe
	offHeader        = 0x202
	offVersion       = 0x206
	offKernelVersion = 0x20e
	offPayload       = 0x248
	offPayloadLength = 0x24c
	setupHeaderEnd   = 0x250

	// payload_offset and payload_length came with this protocol.
	minProtocol = 0x0208
)

// Vmlinux unpacks the kernel in a bzImage and returns its ELF file. It knows
// kernels packed with gzip, LZ4 and zstd.
func Vmlinux(bzImage []byte) ([]byte, error) {
	payload, err := payload(bzImage)
	if err != nil {
		return nil, err
	}
	elf, err := unpack(payload)
	if err != nil {
		return nil, fmt.Errorf("unpack kernel: %w", err)
	}
	if !bytes.HasPrefix(elf, []byte("\x7fELF")) {
		return nil, fmt.Errorf("unpack kernel: the result is not an ELF file: %w", errdefs.ErrInvalidArgument)
	}
	return elf, nil
}

// Release returns the release that a bzImage states, as uname -r does in the
// running kernel.
func Release(bzImage []byte) (string, error) {
	if err := checkHeader(bzImage); err != nil {
		return "", err
	}
	at := int(binary.LittleEndian.Uint16(bzImage[offKernelVersion:])) + 0x200
	if at == 0x200 || at >= len(bzImage) {
		return "", fmt.Errorf("kernel image states no release: %w", errdefs.ErrInvalidArgument)
	}
	text, _, ended := bytes.Cut(bzImage[at:min(at+256, len(bzImage))], []byte{0})
	fields := strings.Fields(string(text))
	if !ended || len(fields) == 0 {
		return "", fmt.Errorf("kernel image states no release: %w", errdefs.ErrInvalidArgument)
	}
	return fields[0], nil
}

func checkHeader(b []byte) error {
	if len(b) < setupHeaderEnd || binary.LittleEndian.Uint16(b[offBootFlag:]) != 0xaa55 || string(b[offHeader:offHeader+4]) != "HdrS" {
		return fmt.Errorf("not a bzImage: %w", errdefs.ErrInvalidArgument)
	}
	if v := binary.LittleEndian.Uint16(b[offVersion:]); v < minProtocol {
		return fmt.Errorf("bzImage has boot protocol %d.%02d, want 2.08 or later: %w", v>>8, v&0xff, errdefs.ErrInvalidArgument)
	}
	return nil
}

func payload(b []byte) ([]byte, error) {
	if err := checkHeader(b); err != nil {
		return nil, err
	}
	sects := uint64(b[offSetupSects])
	if sects == 0 {
		sects = 4 // what zero has meant since the first kernels
	}
	start := (sects+1)*512 + uint64(binary.LittleEndian.Uint32(b[offPayload:]))
	length := uint64(binary.LittleEndian.Uint32(b[offPayloadLength:]))
	if length < 4 || start+length > uint64(len(b)) {
		return nil, fmt.Errorf("bzImage is cut short: payload of %d bytes at %d, file of %d: %w", length, start, len(b), errdefs.ErrInvalidArgument)
	}
	return b[start : start+length], nil
}

// unpack picks the decompressor by the magic bytes. The last four bytes of a
// payload are the unpacked size: the kernel's build puts them there, or the
// format (gzip) ends with them anyway.
func unpack(p []byte) ([]byte, error) {
	size := uint64(binary.LittleEndian.Uint32(p[len(p)-4:]))
	if size > MaxKernel {
		return nil, fmt.Errorf("states %d bytes, the limit is %d: %w", size, MaxKernel, errdefs.ErrInvalidArgument)
	}
	var out []byte
	var err error
	switch {
	case bytes.HasPrefix(p, []byte{0x1f, 0x8b}):
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(p)); err == nil {
			r.Multistream(false)
			out, err = readBounded(r, size)
		}
	case bytes.HasPrefix(p, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var r *zstd.Decoder
		// The kernel's build packs with a window of up to 128 MiB.
		if r, err = zstd.NewReader(bytes.NewReader(p[:len(p)-4]), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20)); err == nil {
			out, err = readBounded(r, size)
			r.Close()
		}
	case bytes.HasPrefix(p, lz4LegacyMagic):
		out, err = unpackLZ4(p[len(lz4LegacyMagic):len(p)-4], int(size))
	default:
		return nil, fmt.Errorf("compression with magic % x is not known (gzip, LZ4 and zstd are): %w", p[:min(6, len(p))], errdefs.ErrNotImplemented)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if uint64(len(out)) != size {
		return nil, fmt.Errorf("got %d bytes, the image states %d: %w", len(out), size, errdefs.ErrInvalidArgument)
	}
	return out, nil
}

// readBounded reads one byte more than size at most, which shows the caller
// that there was too much.
func readBounded(r io.Reader, size uint64) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(io.LimitReader(r, int64(size)+1))
	return b.Bytes(), err
}
