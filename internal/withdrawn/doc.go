// Package withdrawn remembers the names of things that were to be removed when nothing had
// those names.
//
// A caller that gives up on making a thing asks for its removal, and calls of one connection
// are served side by side: the removal can be served first, find nothing, and answer that
// nothing is there. Made after that, the thing would stay for ever, with whatever it holds
// that its maker takes away from under it. Who serves such calls notes the name when a
// removal finds nothing, and refuses to make what is noted. That asks of callers that they
// use a name once, as they do with random ids.
//
// A Set is not safe for concurrent use: its owner's lock is held while it looks both for the
// thing and in the Set, or the two would not agree.
package withdrawn
