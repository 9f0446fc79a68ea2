package image

import "fmt"

// KernelArgs returns the kernel command line that every VM with a kernel of
// this flavour should boot with, whatever the hypervisor. The caller adds the
// console and what the machine wants (see MicroVMArgs). Nothing in it differs
// between VMs, so that VMs can be cloned from one template.
func KernelArgs(f Flavour) []string {
	args := []string{
		"quiet",    // a message costs about a millisecond on an emulated serial line
		"panic=-1", // restart at once on panic, which ends the VM with its console flushed
		"reboot=t", // by triple fault: works on every machine model and has no delays
		"oops=panic",
		"random.trust_cpu=on",
		"psi=1", // pressure stall information, which both kernels have off by default
	}
	if f == Debian {
		args = append(args,
			// Self-tests, security modules and auditing that the small kernel
			// does not have: 0.25 of 1.4 CPU seconds of a boot under emulation.
			"cryptomgr.notests", "lsm=", "audit=0",
			// This does nothing but a self-test, which notests does not reach.
			"initcall_blacklist=crypto_kdf108_init",
		)
	}
	return args
}

// MicroVMArgs returns what QEMU's microvm machine wants besides KernelArgs.
// The frequency of the host's time stamp counter, in kHz, spares the guest a
// calibration against a timer, which never ends when the host is busy; 0
// leaves it out, which is right with KVM only.
func MicroVMArgs(tscKHz int) []string {
	if tscKHz <= 0 {
		return nil
	}
	return []string{fmt.Sprintf("tsc_early_khz=%d", tscKHz)}
}
