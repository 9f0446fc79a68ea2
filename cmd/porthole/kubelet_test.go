package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cri"
	"github.com/porthole-run/porthole/cri/mux"
)

func parseConfig(t *testing.T, text string) config.Config {
	t.Helper()
	c, err := config.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestWindowsDialect_When: auto is for Windows hosts; on and off are what they say.
func TestWindowsDialect_When(t *testing.T) {
	for value, want := range map[string]bool{"auto": windowsHost, "on": true, "off": false} {
		d, stop, err := windowsDialect(parseConfig(t, "[windows_kubelet]\ndialect = \""+value+"\"\n"), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		stop()
		if (d != nil) != want {
			t.Errorf("dialect = %q: on %v, want %v", value, d != nil, want)
		}
	}
	if n := hostProcessors(); n < 1 {
		t.Errorf("%d processors", n)
	}
	if n, err := hostMemory(); err != nil || n < 0 { // 0: not known
		t.Errorf("%d bytes of memory, %v", n, err)
	}
}

func TestCRIFront(t *testing.T) {
	edge := cri.NewServer(cri.Deps{}, cri.Options{})
	f, stop, err := criFront(parseConfig(t, ""), edge, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if f != front(edge) {
		t.Errorf("without upstream %T answers, want our own server", f)
	}
	f, stop, err = criFront(parseConfig(t, "[upstream]\nendpoint = \"unix:///nowhere\"\n"), edge, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, ok := f.(*mux.Mux); !ok {
		t.Errorf("with upstream %T answers, want a Mux", f)
	}
}

// TestCheckKubelet: what is not up is told, with what to do, and is nothing that lacks.
func TestCheckKubelet(t *testing.T) {
	at := filepath.Join(t.TempDir(), "no.sock")
	c := parseConfig(t, "[windows_kubelet]\ndialect = \"on\"\npods_api = \"unix://"+at+"\"\npods_api_timeout = \"50ms\"\n[upstream]\nendpoint = \"unix://"+at+"\"\n")
	got := checkKubelet(context.Background(), c)
	if len(got) != 2 {
		t.Fatalf("%d findings, want those of the Pods API and of upstream", len(got))
	}
	for _, f := range got {
		if f.OK || f.Needed || f.Fix == "" || !strings.Contains(f.Detail, at) {
			t.Errorf("%+v", f)
		}
	}
	if got := checkKubelet(context.Background(), parseConfig(t, "[windows_kubelet]\ndialect = \"off\"\n")); len(got) != 0 {
		t.Errorf("%v, though neither is configured", got)
	}
}
