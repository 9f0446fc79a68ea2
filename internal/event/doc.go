// Package event is a bounded log of numbered events that can be followed from any point:
// the agent's, of what happens in the guest, and the daemon's, of what happens to pods.
package event
