//go:build !linux

package cgroup

import "errors"

// supported: this system has no control groups.
const supported = false

// system has no control groups, so that Open finds none.
type system struct{}

func (system) mark(string) error   { return errors.ErrUnsupported }
func (system) marked(string) bool  { return false }
func (system) remove(string) error { return errors.ErrUnsupported }
