package winhost

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// Explanation says what a code means.
type Explanation struct {
	Code    string `json:"code"`              // as hexadecimal digits
	Meaning string `json:"meaning"`           // one sentence; empty: not known
	Network string `json:"network,omitempty"` // what it means when HNS answers it, where that is another thing
	Next    string `json:"next"`              // what to do; never empty
}

func (e Explanation) String() string {
	meaning := e.Meaning
	if meaning == "" {
		meaning = "not a code that Porthole knows"
	}
	text := fmt.Sprintf("%s  %s\n", e.Code, meaning)
	if e.Network != "" {
		text += "  from HNS: " + e.Network + "\n"
	}
	return text + "  next: " + e.Next + "\n"
}

var decimal = regexp.MustCompile(`^-?[0-9]{1,10}$`)

// ParseCode reads a code as Windows' tools print it: hexadecimal with 0x, or decimal, with a
// sign as PowerShell does. Exit codes of services are decimal too.
func ParseCode(s string) (uint32, error) {
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		n, err := strconv.ParseUint(strings.TrimSuffix(hex, "l"), 16, 32)
		if err != nil {
			return 0, fmt.Errorf("%q is not a code of 32 bits", s)
		}
		return uint32(n), nil
	}
	if !decimal.MatchString(s) {
		return 0, fmt.Errorf("%q is not a code such as 0x80370102 or -2143878910", s)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < -1<<31 || n >= 1<<32 {
		return 0, fmt.Errorf("%q is not a code of 32 bits", s)
	}
	return uint32(n), nil
}

// IsCode tells whether an argument that may begin with a minus is a code.
func IsCode(s string) bool { return decimal.MatchString(s) }

const (
	// win32 is the facility of Windows' own errors in an HRESULT.
	win32 = 0x80070000
	// genFailure is ERROR_GEN_FAILURE, which HNS answers when it says no more.
	genFailure = 31
)

// Explain says what a code means: of the Host Compute Service, of HNS, or of Windows itself with or
// without its facility.
func Explain(code uint32) Explanation {
	e := Explanation{Code: fmt.Sprintf("0x%08x", code), Next: step(code)}
	full := code
	if code != 0 && code < 0x10000 {
		full = win32 | code
	}
	h := hcs.HRESULT(full)
	if h.Known() {
		_, e.Meaning, _ = strings.Cut(h.String(), " ")
	}
	meaning, advice := hcnnet.Explain(code)
	if meaning != "" && e.Meaning == "" {
		e.Meaning = meaning
	} else if meaning != "" && (advice != "" && advice != e.Next || meaning != e.Meaning) {
		e.Network = meaning
		if advice != "" {
			e.Network += ": " + advice
		}
	}
	switch code {
	case 0:
		e.Meaning = "success"
	case genFailure, win32 | genFailure:
		e.Meaning = "general failure"
	}
	return e
}

// steps are what to do about codes whose errors say nothing of it: errors come with what was
// tried, and a code alone does not.
var steps = map[hcs.HRESULT]string{
	hcs.TerminatedDuringStart:   "see the guest's console in the pod's error and the log; porthole guest info --verify tells whether kernel and initrd are whole",
	hcs.ImageMismatch:           "this is for Windows containers: a pod went to the wrong runtime; see [upstream] and the pod's runtimeClassName",
	hcs.InvalidState:            "the VM was at another point of its life: kubectl describe pod says what came before; the pod is made anew",
	hcs.UnexpectedExit:          "kubectl describe pod has the guest's last words; more are in the log",
	hcs.Terminated:              "somebody ended the VM: Porthole itself at its start, hcsdiag kill, or an administrator; the pod is made anew",
	hcs.ConnectFailed:           "Microsoft's guest connection is not used by Porthole: this is another runtime's VM",
	hcs.ConnectionTimeout:       "Microsoft's guest connection is not used by Porthole: this is another runtime's VM",
	hcs.ConnectionClosed:        "Microsoft's guest connection is not used by Porthole: this is another runtime's VM",
	hcs.UnknownMessage:          "report it with the output of porthole selftest",
	hcs.SystemNotFound:          "the VM has ended; hcsdiag list shows those that are there",
	hcs.SystemAlreadyStopped:    "nothing: the VM has ended, and its pod is made anew",
	hcs.ProtocolError:           "Restart-Service vmcompute ends all VMs of the host; report it with the output of porthole selftest",
	hcs.InvalidLayer:            "this is for Windows containers: a pod went to the wrong runtime; see [upstream] and the pod's runtimeClassName",
	hcs.WindowsInsider:          "use a released build of Windows Server",
	hcs.OperationNotStarted:     "report it with the output of porthole selftest",
	hcs.OperationAlreadyStarted: "report it with the output of porthole selftest",
	hcs.OperationPending:        "report it with the output of porthole selftest",
	hcs.CallbackAlreadySet:      "report it with the output of porthole selftest",
	hcs.ProcessInfoMissing:      "Porthole starts no processes through the Host Compute Service: this is another runtime's VM",
	hcs.ProcessAlreadyStopped:   "Porthole starts no processes through the Host Compute Service: this is another runtime's VM",
	hcs.OperationCanceled:       "somebody ended the VM meanwhile; the pod is made anew",
	hcs.Timeout:                 "the host is overloaded, or a service hangs: Restart-Service vmcompute ends all VMs of the host, Restart-Service hns may cost pods their networks",
	hcs.GuestCriticalError:      "the guest's kernel panicked: the reason is in the pod's error and the log; more memory (vm.memory) helps where it ran out of it",
	hcs.NotConfigured:           "report it with the output of porthole selftest",
	hcs.NotImplemented:          "upgrade to Windows Server 2022 or later: porthole doctor tells the build",
	hcs.Fail:                    "see the events of Microsoft-Windows-Hyper-V-Compute/Admin and Microsoft-Windows-Hyper-V-Worker/Admin at that time",
	hcs.FileNotFound:            "see in the error which file: porthole guest info tells whether the bundle is whole; a layer that is gone is pulled again after crictl rmi",
	hcs.PathNotFound:            "see in the error which folder; root and state in the configuration must be on volumes that are there",
	hcs.DiskFull:                "free space on the volume of root: crictl rmi --prune",
	hcs.AlreadyExists:           "see in the error what: hcsdiag list shows VMs, Get-HnsEndpoint endpoints",
	hcs.ElementNotFound:         "it is gone already; if a pod has no network, it is made anew",
	hcs.VHDFormatUnknown:        "the file is damaged: crictl rmi its image and pull it again; for a disk of yours, Test-VHD",
}

// unknownStep is for codes of which nothing is known.
const unknownStep = "certutil -error CODE gives Windows' own text; the events of Microsoft-Windows-Hyper-V-Compute/Admin, Microsoft-Windows-Hyper-V-Worker/Admin and Microsoft-Windows-Host-Network-Service/Admin at that time say more"

// step is what to do about a code.
func step(code uint32) string {
	if code == 0 {
		return "nothing"
	}
	full := code
	if code < 0x10000 {
		full = win32 | code
	}
	h := hcs.HRESULT(full)
	if hint := h.Hint(); hint != "" {
		return hint
	}
	for k, s := range steps {
		if h.Is(k) {
			return s
		}
	}
	if _, advice := hcnnet.Explain(code); advice != "" {
		return advice
	}
	if code>>16 == win32>>16 {
		code &= 0xffff // as HNS's errors have them
	}
	if s := networkSteps[code]; s != "" {
		return s
	}
	return unknownStep
}

// networkSteps are for HNS's codes that come without advice.
var networkSteps = map[uint32]string{
	genFailure: "see the events of Microsoft-Windows-Host-Network-Service/Admin at that time",
	1115:       "nothing: the node shuts down, and pods are made anew when it is up",
	0x803b0001: "the network is made by the node's network agent (flanneld, calico-node, azure-cns …): see that it runs; Get-HnsNetwork lists networks",
	0x803b0002: "the endpoint is gone: the pod is made anew; Get-HnsEndpoint lists those that are there",
	0x803b0007: "the pod's endpoint lost its port: the pod is made anew",
	0x803b000a: "compare the CNI configuration with the network's type: Get-HnsNetwork",
	0x803b000c: "compare the CNI configuration with what its plugin takes",
	0x803b0014: "the endpoint is another pod's still: it is freed with that pod; Get-HnsEndpoint shows whose it is",
	0x803b001b: "compare the CNI configuration with what its plugin takes",
	0x803b002b: "nothing: it is where it should be",
	0x803b002c: "something uses it still: Get-HnsEndpoint shows what; it is freed with its pod",
	0x803b002e: "the endpoint is attached elsewhere: Get-HnsEndpoint shows where",
}
