package sandbox

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// podState is where a pod is in its life. The drawing is in doc.go.
type podState int

const (
	podMaking   podState = iota + 1 // RunPod is at work; not shown to callers
	podReadyVM                      // its VM runs and takes containers
	podLost                         // its VM ended, or cannot be reached, unasked; holds resources
	podStopping                     // resources are being given back, or a try at it did not end well
	podStopped                      // holds nothing but its record
	podRemoving                     // RemovePod is at work on the record, or did not end well
)

// podEvent is what moves a pod from state to state.
type podEvent int

const (
	podMade      podEvent = iota + 1 // all steps of RunPod are done
	podBroken                        // a step of RunPod failed and could not be undone
	podLose                          // the VM ended, or cannot be reached
	podStop                          // somebody wants it stopped
	podStopDone                      // all resources are given back
	podRemove                        // somebody wants it gone
	podRecovered                     // a half-made pod was found at start
)

var podTransitions = map[podState]map[podEvent]podState{
	podMaking:   {podMade: podReadyVM, podBroken: podLost, podRecovered: podStopping},
	podReadyVM:  {podLose: podLost, podStop: podStopping},
	podLost:     {podLose: podLost, podStop: podStopping},
	podStopping: {podLose: podStopping, podStop: podStopping, podStopDone: podStopped},
	podStopped:  {podStop: podStopped, podRemove: podRemoving},
	podRemoving: {podRemove: podRemoving},
}

var podStateNames = map[podState]string{
	podMaking: "making", podReadyVM: "ready", podLost: "lost",
	podStopping: "stopping", podStopped: "stopped", podRemoving: "removing",
}

// String is the state's name, which records use too.
func (s podState) String() string { return nameOf(podStateNames, s) }

func (e podEvent) String() string {
	return nameOf(map[podEvent]string{
		podMade: "made", podBroken: "broken", podLose: "lose", podStop: "stop",
		podStopDone: "stop-done", podRemove: "remove", podRecovered: "recovered",
	}, e)
}

// shown is the state as callers see it.
func (s podState) shown() PodState {
	if s == podReadyVM {
		return PodReady
	}
	return PodNotReady
}

// containerState is where a container is in its life. The drawing is in doc.go.
type containerState int

const (
	containerCreating containerState = iota + 1 // CreateContainer is at work; not shown to callers
	containerCreated                            // exists in the guest, does not run
	containerStarting                           // StartContainer is at work
	containerRunning                            // its process runs
	containerLost                               // its shim cannot be reached: it may run or not
	containerExited                             // its process has ended
	containerRemoving                           // RemoveContainer is at work, or did not end well
)

// containerEvent is what moves a container from state to state.
type containerEvent int

const (
	containerMade    containerEvent = iota + 1 // all steps of CreateContainer are done
	containerStart                             // somebody wants it started
	containerStarted                           // its process runs
	containerExit                              // its process, or its VM, has ended, or it could not start
	containerLose                              // its shim cannot be reached
	containerRemove                            // somebody wants it gone
)

var containerTransitions = map[containerState]map[containerEvent]containerState{
	containerCreating: {containerMade: containerCreated, containerExit: containerExited, containerRemove: containerRemoving},
	containerCreated: {containerStart: containerStarting, containerExit: containerExited,
		containerLose: containerLost, containerRemove: containerRemoving},
	containerStarting: {containerStarted: containerRunning, containerExit: containerExited, containerLose: containerLost},
	containerRunning:  {containerExit: containerExited, containerLose: containerLost},
	containerLost:     {containerExit: containerExited, containerLose: containerLost},
	containerExited:   {containerRemove: containerRemoving},
	containerRemoving: {containerRemove: containerRemoving},
}

var containerStateNames = map[containerState]string{
	containerCreating: "creating", containerCreated: "created", containerStarting: "starting",
	containerRunning: "running", containerLost: "lost", containerExited: "exited", containerRemoving: "removing",
}

// String is the state's name, which records use too.
func (s containerState) String() string { return nameOf(containerStateNames, s) }

func (e containerEvent) String() string {
	return nameOf(map[containerEvent]string{
		containerMade: "made", containerStart: "start", containerStarted: "started",
		containerExit: "exit", containerLose: "lose", containerRemove: "remove",
	}, e)
}

// shown is the state as callers see it.
func (s containerState) shown() Phase {
	switch s {
	case containerCreating, containerCreated, containerStarting:
		return ContainerCreatedPhase
	case containerRunning:
		return ContainerRunning
	case containerExited, containerRemoving:
		return ContainerExited
	default:
		return ContainerUnknown
	}
}

// step looks up a transition. An event that the state does not take is a
// FailedPrecondition error that names both.
func step[S interface {
	comparable
	fmt.Stringer
}, E interface {
	comparable
	fmt.Stringer
}](table map[S]map[E]S, from S, e E) (S, error) {
	to, ok := table[from][e]
	if !ok {
		return from, fmt.Errorf("%s: it is %s: %w", e, from, errdefs.ErrFailedPrecondition)
	}
	return to, nil
}

func nameOf[T ~int](names map[T]string, v T) string {
	if n, ok := names[v]; ok {
		return n
	}
	return fmt.Sprintf("state(%d)", int(v))
}

// stateNamed finds the state that a record names.
func stateNamed[T comparable](names map[T]string, name string) (T, bool) {
	for s, n := range names {
		if n == name {
			return s, true
		}
	}
	var none T
	return none, false
}
