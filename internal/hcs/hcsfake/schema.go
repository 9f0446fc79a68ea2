package hcsfake

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// check tells what is wrong with a value at a path of a document.
type check func(path string, v any) error

// object is a structure: its fields, and of those the ones that must be there.
type object struct {
	fields   map[string]check
	required []string
}

func (o object) check(path string, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is not an object", path)
	}
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(m)) {
		f, ok := o.fields[k]
		if !ok {
			errs = append(errs, fmt.Errorf("%s has an unknown field %s", path, k))
			continue
		}
		errs = append(errs, f(path+"."+k, m[k]))
	}
	for _, k := range o.required {
		if _, ok := m[k]; !ok {
			errs = append(errs, fmt.Errorf("%s lacks %s", path, k))
		}
	}
	return errors.Join(errs...)
}

func obj(fields map[string]check, required ...string) check { return object{fields, required}.check }

func mapOf(key func(string) bool, value check) check {
	return func(path string, v any) error {
		m, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is not a map", path)
		}
		var errs []error
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !key(k) {
				errs = append(errs, fmt.Errorf("%s has a key %q", path, k))
			}
			errs = append(errs, value(path+"."+k, m[k]))
		}
		return errors.Join(errs...)
	}
}

func boolean(path string, v any) error {
	if _, ok := v.(bool); !ok {
		return fmt.Errorf("%s is not a boolean", path)
	}
	return nil
}

func number(least, most uint64) check {
	return func(path string, v any) error {
		n, ok := v.(json.Number)
		u, err := strconv.ParseUint(string(n), 10, 64)
		if !ok || err != nil || u < least || u > most {
			return fmt.Errorf("%s is %v, not a number of %d to %d", path, v, least, most)
		}
		return nil
	}
}

func even(path string, v any) error {
	if err := number(2, 1<<40)(path, v); err != nil {
		return err
	}
	if n := v.(json.Number); strings.ContainsRune("13579", rune(n[len(n)-1])) {
		return fmt.Errorf("%s is %s, which is odd", path, n)
	}
	return nil
}

func matching(re string) check {
	r := regexp.MustCompile(re)
	return func(path string, v any) error {
		s, ok := v.(string)
		if !ok || !r.MatchString(s) {
			return fmt.Errorf("%s is %v, not like %s", path, v, re)
		}
		return nil
	}
}

func enum(values ...string) check {
	return func(path string, v any) error {
		if s, ok := v.(string); !ok || !slices.Contains(values, s) {
			return fmt.Errorf("%s is %v, not one of %v", path, v, values)
		}
		return nil
	}
}

var (
	text    = matching(`^[^\x00]+$`)
	sddl    = matching(`^D:P?(\([A-Z;0-9x-]+\))+$`)
	pipe    = matching(`^\\\\\.\\pipe\\[^\\/]+$`)
	guid    = matching(guidPattern)
	isGUID  = regexp.MustCompile(guidPattern).MatchString
	isLUN   = regexp.MustCompile(`^([0-9]|[1-5][0-9]|6[0-3])$`).MatchString
	isPort  = regexp.MustCompile(`^[01]$`).MatchString
	mac     = matching(`^([0-9A-F]{2}-){5}[0-9A-F]{2}$`)
	version = obj(map[string]check{"Major": number(2, 2), "Minor": number(0, 7)}, "Major", "Minor")
)

const guidPattern = `^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`

var attachment = obj(map[string]check{
	"Type":                      enum("VirtualDisk", "Iso", "PassThru"),
	"Path":                      text,
	"ReadOnly":                  boolean,
	"IgnoreFlushes":             boolean,
	"CachingMode":               enum("Uncached", "Cached", "ReadOnlyCached"),
	"NoWriteHardening":          boolean,
	"SupportCompressedVolumes":  boolean,
	"AlwaysAllowSparseFiles":    boolean,
	"SupportEncryptedFiles":     boolean,
	"ExtensibleVirtualDiskType": text,
}, "Type", "Path")

var networkAdapter = obj(map[string]check{
	"EndpointId":      guid,
	"MacAddress":      mac,
	"InstanceId":      guid,
	"ConnectionState": enum("Enabled", "Disabled"),
}, "EndpointId", "MacAddress")

var socketService = obj(map[string]check{
	"BindSecurityDescriptor": sddl, "ConnectSecurityDescriptor": sddl,
	"AllowWildcardBinds": boolean, "Disabled": boolean,
})

var processorLimits = obj(map[string]check{
	"Limit": number(0, 100000), "Weight": number(0, 10000), "Reservation": number(0, 100000), "MaximumFrequencyMHz": number(0, 1<<20),
})

// computeSystem is the schema of a compute system that is a VM.
var computeSystem = obj(map[string]check{
	"Owner":                             text,
	"SchemaVersion":                     version,
	"HostingSystemId":                   text,
	"ShouldTerminateOnLastHandleClosed": boolean,
	"VirtualMachine": obj(map[string]check{
		"Version":     version,
		"StopOnReset": boolean,
		"Chipset": obj(map[string]check{
			"UseUtc": boolean,
			"LinuxKernelDirect": obj(map[string]check{
				"KernelFilePath": text, "InitRdPath": text, "KernelCmdLine": text,
			}, "KernelFilePath"),
		}),
		"ComputeTopology": obj(map[string]check{
			"Memory": obj(map[string]check{
				"SizeInMB":                       even,
				"Backing":                        enum("Physical", "Virtual", "Hybrid"),
				"AllowOvercommit":                boolean,
				"EnableHotHint":                  boolean,
				"EnableColdHint":                 boolean,
				"EnableColdDiscardHint":          boolean,
				"EnableDeferredCommit":           boolean,
				"LowMmioGapInMB":                 number(0, 1<<20),
				"HighMmioBaseInMB":               number(0, 1<<40),
				"HighMmioGapInMB":                number(0, 1<<40),
				"BackingPageSize":                enum("Small", "Large"),
				"FaultClusterSizeShift":          number(0, 9),
				"DirectMapFaultClusterSizeShift": number(0, 9),
				"PinBackingPages":                boolean,
				"ForbidSmallBackingPages":        boolean,
			}, "SizeInMB"),
			"Processor": obj(map[string]check{
				"Count": number(1, 2048), "Limit": number(1, 100000), "Weight": number(1, 10000), "Reservation": number(0, 100000),
				"MaximumFrequencyMHz": number(0, 1<<20), "ExposeVirtualizationExtensions": boolean,
			}, "Count"),
		}, "Memory", "Processor"),
		"Devices": obj(map[string]check{
			"Scsi": mapOf(isGUID, obj(map[string]check{"Attachments": mapOf(isLUN, attachment)})),
			"HvSocket": obj(map[string]check{
				"HvSocketConfig": obj(map[string]check{
					"DefaultBindSecurityDescriptor":    sddl,
					"DefaultConnectSecurityDescriptor": sddl,
					"ServiceTable":                     mapOf(isGUID, socketService),
				}),
			}),
			"ComPorts":        mapOf(isPort, obj(map[string]check{"NamedPipe": pipe, "OptimizeForDebugger": boolean}, "NamedPipe")),
			"NetworkAdapters": mapOf(isGUID, networkAdapter),
			"Plan9":           obj(map[string]check{}),
		}),
		"GuestConnection": obj(map[string]check{"UseVsock": boolean, "UseConnectedSuspend": boolean}),
		"RestoreState":    obj(map[string]check{"SaveStateFilePath": text, "TemplateSystemId": text}),
	}, "Chipset", "ComputeTopology"),
}, "Owner", "SchemaVersion", "VirtualMachine")

// resource is what a ModifyRequest may do to which path.
type resource struct {
	name     string
	path     *regexp.Regexp
	settings check
	verbs    []string
	bare     []string // verbs without settings
}

var resources = []resource{
	{"disk", regexp.MustCompile(`^VirtualMachine/Devices/Scsi/([^/]+)/Attachments/(\d+)$`), attachment, []string{"Add", "Update"}, []string{"Remove"}},
	{"nic", regexp.MustCompile(`^VirtualMachine/Devices/NetworkAdapters/([^/]+)$`), networkAdapter, []string{"Add", "Remove", "Update"}, nil},
	{"memory", regexp.MustCompile(`^VirtualMachine/ComputeTopology/Memory/SizeInMB$`), even, []string{"Update"}, nil},
	{"limits", regexp.MustCompile(`^VirtualMachine/ComputeTopology/Processor/Limits$`), processorLimits, []string{"Update"}, nil},
}

// request is a checked ModifyRequest.
type request struct {
	kind, verb string
	args       []string // of the path
	settings   any
}

// parse reads a document without losing what Go's types would forgive.
func parse(document string) (any, error) {
	d := json.NewDecoder(strings.NewReader(document))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something follows the document")
	}
	return v, nil
}

func parseRequest(document string) (request, error) {
	v, err := parse(document)
	if err != nil {
		return request{}, err
	}
	anything := func(string, any) error { return nil }
	if err := obj(map[string]check{
		"ResourcePath": text, "RequestType": enum("Add", "Remove", "Update"), "Settings": anything,
	}, "ResourcePath", "RequestType")("ModifySettingRequest", v); err != nil {
		return request{}, err
	}
	m := v.(map[string]any)
	path, verb := m["ResourcePath"].(string), m["RequestType"].(string)
	settings, given := m["Settings"]
	for _, r := range resources {
		args := r.path.FindStringSubmatch(path)
		if args == nil {
			continue
		}
		q := request{r.name, verb, args[1:], settings}
		switch {
		case slices.Contains(r.bare, verb) && !given:
			return q, nil
		case slices.Contains(r.verbs, verb) && given:
			return q, r.settings("Settings", settings)
		}
		return request{}, fmt.Errorf("%s of %s, settings given: %t", verb, path, given)
	}
	return request{}, fmt.Errorf("no resource %s", path)
}

// parseSystem reads and checks the document of a compute system, beyond its form.
func parseSystem(document string) (map[string]any, error) {
	v, err := parse(document)
	if err != nil {
		return nil, err
	}
	if err := computeSystem("ComputeSystem", v); err != nil {
		return nil, err
	}
	m := v.(map[string]any)
	memory := at(m, "VirtualMachine", "ComputeTopology", "Memory").(map[string]any)
	if memory["EnableDeferredCommit"] == true && memory["AllowOvercommit"] != true {
		return nil, errors.New("EnableDeferredCommit needs AllowOvercommit")
	}
	if scsi, ok := at(m, "VirtualMachine", "Devices", "Scsi").(map[string]any); ok && len(scsi) > 4 {
		return nil, fmt.Errorf("%d SCSI controllers, of which a VM has 4", len(scsi))
	}
	return m, nil
}

// at walks down a document; nil where it ends.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}
