package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Error is all that is wrong with a file.
type Error struct {
	Path     string // of the file, when known
	Problems []Problem
}

// Problem is one thing that is wrong.
type Problem struct {
	Line int    // 0: nowhere in the file
	Key  string // "vm.accel"; empty: the file as such
	Text string
}

func (p Problem) String() string {
	s := p.Text
	if p.Key != "" {
		s = p.Key + ": " + s
	}
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// Error lists the problems, one a line.
func (e *Error) Error() string {
	what := "configuration"
	if e.Path != "" {
		what += " " + e.Path
	}
	if len(e.Problems) == 1 {
		return what + ": " + e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d problems", what, len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// document is a file being read: where its keys are, and what is wrong so far.
type document struct {
	platform platform
	lines    map[string]int // by dotted key
	problems []Problem
}

func (d *document) add(key, format string, args ...any) {
	d.problems = append(d.problems, Problem{Line: d.line(key), Key: key, Text: fmt.Sprintf(format, args...)})
}

// line is the line of the key, else that of the closest key around it.
func (d *document) line(key string) int {
	for key != "" {
		if n := d.lines[key]; n > 0 {
			return n
		}
		i := strings.LastIndexByte(key, '.')
		key = key[:max(i, 0)]
	}
	return 0
}

func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return a.Line - b.Line })
	return &Error{Problems: d.problems}
}

// decode reads text into dst, whose values stay where text says nothing. The error is
// for text that is no TOML; other problems are in the document.
func decode(text []byte, dst *Config) (*document, error) {
	var values map[string]any
	if err := toml.Unmarshal(text, &values); err != nil {
		p := Problem{Text: err.Error()}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			p.Line, _ = de.Position()
			p.Text = strings.TrimPrefix(de.Error(), "toml: ")
		}
		return nil, &Error{Problems: []Problem{p}}
	}
	d := &document{lines: keyLines(text)}
	d.assignTable("", values, reflect.ValueOf(dst).Elem())
	return d, nil
}

// keyLines finds the line of each key of valid TOML.
func keyLines(text []byte) map[string]int {
	lines := map[string]int{}
	p := &unstable.Parser{}
	p.Reset(text)
	prefix := ""
	var record func(prefix string, n *unstable.Node) string
	record = func(prefix string, n *unstable.Node) string {
		key := prefix
		for it := n.Key(); it.Next(); {
			key = join(key, string(it.Node().Data))
			line := p.Shape(it.Node().Raw).Start.Line
			if _, ok := lines[key]; !ok {
				lines[key] = line
			}
		}
		if n.Kind == unstable.KeyValue && n.Value().Kind == unstable.InlineTable {
			for it := n.Value().Children(); it.Next(); {
				record(key, it.Node())
			}
		}
		return key
	}
	for p.NextExpression() {
		switch n := p.Expression(); n.Kind {
		case unstable.Table, unstable.ArrayTable:
			prefix = record("", n)
		case unstable.KeyValue:
			record(prefix, n)
		}
	}
	return lines
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// assignTable puts the values into the fields of dst by their toml tags.
func (d *document) assignTable(prefix string, values map[string]any, dst reflect.Value) {
	fields := map[string]reflect.Value{}
	for f, v := range dst.Fields() {
		fields[f.Tag.Get("toml")] = v
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		path := join(prefix, key)
		field, ok := fields[key]
		if !ok {
			d.add(path, "is not a key that is known here; there are %s", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
			continue
		}
		d.assign(path, values[key], field)
	}
}

func (d *document) assign(path string, value any, dst reflect.Value) {
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	if t, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		s, ok := value.(string)
		if !ok {
			d.add(path, "must be a string in quotes")
			return
		}
		if err := t.UnmarshalText([]byte(s)); err != nil {
			d.add(path, "%v", err)
		}
		return
	}
	switch dst.Kind() {
	case reflect.Struct:
		if m, ok := value.(map[string]any); ok {
			d.assignTable(path, m, dst)
			return
		}
		d.add(path, "must be a table")
	case reflect.Map:
		m, ok := value.(map[string]any)
		if !ok {
			d.add(path, "must be a table")
			return
		}
		out := reflect.MakeMap(dst.Type())
		for k, v := range dst.Seq2() {
			out.SetMapIndex(k, v)
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			item := reflect.New(dst.Type().Elem()).Elem()
			if was := out.MapIndex(reflect.ValueOf(k)); was.IsValid() {
				item.Set(was)
			}
			d.assign(join(path, k), m[k], item)
			out.SetMapIndex(reflect.ValueOf(k), item)
		}
		dst.Set(out)
	case reflect.String:
		if s, ok := value.(string); ok {
			dst.SetString(s)
			return
		}
		d.add(path, "must be a string in quotes")
	case reflect.Int64:
		if n, ok := value.(int64); ok {
			dst.SetInt(n)
			return
		}
		d.add(path, "must be a whole number")
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			dst.SetBool(b)
			return
		}
		d.add(path, "must be true or false")
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			d.add(path, "must be a list of strings")
			return
		}
		out := make([]string, 0, len(list))
		for i, v := range list {
			s, ok := v.(string)
			if !ok {
				d.add(path, "entry %d must be a string in quotes", i+1)
				continue
			}
			out = append(out, s)
		}
		dst.Set(reflect.ValueOf(out))
	default:
		panic("config: no rule for a field of type " + dst.Type().String())
	}
}
