package logkey_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/porthole-run/porthole/internal/logkey"
)

func TestWith(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: dropTime}))
	ctx := logkey.NewContext(t.Context(), l)
	ctx = logkey.With(ctx, logkey.PodID, "p1")
	logkey.Logger(logkey.With(ctx, logkey.ContainerID, "c1")).Info("started")
	logkey.Logger(ctx).Info("stopped")
	want := "level=INFO msg=started pod_id=p1 container_id=c1\nlevel=INFO msg=stopped pod_id=p1\n"
	if got := out.String(); got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
}

func TestLogger_NoneInContext(t *testing.T) {
	if got := logkey.Logger(context.Background()); got != slog.Default() {
		t.Errorf("Logger(empty context) = %v, want slog.Default()", got)
	}
}

func dropTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
