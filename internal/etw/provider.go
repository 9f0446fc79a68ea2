package etw

import "log/slog"

// Provider is Porthole's provider, registered with this system.
type Provider struct {
	to    sink
	close func() error
}

// Open registers the provider Name.
func Open() (*Provider, error) { return open() }

// Handler makes log records events.
func (p *Provider) Handler() slog.Handler { return &handler{to: p.to} }

// Close ends the provider. Records that come later are dropped.
func (p *Provider) Close() error { return p.close() }
