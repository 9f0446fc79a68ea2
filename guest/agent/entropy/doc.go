// Package entropy gives a guest's kernel randomness from its host, so that VMs that are
// copies of one share none from then on. It is not for making random numbers: the kernel
// does. Seed is safe for concurrent use.
package entropy
