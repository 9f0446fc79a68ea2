// Package registry is a container registry on a loopback port, for tests and the
// demo. It keeps images in memory and can be told to misbehave the way registries,
// networks and attackers do.
//
// It is no registry for production: no quotas, no garbage collection, no TLS.
package registry
