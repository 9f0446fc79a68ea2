// Package guest is the host's side of the agent protocol: a Client asks the agent in
// one utility VM to make pods and containers, and opens the streams of their processes.
//
// The guest is not trusted. Whatever it answers is checked before it is returned: ids
// are those that were asked about, numbers are in range, lists and texts are bounded,
// and texts hold no control characters, so that they may go to logs and terminals.
// What a stream carries is the container's own bytes and is passed on unread.
//
// The package knows neither hypervisors nor pods' states: it gets its connections from
// a Dialer and has plain types of its own. It does not keep a broken connection alive:
// an agent that is lost is a guest that is lost, which the owner of the VM deals with.
//
// A Client is made by Connect and used until Close, or until Done is closed because the
// connection broke. It is safe for concurrent use.
package guest
