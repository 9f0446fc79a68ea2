package etw

import (
	"fmt"
	"time"

	"github.com/Microsoft/go-winio/pkg/etw"
)

func open() (*Provider, error) {
	p, err := etw.NewProvider(Name, nil)
	if err != nil {
		return nil, fmt.Errorf("register etw provider %s: %w", Name, err)
	}
	return &Provider{to: provider{p}, close: p.Close}, nil
}

// provider is go-winio's as a sink.
type provider struct{ p *etw.Provider }

func (s provider) enabled(l Level) bool { return s.p.IsEnabledForLevel(etw.Level(l)) }

func (s provider) write(name string, l Level, fields []Field) error {
	out := make([]etw.FieldOpt, 0, len(fields))
	for _, f := range fields {
		switch v := f.Value.(type) {
		case bool:
			out = append(out, etw.BoolField(f.Name, v))
		case int64:
			out = append(out, etw.Int64Field(f.Name, v))
		case uint64:
			out = append(out, etw.Uint64Field(f.Name, v))
		case float64:
			out = append(out, etw.Float64Field(f.Name, v))
		case time.Time:
			out = append(out, etw.Time(f.Name, v))
		default:
			out = append(out, etw.StringField(f.Name, fmt.Sprint(v)))
		}
	}
	return s.p.WriteEvent(name, etw.WithEventOpts(etw.WithLevel(etw.Level(l))), out)
}
