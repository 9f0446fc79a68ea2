package logkey

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestHandlerOptions(t *testing.T) {
	var b bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&b, HandlerOptions(slog.LevelInfo)))
	l.Debug("not there")
	l.Info("m", Duration, 3270*time.Millisecond+7)
	if got, want := b.String(), `"msg":"m","`+Duration+`":"3.27s"}`+"\n"; !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("log = %q, want one line that ends with %q", got, want)
	}
}
