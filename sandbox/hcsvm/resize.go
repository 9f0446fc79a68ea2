package hcsvm

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/sandbox"
)

// SetMemory changes the memory of a running VM to MiB, rounded up to an even number. The
// guest takes up what is more by hot-add, and gives back what is less by its balloon.
func (v *VM) SetMemory(ctx context.Context, mib int) error {
	if mib < sandbox.MinMemoryMiB || mib > sandbox.MaxMemoryMiB {
		return fmt.Errorf("resize vm %s: %d MiB of memory, not %d to %d: %w", v.config.ID, mib, sandbox.MinMemoryMiB, sandbox.MaxMemoryMiB, errdefs.ErrInvalidArgument)
	}
	err := v.change(ctx, func(ctx context.Context) error {
		return v.system.Modify(ctx, hcs.ModifyRequest{
			ResourcePath: hcs.MemoryPath, RequestType: hcs.RequestUpdate, Settings: uint64(mib + mib%2),
		})
	}, nil)
	if err != nil {
		return fmt.Errorf("resize vm %s: %w", v.config.ID, err)
	}
	return nil
}

// wholeCPU is the Limit of a processor that HCS does not limit.
const wholeCPU = 100_000

// SetCPU limits what all processors of a running VM take together, in thousandths of a
// CPU of the host, and weighs it against other VMs: 1 to 10000, 100 for one like others.
// The number of processors stays: a limit above it is no limit.
func (v *VM) SetCPU(ctx context.Context, milliCPUs, weight int) error {
	if milliCPUs < 1 || weight < 1 || weight > 10000 {
		return fmt.Errorf("resize vm %s: %d/1000 CPUs of weight %d: %w", v.config.ID, milliCPUs, weight, errdefs.ErrInvalidArgument)
	}
	// HCS limits each processor, in 1/100000 of one.
	limit := uint64(milliCPUs) * wholeCPU / 1000 / uint64(v.config.VCPUs)
	err := v.change(ctx, func(ctx context.Context) error {
		return v.system.Modify(ctx, hcs.ModifyRequest{
			ResourcePath: hcs.ProcessorLimitsPath, RequestType: hcs.RequestUpdate,
			Settings: hcs.ProcessorLimits{Limit: min(max(limit, 1), wholeCPU), Weight: uint64(weight)},
		})
	}, nil)
	if err != nil {
		return fmt.Errorf("resize vm %s: %w", v.config.ID, err)
	}
	return nil
}
