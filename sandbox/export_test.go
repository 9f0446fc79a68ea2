package sandbox

import (
	"context"
	"io/fs"
)

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

// ContainersUsage are all of EachContainerUsage.
func (m *Manager) ContainersUsage(ctx context.Context, f ContainerFilter) (all []ContainerUsage, err error) {
	err = m.EachContainerUsage(ctx, f, func(u *ContainerUsage) { all = append(all, *u) })
	return all, err
}
