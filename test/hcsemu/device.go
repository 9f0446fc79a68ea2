package hcsemu

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
)

// diskNames are the ids in QEMU of what a disk is made of.
type diskNames struct{ file, data, device string }

func namesOf(controller int, lun string) diskNames {
	n := fmt.Sprintf("%d-%s", controller, lun)
	return diskNames{"file" + n, "data" + n, "disk" + n}
}

// Attach implements hcsfake.Machine.
func (m *machines) Attach(id, controller, lun, path string, readOnly bool) error {
	v, err := m.get(id)
	if err != nil {
		return err
	}
	bus := slices.Index(api.SCSIControllers[:], controller)
	if bus < 0 {
		return &hcsfake.MachineError{Code: hcs.ElementNotFound, Text: "the guest knows no controller " + controller}
	}
	format, err := diskFormat(path)
	if err != nil {
		return err
	}
	n, err := namesOf(bus, lun), nil
	discard := map[bool]string{true: "ignore", false: "unmap"}[readOnly]
	format["node-name"], format["file"], format["read-only"], format["discard"] = n.data, n.file, readOnly, discard
	number, _ := strconv.Atoi(lun)
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	err = v.do(ctx,
		qmp.Command{Name: "blockdev-add", Args: map[string]any{
			"driver": "file", "node-name": n.file, "filename": path, "read-only": readOnly, "discard": discard,
			// Windows lets several VMs read one file; so must QEMU's locks.
			"locking": map[bool]string{true: "off", false: "auto"}[readOnly],
		}},
		qmp.Command{Name: "blockdev-add", Args: format},
		qmp.Command{Name: "device_add", Args: map[string]any{
			"driver": "scsi-hd", "id": n.device, "bus": fmt.Sprintf("scsi%d.0", bus), "drive": n.data, "scsi-id": 0, "lun": number,
		}},
	)
	if err != nil {
		v.dropDisk(ctx, n)
		return fmt.Errorf("attach %s: %w", path, err)
	}
	return nil
}

// diskFormat is how QEMU reads a virtual disk. QEMU's own driver for VHD takes the size from
// the geometry, which layers have not.
func diskFormat(path string) (map[string]any, error) {
	unknown := func(why string) error {
		return &hcsfake.MachineError{Code: hcs.VHDFormatUnknown, Text: fmt.Sprintf("'%s' is no virtual disk: %s", path, why)}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(filepath.Ext(path), ".vhdx") {
		var head [8]byte
		if _, err := f.ReadAt(head[:], 0); err != nil || string(head[:]) != "vhdxfile" {
			return nil, unknown("no header of a VHDX")
		}
		return map[string]any{"driver": "vhdx"}, nil
	}
	const footer = 512
	var b [footer]byte
	if _, err := f.ReadAt(b[:], st.Size()-footer); err != nil || string(b[:8]) != "conectix" {
		return nil, unknown("no footer of a VHD")
	}
	if kind := binary.BigEndian.Uint32(b[60:]); kind != 2 {
		return nil, unknown(fmt.Sprintf("a VHD of kind %d, of which the emulator takes fixed ones", kind))
	}
	return map[string]any{"driver": "raw", "size": st.Size() - footer}, nil
}

// dropDisk takes apart what is there of a disk that has no device.
func (v *machine) dropDisk(ctx context.Context, n diskNames) {
	for _, node := range []string{n.data, n.file} {
		_ = v.do(ctx, qmp.Command{Name: "blockdev-del", Args: map[string]any{"node-name": node}})
	}
}

// Detach implements hcsfake.Machine.
func (m *machines) Detach(id, controller, lun string) error {
	v, err := m.get(id)
	if err != nil {
		return err
	}
	n := namesOf(slices.Index(api.SCSIControllers[:], controller), lun)
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	gone := make(chan struct{})
	v.mu.Lock()
	v.deleted[n.device] = gone
	v.mu.Unlock()
	if err := v.do(ctx, qmp.Command{Name: "device_del", Args: map[string]any{"id": n.device}}); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	select {
	case <-gone:
	case <-v.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("detach: wait for the device: %w", ctx.Err())
	}
	v.dropDisk(ctx, n)
	return nil
}

// SetMemory implements hcsfake.Machine: by the balloon, which cannot give more than there was
// at the start.
func (m *machines) SetMemory(id, megabytes string) error {
	v, err := m.get(id)
	if err != nil {
		return err
	}
	most, _ := v.vm.Size()
	want, err := strconv.Atoi(megabytes)
	if err != nil {
		return err
	}
	if have, err := strconv.Atoi(most); err != nil || want > have || want > math.MaxInt32 {
		return &hcsfake.MachineError{Code: hcs.NotEnoughMemory, Text: fmt.Sprintf("the emulator gives no more than the %s MB at the start", most)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	return v.do(ctx, qmp.Command{Name: "balloon", Args: map[string]any{"value": int64(want) << 20}})
}
