package etw

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestProvider registers the provider and writes an event of each kind of field, though nobody may listen:
// Windows checks what it is given all the same.
func TestProvider(t *testing.T) {
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if got := p.to.(provider).p.String(); !strings.EqualFold(strings.Trim(got, "{}"), ID) {
		t.Errorf("the provider's id is %s, want %s", got, ID)
	}
	for _, l := range []Level{Error, Warning, Info, Verbose} {
		err := p.to.write("Log", l, []Field{
			{"message", "ä " + strings.Repeat("x", maxText)}, {"bool", true}, {"int64", int64(-1)}, {"uint64", uint64(1)},
			{"float64", 1.5}, {"time", time.Now()}, {"empty", ""}, {"group.name", "y"},
		})
		if err != nil {
			t.Errorf("write of level %d = %v", l, err)
		}
	}
	slog.New(p.Handler()).Error("by way of the log", "count", 3)
	if err := p.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if p.to.enabled(Error) {
		t.Error("a provider that is closed wants events")
	}
}
