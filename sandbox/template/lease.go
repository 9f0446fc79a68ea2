package template

import (
	"errors"
	"os"

	"github.com/porthole-run/porthole/internal/memfile"
)

// Lease is one use of a template. Its files are copies of the Keeper's descriptors.
type Lease struct {
	ID            string // of this template: no other has had it
	Class         Class
	StateSHA256   string   // of State's content, hexadecimal
	Memory, State *os.File // both sealed; State is to be read from 0 on with ReadAt

	keeper *Keeper
}

// lease copies the descriptors of a template.
func (t *built) lease(k *Keeper, c Class) (*Lease, error) {
	memory, err := memfile.Dup(t.memory)
	if err != nil {
		return nil, err
	}
	state, err := memfile.Dup(t.state)
	if err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	return &Lease{ID: t.id, Class: c, StateSHA256: t.stateSum, Memory: memory, State: state, keeper: k}, nil
}

// Report tells the Keeper what became of the clone: nil when it runs, else why it could
// not be made. A failure that says nothing of the template is not reported.
func (l *Lease) Report(err error) { l.keeper.report(l, err) }

// Close lets go of the files. It is called once.
func (l *Lease) Close() { _ = errors.Join(l.Memory.Close(), l.State.Close()) }
