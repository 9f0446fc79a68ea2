//go:build !linux

package network

import "errors"

// hostNamespaces are not there outside of Linux.
type hostNamespaces struct{}

func (hostNamespaces) create(string) error { return errors.ErrUnsupported }

func (hostNamespaces) remove(string) error { return errors.ErrUnsupported }

func (hostNamespaces) alive(string) bool { return false }

func (hostNamespaces) inspect(string, string) (link, error) { return link{}, errors.ErrUnsupported }
