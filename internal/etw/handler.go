package etw

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Name is the provider's. Its id follows from it by the rule of EventSource, so that tools that take
// names ("*Porthole") find it.
const Name = "Porthole"

// ID is the provider's GUID, of Name.
const ID = "17f38ff6-0b3c-5dcf-5a40-99fcdc714a2f"

// Level is how grave an event is (TRACE_LEVEL_… of evntrace.h).
type Level uint8

// Levels.
const (
	Error   Level = 2
	Warning Level = 3
	Info    Level = 4
	Verbose Level = 5
)

func levelOf(l slog.Level) Level {
	switch {
	case l >= slog.LevelError:
		return Error
	case l >= slog.LevelWarn:
		return Warning
	case l >= slog.LevelInfo:
		return Info
	}
	return Verbose
}

// Field is one of an event's. Value is a string, bool, int64, uint64, float64 or time.Time.
type Field struct {
	Name  string
	Value any
}

// sink is what takes events: a provider, or a test.
type sink interface {
	// enabled tells whether a session wants events of a level.
	enabled(l Level) bool
	// write writes one. Its error is of no use to who logs.
	write(name string, l Level, fields []Field) error
}

// bounds of an event: ETW's is 64 KiB for all of it.
const (
	maxFields = 64
	maxText   = 4096
)

// handler is a slog.Handler over a sink.
type handler struct {
	to     sink
	prefix string // of groups, with a dot
	fields []Field
}

var _ slog.Handler = (*handler)(nil)

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return h.to.enabled(levelOf(l)) }

// Handle implements slog.Handler. The event is named Log: its message is a field, as names are
// for few kinds.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	fields := slices.Clone(h.fields)
	r.Attrs(func(a slog.Attr) bool {
		fields = add(fields, h.prefix, a)
		return true
	})
	fields = append([]Field{{"message", cut(r.Message)}}, fields...)
	return h.to.write("Log", levelOf(r.Level), fields[:min(len(fields), maxFields)])
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := &handler{to: h.to, prefix: h.prefix, fields: slices.Clone(h.fields)}
	for _, a := range attrs {
		out.fields = add(out.fields, h.prefix, a)
	}
	return out
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &handler{to: h.to, prefix: h.prefix + name + ".", fields: h.fields}
}

// add appends an attribute; those of a group have its name before theirs.
func add(fields []Field, prefix string, a slog.Attr) []Field {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, sub := range v.Group() {
			fields = add(fields, prefix, sub)
		}
		return fields
	}
	if a.Key == "" {
		return fields
	}
	return append(fields, Field{prefix + a.Key, value(v)})
}

// value is of a type that ETW has.
func value(v slog.Value) any {
	switch v.Kind() {
	case slog.KindBool:
		return v.Bool()
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return v.Uint64()
	case slog.KindFloat64:
		return v.Float64()
	case slog.KindTime:
		return v.Time()
	case slog.KindDuration:
		return v.Duration().Round(time.Microsecond).String()
	case slog.KindString:
		return cut(v.String())
	}
	return cut(fmt.Sprint(v.Any()))
}

func cut(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}

// Tee gives each record to both handlers, as far as each wants it: one that fails does not keep it
// from the other.
func Tee(log, trace slog.Handler) slog.Handler { return tee{log, trace} }

type tee struct{ log, trace slog.Handler }

// Enabled implements slog.Handler.
func (t tee) Enabled(ctx context.Context, l slog.Level) bool {
	return t.log.Enabled(ctx, l) || t.trace.Enabled(ctx, l)
}

// Handle implements slog.Handler. An event that ETW does not take is no reason to complain.
func (t tee) Handle(ctx context.Context, r slog.Record) error {
	if t.trace.Enabled(ctx, r.Level) {
		_ = t.trace.Handle(ctx, r.Clone())
	}
	if t.log.Enabled(ctx, r.Level) {
		return t.log.Handle(ctx, r)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (t tee) WithAttrs(a []slog.Attr) slog.Handler {
	return tee{t.log.WithAttrs(a), t.trace.WithAttrs(a)}
}

// WithGroup implements slog.Handler.
func (t tee) WithGroup(name string) slog.Handler {
	return tee{t.log.WithGroup(name), t.trace.WithGroup(name)}
}
