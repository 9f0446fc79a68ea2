// Package etw is a provider of Event Tracing for Windows that takes log records: traces of Porthole can
// be read beside those of Hyper-V and HNS, by their times.
//
// It is not the log, which is written whoever listens, nor the Event Log (package winsvc). A
// provider costs nothing while no session has enabled it. What becomes an event's fields is portable (handler.go);
// what writes it is in provider_windows.go, and elsewhere Open returns errors.ErrUnsupported.
//
// A Provider is made by Open and used until Close. It and its handlers are safe for concurrent use.
package etw
