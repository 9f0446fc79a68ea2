// Package critest holds the packages that the suite of sigs.k8s.io/cri-tools is made of
// in this module's go.mod, as `make critest` builds its program from there: that program
// is a test of its module, and go.mod knows no tests of others. Nothing imports this
// package, and it does nothing.
package critest

import (
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
