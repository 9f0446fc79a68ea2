package sandbox

import "io/fs"

// Access for the tests in package sandbox_test, which cannot be in this package since
// the simulated node imports it.

// SetRecordWriter replaces what writes records.
func (m *Manager) SetRecordWriter(f func(path string, data []byte, perm fs.FileMode) error) {
	m.store.write = f
}

// RecordWriter is what writes records.
func (m *Manager) RecordWriter() func(path string, data []byte, perm fs.FileMode) error {
	return m.store.write
}
