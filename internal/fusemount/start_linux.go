package fusemount

import (
	"os"
	"syscall"
)

// Start starts a program as os.StartProcess does and waits for it, for those who have no
// other that waits for all children.
func Start(path string, args []string, attr *os.ProcAttr) (Process, error) {
	p, err := os.StartProcess(path, args, attr)
	if err != nil {
		return nil, err
	}
	c := &child{p: p, done: make(chan struct{})}
	go func() { // ends with the process
		defer close(c.done)
		st, err := p.Wait()
		if err != nil {
			c.code = 3
			return
		}
		ws := st.Sys().(syscall.WaitStatus)
		c.code = uint32(ws.ExitStatus())
		if ws.Signaled() {
			c.code = 128 + uint32(ws.Signal())
		}
	}()
	return c, nil
}

// child is a process of this program's own.
type child struct {
	p    *os.Process
	done chan struct{}
	code uint32 // set before done is closed
}

func (c *child) PID() int                        { return c.p.Pid }
func (c *child) Signal(sig syscall.Signal) error { return c.p.Signal(sig) }
func (c *child) Done() <-chan struct{}           { return c.done }
func (c *child) Code() uint32                    { return c.code }
