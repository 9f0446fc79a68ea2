package selftest

// vmRows are about sandbox/hcsvm, internal/hcs and internal/hvsock.
var vmRows = []Row{
	{
		ID: "document", Part: PartVM, run: checkDocument,
		Assumed: "The document as a whole is taken: each field is documented, the combination is not known to have been sent",
		Shows:   "Create fails with `0x8037010d` and the field",
		Do:      "leave the field out in `document.go`",
	},
	{
		ID: "vm-id", Part: PartVM, run: checkID,
		Assumed: "A VM's RuntimeId is its id when that is a GUID",
		Shows:   "Create says which other id it got",
		Do:      "dial by the RuntimeId",
	},
	{
		ID: "strings", Part: PartVM, run: checkStrings,
		Assumed: "Strings that HCS returns are freed with `CoTaskMemFree` (its reference says `LocalFree`)",
		Shows:   "heap corruption: the selftest ends in this row",
		Do:      "`take` in `library_windows.go`",
	},
	{
		ID: "early-end", Part: PartVM, run: checkEarlyEnd,
		Assumed: "The callback may be set after the create operation has ended, and the end of a guest that panics at once is told, with its panic",
		Shows:   "a VM that ends at once is seen late, or without a reason",
		Do:      "set the callback before",
	},
	{
		ID: "exit-event", Part: PartVM, run: checkExitEvent,
		Assumed: "An exit event comes after Terminate, for a VM that was never started too",
		Shows:   "Stop takes 2 s longer",
	},
	{
		ID: "last-handle", Part: PartVM, run: checkLastHandle,
		Assumed: "`Terminate` ends a VM whose start was given up, and the closing of the last handle ends a VM",
		Shows:   "a left-over, ended at the daemon's next start",
	},
	{
		ID: "dial", Part: PartVM, run: checkDial,
		Assumed: "A dial is refused, or times out in a second, while the guest does not listen",
		Shows:   "Dial returns another error in place of trying again",
		Do:      "add the code in `dial_windows.go`",
	},
	{
		ID: "hvsocket", Part: PartVM, run: checkSocket,
		Assumed: "`HVSOCKET_CONNECT_TIMEOUT` and the buffer sizes can be set before connecting; reading and writing go through `ReadFile` and `WriteFile`",
		Shows:   "dials fail naming the option",
	},
	{
		ID: "console", Part: PartVM, run: checkConsole,
		Assumed: "The VM's worker, `S-1-5-83-1-…`, opens the console's pipe under the list of access that it has",
		Shows:   "errors tell of an empty console",
		Do:      "`consolePipe` in `document.go`",
	},
	{
		ID: "socket-table", Part: PartVM, run: checkSocketTable,
		Assumed: "`D:P(D;;FA;;;WD)` is taken for \"nobody\" in the socket table, and tables by service work without registry entries",
		Shows:   "Create fails, or dials of the table's ports are refused, or dials of other ports are not",
	},
	{
		ID: "layer", Part: PartVM, run: checkLayer,
		Assumed: "A fixed VHD as images' layers are, whose footer is of our making, is attached and detached",
		Shows:   "AttachDisk fails with `0xc03a…`",
		Do:      "`internal/vhd`",
	},
	{
		ID: "open-disk", Part: PartVM, run: checkOpenDisk,
		Assumed: "A VHDX that this process has open to read, which keeps it locked, is attached to be written",
		Shows:   "mounts of disks as volumes fail with `0x80070020`",
		Do:      "`volumeFlags` in `sandbox/shim`",
	},
	{
		ID: "controllers", Part: PartVM, run: checkControllers,
		Assumed: "The guest sees controllers by the GUIDs that the document gives them",
		Shows:   "the guest does not find its disks",
		Do:      "`guest/agent/disk`",
	},
	{
		ID: "kernel", Part: PartVM, run: checkKernel,
		Assumed: "The guest's kernel boots with `pci=off pmtmr=0` and finds COM1",
		Shows:   "nothing on the console, the agent does not answer",
		Do:      "`kernelArgs` in `document.go`",
	},
	{
		ID: "memory", Part: PartVM, run: checkMemory,
		Assumed: "A VM takes the memory that its guest has touched, and memory that was reported free comes back to the host",
		Shows:   "`vmmem` stays large",
	},
	{
		ID: "resize", Part: PartVM, run: checkResize,
		Assumed: "Memory can be lowered while a VM runs; the processor's limits are taken",
		Shows:   "SetMemory, SetCPU fail",
	},
	{
		ID: "save", Part: PartVM, run: checkSave,
		Assumed: "Save and restore work with kernel direct boot and hvsock; a restored VM may have another id, and reads its state with the group's right",
		Shows:   "Restore or Start fails",
		Do:      "grant the file to each VM",
	},
	{
		ID: "vmcompute", Part: PartVM, run: checkServiceRestart, Disruptive: true,
		Assumed: "A restart of `vmcompute` sends the disconnect event, and VMs can be opened again",
		Shows:   "calls fail with `0x8037011e`; the VM counts as lost either way",
	},
}
