package kernelimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// ModInfo is what a kernel module states about itself.
type ModInfo struct {
	// Name is the module's name in the kernel, with underscores.
	Name string
	// Deps are the names of the modules whose symbols it uses.
	Deps []string
	// Aliases are the patterns under which the kernel asks for it.
	Aliases []string
	// Vermagic starts with the release of the kernel that it is made for.
	Vermagic string
}

// maxModInfo bounds the section; the largest in Debian's kernel have some
// hundred kilobytes of device aliases.
const maxModInfo = 4 << 20

// ReadModInfo reads the .modinfo section of an uncompressed module.
func ReadModInfo(ko []byte) (ModInfo, error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return ModInfo{}, fmt.Errorf("read module: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	s := f.Section(".modinfo")
	if s == nil || s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 || s.Size > maxModInfo {
		return ModInfo{}, fmt.Errorf("read module: no usable .modinfo section: %w", errdefs.ErrInvalidArgument)
	}
	data, err := s.Data()
	if err != nil {
		return ModInfo{}, fmt.Errorf("read module: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	var info ModInfo
	for entry := range strings.SplitSeq(string(data), "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		switch key {
		case "name":
			info.Name = underscores(value)
		case "depends":
			for dep := range strings.SplitSeq(value, ",") {
				if dep != "" {
					info.Deps = append(info.Deps, underscores(dep))
				}
			}
		case "alias":
			info.Aliases = append(info.Aliases, value)
		case "vermagic":
			info.Vermagic = value
		}
	}
	if info.Name == "" {
		return ModInfo{}, fmt.Errorf("read module: it states no name: %w", errdefs.ErrInvalidArgument)
	}
	return info, nil
}

func underscores(s string) string { return strings.ReplaceAll(s, "-", "_") }

// The end of a signed module: the signature, its description of 12 bytes with the
// signature's length last, and a mark (the kernel's struct module_signature).
const (
	signatureMark   = "~Module signature appended~\n"
	signatureHeader = 12
)

// Unsigned returns a module without the signature at its end, if it has one.
func Unsigned(ko []byte) ([]byte, error) {
	rest, ok := bytes.CutSuffix(ko, []byte(signatureMark))
	if !ok {
		return ko, nil
	}
	if len(rest) < signatureHeader {
		return nil, fmt.Errorf("read module: its signature is cut: %w", errdefs.ErrInvalidArgument)
	}
	size := uint64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	rest = rest[:len(rest)-signatureHeader]
	if size > uint64(len(rest)) {
		return nil, fmt.Errorf("read module: a signature of %d bytes in %d: %w", size, len(rest), errdefs.ErrInvalidArgument)
	}
	return rest[:uint64(len(rest))-size], nil
}
