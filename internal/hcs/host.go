package hcs

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
)

// Host is the Host Compute Service of this machine.
type Host struct {
	lib Library        // immutable after New
	wg  sync.WaitGroup // calls whose callers have gone

	mu      sync.Mutex // guards the fields below
	closed  bool
	last    uintptr             // the last context given out
	systems map[uintptr]*System // by context
}

// New makes a Host, which becomes the only one that uses lib.
func New(lib Library) *Host {
	h := &Host{lib: lib, systems: map[uintptr]*System{}}
	lib.OnEvent(h.deliver)
	return h
}

// Close waits for the calls whose callers have gone. Systems are closed before. Calls after it are
// FailedPrecondition.
func (h *Host) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.wg.Wait()
}

// Create makes a compute system that does not run yet. Its events go to handler, one by
// one, which may call the System but not close it. When ctx ends first, what was made is
// ended behind the caller's back.
func (h *Host) Create(ctx context.Context, id string, document ComputeSystem, handler func(Event)) (*System, error) {
	text, err := encode(document)
	if err != nil {
		return nil, err
	}
	const op = "HcsCreateComputeSystem"
	var handle SystemHandle
	_, err = h.operate(ctx, op, id, func(o Operation) (code HRESULT) {
		handle, code = h.lib.CreateSystem(id, text, o)
		return code
	}, func(_ string, err error) {
		if err == nil {
			_, _ = h.await(Terminate.String(), id, func(o Operation) HRESULT { return h.lib.Call(Terminate, handle, o, "") })
		}
		if handle != 0 {
			h.lib.CloseSystem(handle)
		}
	})
	var left *leftError
	switch {
	case errors.As(err, &left): // the handle belongs to who cleans up
		return nil, err
	case err != nil:
		if handle != 0 {
			h.lib.CloseSystem(handle)
		}
		return nil, err
	}
	return h.adopt(ctx, id, handle, handler)
}

// Open returns a further handle of a compute system. NotFound when there is none.
func (h *Host) Open(ctx context.Context, id string, handler func(Event)) (*System, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	handle, code := h.lib.OpenSystem(id)
	if code.Failed() {
		return nil, newError("HcsOpenComputeSystem", id, code, "")
	}
	return h.adopt(ctx, id, handle, handler)
}

// adopt makes a System of a handle, or closes it.
func (h *Host) adopt(ctx context.Context, id string, handle SystemHandle, handler func(Event)) (*System, error) {
	s := &System{host: h, id: id, handle: handle, wake: make(chan struct{}, 1), quit: make(chan struct{}), released: make(chan struct{})}
	h.mu.Lock()
	h.last++
	s.context = h.last
	h.systems[s.context] = s
	h.mu.Unlock()
	s.wg.Go(func() { s.pump(handler) })
	if code := h.lib.SetCallback(handle, s.context); code.Failed() {
		return nil, errors.Join(newError("HcsSetComputeSystemCallback", id, code, ""), s.Close(ctx))
	}
	return s, nil
}

// List returns the utility VMs of an owner.
func (h *Host) List(ctx context.Context, owner string) ([]Properties, error) {
	query, err := encode(systemQuery{Types: []string{"VirtualMachine"}, Owners: []string{owner}})
	if err != nil {
		return nil, err
	}
	const op = "HcsEnumerateComputeSystems"
	text, err := h.operate(ctx, op, "", func(o Operation) HRESULT { return h.lib.Enumerate(query, o) }, nil)
	if err != nil {
		return nil, err
	}
	var all, out []Properties
	if err := decode(op, "", text, &all); err != nil {
		return nil, err
	}
	for _, p := range all { // a filter that a build does not know would give others' VMs
		if p.Owner == owner && p.SystemType == "VirtualMachine" {
			out = append(out, p)
		}
	}
	return out, nil
}

// Schema returns the versions of documents that the host takes.
func (h *Host) Schema() ([]Version, error) {
	query, err := encode(serviceQuery{PropertyTypes: []string{"Basic"}})
	if err != nil {
		return nil, err
	}
	const op = "HcsGetServiceProperties"
	text, code := h.lib.ServiceProperties(query)
	if code.Failed() {
		return nil, newError(op, "", code, text)
	}
	var p serviceProperties
	if err := decode(op, "", text, &p); err != nil {
		return nil, err
	}
	if len(p.Properties) == 0 {
		return nil, fmt.Errorf("%s: no properties in the answer: %w", op, errdefs.ErrInternal)
	}
	return p.Properties[0].SupportedSchemaVersions, nil
}

// CreateStateFile makes an empty file for a VM's saved state. Its name ends in .vmrs.
func (h *Host) CreateStateFile(path string) error {
	return h.fileError("HcsCreateEmptyRuntimeStateFile", path, h.lib.CreateStateFile(path))
}

// GrantVM lets one VM's worker read and write a file.
func (h *Host) GrantVM(vmID, path string) error {
	return h.fileError("HcsGrantVmAccess", path, h.lib.GrantVM(vmID, path))
}

// RevokeVM takes back what GrantVM gave.
func (h *Host) RevokeVM(vmID, path string) error {
	return h.fileError("HcsRevokeVmAccess", path, h.lib.RevokeVM(vmID, path))
}

// GrantGroup lets the workers of all VMs read a file, once and for all.
func (h *Host) GrantGroup(path string) error {
	return h.fileError("HcsGrantVmGroupAccess", path, h.lib.GrantGroup(path))
}

func (h *Host) fileError(op, path string, code HRESULT) error {
	if !code.Failed() {
		return nil
	}
	return newError(op, path, code, "")
}

// operate runs a call as an operation. When ctx ends before the operation, it returns at
// once with ctx's error, and late, if any, is called with the result later on.
func (h *Host) operate(ctx context.Context, op, id string, call func(Operation) HRESULT, late func(string, error)) (string, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return "", fmt.Errorf("%s %s: host is closed: %w", op, id, errdefs.ErrFailedPrecondition)
	}
	wait := h.start(&h.wg, op, id, call, late)
	h.mu.Unlock()
	return wait(ctx)
}

// leftError is of a call whose caller's context ended first, and which goes on.
type leftError struct {
	op, id string
	cause  error // the context's
}

func (e *leftError) Error() string { return e.op + " " + e.id + " goes on: " + e.cause.Error() }
func (e *leftError) Unwrap() error { return e.cause }

// start begins a call on a goroutine of wg and returns what waits for it.
func (h *Host) start(wg *sync.WaitGroup, op, id string, call func(Operation) HRESULT, late func(string, error)) func(context.Context) (string, error) {
	type result struct {
		document string
		err      error
	}
	ended, left := make(chan result), make(chan struct{})
	wg.Go(func() {
		document, err := h.await(op, id, call)
		select {
		case ended <- result{document, err}:
		case <-left:
			if late != nil {
				late(document, err)
			}
		}
	})
	return func(ctx context.Context) (string, error) {
		select {
		case r := <-ended:
			return r.document, r.err
		case <-ctx.Done():
			close(left)
			return "", &leftError{op, id, ctx.Err()}
		}
	}
}

// await makes a call and waits for its operation to end, however long that takes.
func (h *Host) await(op, id string, call func(Operation) HRESULT) (string, error) {
	o := h.lib.NewOperation()
	if o == 0 {
		return "", newError("HcsCreateOperation", id, OutOfMemory, "")
	}
	defer h.lib.CloseOperation(o)
	if code := call(o); code.Failed() {
		document, _ := h.lib.Result(o)
		return "", newError(op, id, code, document)
	}
	document, code := h.lib.Wait(o)
	if code.Failed() {
		return "", newError(op, id, code, document)
	}
	return document, nil
}

// deliver takes an event from HCS. Events of systems that nobody has are passed over.
func (h *Host) deliver(context uintptr, e Event) {
	h.mu.Lock()
	s := h.systems[context]
	h.mu.Unlock()
	if s != nil {
		s.push(e)
	}
}

func (h *Host) forget(context uintptr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.systems, context)
}
