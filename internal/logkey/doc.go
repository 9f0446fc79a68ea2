// Package logkey names the attributes of Porthole's log lines and carries a logger in
// a context.
//
// It is the one list of attribute keys, so that a pod's lines can be found with the
// same query whatever package wrote them. Keys are snake_case. It is not a logging
// library: lines are written with log/slog, messages are static, and what differs is
// an attribute.
//
// A call's edge puts the ids that it knows into the context with With; code below
// logs through Logger(ctx) and gets them for free. Everything here is safe for
// concurrent use.
package logkey
