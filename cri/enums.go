package cri

import (
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

var namespaceModes = map[runtimeapi.NamespaceMode]sandbox.NamespaceMode{
	runtimeapi.NamespaceMode_POD:       sandbox.NamespacePod,
	runtimeapi.NamespaceMode_CONTAINER: sandbox.NamespaceContainer,
	runtimeapi.NamespaceMode_NODE:      sandbox.NamespaceNode,
	runtimeapi.NamespaceMode_TARGET:    sandbox.NamespaceTarget,
}

// namespaceMode is the way back; an unset mode is POD, as in the proto file.
func namespaceMode(m sandbox.NamespaceMode) runtimeapi.NamespaceMode {
	for k, v := range namespaceModes {
		if v == m {
			return k
		}
	}
	return runtimeapi.NamespaceMode_POD
}

func podState(s sandbox.PodState) runtimeapi.PodSandboxState {
	if s == sandbox.PodReady {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

var phases = map[runtimeapi.ContainerState]sandbox.Phase{
	runtimeapi.ContainerState_CONTAINER_CREATED: sandbox.ContainerCreatedPhase,
	runtimeapi.ContainerState_CONTAINER_RUNNING: sandbox.ContainerRunning,
	runtimeapi.ContainerState_CONTAINER_EXITED:  sandbox.ContainerExited,
	runtimeapi.ContainerState_CONTAINER_UNKNOWN: sandbox.ContainerUnknown,
}

func containerState(p sandbox.Phase) runtimeapi.ContainerState {
	for k, v := range phases {
		if v == p {
			return k
		}
	}
	return runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

// signalName turns SIGNAL_SIGRTMINPLUS1 into SIGRTMIN+1 and RUNTIME_DEFAULT into "".
func signalName(field string, s runtimeapi.Signal) (string, error) {
	if s == runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
		return "", nil
	}
	name, ok := runtimeapi.Signal_name[int32(s)]
	if !ok {
		return "", invalid(field, "%d is not a signal", s)
	}
	name = strings.TrimPrefix(name, "SIGNAL_")
	return strings.NewReplacer("PLUS", "+", "MINUS", "-").Replace(name), nil
}

// signalEnum is the way back, from a name with or without SIG, or a number as in an
// image's STOPSIGNAL. What is not known shows as RUNTIME_DEFAULT.
func signalEnum(name string) runtimeapi.Signal {
	name = strings.ToUpper(name)
	if n, err := strconv.Atoi(name); err == nil {
		name = linuxSignals[n]
	}
	name = strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(strings.TrimPrefix(name, "SIG"))
	return runtimeapi.Signal(runtimeapi.Signal_value["SIGNAL_SIG"+name])
}

// linuxSignals are the numbers that images use on x86-64 and arm64.
var linuxSignals = map[int]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE",
	9: "KILL", 10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM",
	16: "STKFLT", 17: "CHLD", 18: "CONT", 19: "STOP", 20: "TSTP", 21: "TTIN", 22: "TTOU",
	23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO",
	30: "PWR", 31: "SYS", 34: "RTMIN", 64: "RTMAX",
}

var protocols = map[runtimeapi.Protocol]string{
	runtimeapi.Protocol_TCP:  "tcp",
	runtimeapi.Protocol_UDP:  "udp",
	runtimeapi.Protocol_SCTP: "sctp",
}
