// Package harness starts `porthole serve` from a built binary in folders of its own and
// talks to it, for the demo, the benchmarks and the end-to-end tests.
//
// A Server is made by New, runs from Start to Stop or Kill, and can be started again.
// It is for one caller at a time.
package harness
