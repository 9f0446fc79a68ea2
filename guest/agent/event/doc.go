// Package event keeps the agent's last events, numbered, for followers that come and
// go. It knows nothing of what an event means.
package event
