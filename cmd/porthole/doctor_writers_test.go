package main

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/writers"
)

func TestCheckWriters(t *testing.T) {
	users := writers.Writer{Account: writers.Account{ID: "S-1-5-32-545", Name: `BUILTIN\Users`, Wide: true}, Path: `C:\bin`, Fix: "close bin"}
	alice := writers.Writer{Account: writers.Account{ID: "S-1-5-21-7"}, Path: `C:\conf`, Owns: true, Fix: "close conf"}
	var many []writers.Writer
	for _, name := range strings.Split("a b c d e f", " ") {
		many = append(many, writers.Writer{Account: alice.Account, Path: name, Fix: "close " + name})
	}
	c := config.Config{}
	c.Network.ConfDir, c.Network.PluginDirs = `C:\conf`, []string{`C:\bin`, `C:\conf`, ""}
	for name, tt := range map[string]struct {
		conf, bin       []writers.Writer
		confErr, binErr error
		want            string // of the row; empty: there is none
		needed          bool
		fix             string
	}{
		"closed":       {want: `ok the system alone may change what is in C:\conf, C:\bin`},
		"all missing":  {confErr: fs.ErrNotExist, binErr: fs.ErrNotExist},
		"one missing":  {binErr: fs.ErrNotExist, want: `ok the system alone may change what is in C:\conf`},
		"not readable": {binErr: errors.New("denied"), want: `who may change what is in C:\bin is not known: denied`, fix: startElevated},
		"all may":      {bin: []writers.Writer{users}, want: `BUILTIN\Users (S-1-5-32-545) may change C:\bin: the daemon`, needed: true, fix: "close bin"},
		"one may":      {conf: []writers.Writer{alice, alice}, want: `S-1-5-21-7 owns C:\conf: the daemon`, fix: "close conf"},
		"both":         {conf: []writers.Writer{alice}, bin: []writers.Writer{users}, want: `BUILTIN\Users (S-1-5-32-545) may change C:\bin, S-1-5-21-7 owns C:\conf: the daemon`, needed: true, fix: "close bin; close conf"},
		"many":         {conf: many, want: "may change d, and 2 more: the daemon", fix: "close a; close b; close c; close d"},
	} {
		got := checkWriters(c, func(dir string) ([]writers.Writer, error) {
			if dir == `C:\conf` {
				return tt.conf, tt.confErr
			}
			return tt.bin, tt.binErr
		})
		if tt.want == "" {
			if len(got) != 0 {
				t.Errorf("%s: %v, want no row", name, got)
			}
			continue
		}
		if len(got) != 1 {
			t.Errorf("%s: %v, want one row", name, got)
			continue
		}
		detail := got[0].Detail
		if got[0].OK {
			detail = "ok " + detail
		}
		if !strings.Contains(detail, tt.want) || got[0].Needed != tt.needed || got[0].Fix != tt.fix {
			t.Errorf("%s: %+v, want %q, needed %v, fix %q", name, got[0], tt.want, tt.needed, tt.fix)
		}
	}
}
