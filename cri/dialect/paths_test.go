package dialect

import (
	"path"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestGuestPath(t *testing.T) {
	for in, want := range map[string]string{
		"/e": "/e", "/": "/", "": "", "/a\\b": "/a\\b", "rel": "rel", // those of the author, checked as all are
		`C:\Windows\System32\drivers\etc\hosts`: "/etc/hosts", `c:\WINDOWS\system32\Drivers\ETC\hosts`: "/etc/hosts",
		"c:/dev/termination-log": "/dev/termination-log", `c:\data/rel`: "/data/rel", `D:\x\y`: "/x/y", `c:\`: "/",
		`\foo\bar`: "/foo/bar", `c:\..\x`: "/../x",
	} {
		if got, err := guestPath("f", in); err != nil || got != want {
			t.Errorf("guestPath(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{`\\server\share\x`, `\\.\pipe\x`, `//server\share`, "c:", "c:x", `z:..\x`} {
		if got, err := guestPath("f", in); !errdefs.IsInvalidArgument(err) {
			t.Errorf("guestPath(%q) = %q, %v, want invalid argument", in, got, err)
		}
	}
}

func TestHostPath(t *testing.T) {
	windows := newWindows(t, nil)
	mapped := newWindows(t, func(c *Config) { c.Drives = map[string]string{"c": "/wine/drive_c", "d": "/"} })
	for _, tt := range []struct{ in, windows, mapped string }{
		{`c:\var\lib\kubelet\x`, `c:\var\lib\kubelet\x`, "/wine/drive_c/var/lib/kubelet/x"},
		{"c:/windows", `c:\windows`, "/wine/drive_c/windows"},
		{`C:\data`, `C:\data`, "/wine/drive_c/data"},
		{`\var\log\pods\p`, `C:\var\log\pods\p`, "/wine/drive_c/var/log/pods/p"},
		{"/var/log", `C:\var\log`, "/wine/drive_c/var/log"},
		{`D:\x`, `D:\x`, "/x"},
		{`c:\`, `c:\`, "/wine/drive_c"},
		{`\\?\C:\long\x`, `C:\long\x`, "/wine/drive_c/long/x"},
		{`\\.\c:\x`, `c:\x`, "/wine/drive_c/x"},
		{`\\server\share\x`, `\\server\share\x`, ""},
		{`\\?\UNC\server\share\x`, `\\server\share\x`, ""},
		{`e:\x`, `e:\x`, ""},
		{`c:\a.\b...`, `c:\a.\b...`, "/wine/drive_c/a./b..."},
		{`\\.\pipe\x`, "", ""}, {`\\?\Volume{1}\x`, "", ""}, {`\\server`, "", ""}, {`\\`, "", ""},
		{"", "", ""}, {"x", "", ""}, {"c:", "", ""}, {"c:x", "", ""}, {`c:\..\x`, "", ""}, {"c:/a/../x", "", ""}, {`\..`, "", ""}, {`c:\a\.. \x`, "", ""},
		{`c:\x:stream`, "", ""}, {"c:\\x\x00", "", ""}, {`c:\a*`, "", ""}, {`\\?\GLOBALROOT\Device\x`, "", ""},
	} {
		for _, on := range []struct {
			w    *Windows
			want string
		}{{windows, tt.windows}, {mapped, tt.mapped}} {
			got, err := on.w.hostPath("f", tt.in)
			if got != on.want || (on.want == "") != errdefs.IsInvalidArgument(err) {
				t.Errorf("hostPath(%q) with drives %v = %q, %v, want %q", tt.in, on.w.c.Drives, got, err, on.want)
			}
		}
	}
	if got := mapped.ShowPath("/wine/drive_c/var/log/x"); !strings.HasSuffix(got, `\var\log\x`) {
		t.Errorf("ShowPath = %q", got)
	}
	if got := windows.ShowPath(`C:\var\log\x`); got != `C:\var\log\x` {
		t.Errorf("ShowPath = %q", got)
	}
}

// FuzzPaths: a path is refused, or stays below its drive's folder and is found again.
func FuzzPaths(f *testing.F) {
	for _, s := range []string{`c:\a\b`, "/a", `\a`, `\\s\h\x`, `\\?\c:\x`, `\\.\pipe\x`, "c:..", `c:\a\..\..`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		w, err := New(Config{Pods: onePod{}, Processors: 1, Drives: map[string]string{"c": "/drive"}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.hostPath("f", p)
		if err == nil {
			if got != path.Clean(got) || got != "/drive" && !strings.HasPrefix(got, "/drive/") {
				t.Errorf("hostPath(%q) = %q", p, got)
			}
			if again, err := w.hostPath("f", w.ShowPath(got)); got != "/drive" && (err != nil || again != got) {
				t.Errorf("hostPath(%q) = %q, which shows as %q, which is %q, %v", p, got, w.ShowPath(got), again, err)
			}
		} else if !errdefs.IsInvalidArgument(err) {
			t.Errorf("hostPath(%q) = %v", p, err)
		}
		if _, err := guestPath("f", p); err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("guestPath(%q) = %v", p, err)
		}
	})
}
