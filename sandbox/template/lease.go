package template

// Lease is one use of a template. Its files are copies of the Keeper's descriptors, all of
// them sealed, to be read with ReadAt; Scratch is nil when the template has none.
type Lease struct {
	Files
	ID          string // of this template: no other has had it
	Class       Class
	StateSHA256 string // of State's content, hexadecimal

	keeper *Keeper
}

// lease copies the descriptors of a template.
func (t *built) lease(k *Keeper, c Class) (*Lease, error) {
	files, err := t.files.dup()
	if err != nil {
		return nil, err
	}
	return &Lease{Files: files, ID: t.id, Class: c, StateSHA256: t.stateSum, keeper: k}, nil
}

// Report tells the Keeper what became of the clone: nil when it runs, else why it could
// not be made. A failure that says nothing of the template is not reported.
func (l *Lease) Report(err error) { l.keeper.report(l, err) }

// Close lets go of the files. It is called once.
func (l *Lease) Close() { _ = l.close() }
