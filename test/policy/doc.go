// Package policy holds the project's own rules as tests: which package may import
// which, how large files may be, where build tags may stand, how tests may skip,
// and that documents name what they must and only what there is. It has no code that ships.
package policy
