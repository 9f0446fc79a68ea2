package shim

import (
	"bytes"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox/shim/api"
)

func TestHello_Versions(t *testing.T) {
	for _, tt := range []struct {
		min, max uint32
		want     uint32 // 0: refused
	}{{1, 1, 1}, {1, 9, api.MaxVersion}, {api.MaxVersion + 1, 9, 0}, {0, 0, 0}} {
		r := newRig(t)
		resp, err := call(testContext(t), r.Client, r.api.Hello, &api.HelloRequest{MinVersion: tt.min, MaxVersion: tt.max, ClientVersion: "new"})
		if tt.want == 0 {
			if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "versions") {
				t.Errorf("Hello(%d, %d) = %v", tt.min, tt.max, err)
			}
			continue
		}
		if err != nil || resp.GetVersion() != tt.want {
			t.Errorf("Hello(%d, %d) = %v, %v", tt.min, tt.max, resp, err)
		}
	}
}

func TestSessions_Bounded(t *testing.T) {
	s := newSessions()
	near, far := net.Pipe()
	defer near.Close()
	for i := range maxParkedStreams {
		if err := s.park(api.SessionID{byte(i), byte(i >> 8)}, api.StreamStdout, far); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.park(api.SessionID{9, 9}, api.StreamStdout, far); !errdefs.IsResourceExhausted(err) {
		t.Errorf("park beyond the limit = %v", err)
	}
	s.closeAll()
	if len(s.byID) != 0 || s.parked != 0 {
		t.Errorf("%d sessions and %d streams are left", len(s.byID), s.parked)
	}
}

func TestSessions_StreamTwice(t *testing.T) {
	s := newSessions()
	near, far := net.Pipe()
	defer near.Close()
	if err := s.park(api.SessionID{1}, api.StreamStdin, far); err != nil {
		t.Fatal(err)
	}
	if err := s.park(api.SessionID{1}, api.StreamStdin, far); !errdefs.IsAlreadyExists(err) {
		t.Errorf("second stream of a kind = %v", err)
	}
	s.closeAll()
}

func TestStreamSocket_RefusesJunk(t *testing.T) {
	r := newRig(t)
	conn, err := net.Dial("unix", r.dir.streams())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(bytes.Repeat([]byte{0xff}, 64)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("read = %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := `{"version":1,"id":"vm1","vcpus":1,"memoryMiB":64,"kernel":"/k","initrd":"/i","driver":{},"startTimeoutNanos":1,"logLevel":"INFO","build":"x"}`
	if _, err := parseConfig([]byte(good)); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{`"version":1`, `"version":2`, "version is 2"},
		{`"vm1"`, `"../x"`, "cannot name a folder"},
		{`"vcpus":1`, `"vcpus":0`, "vcpus"},
		{`"build"`, `"bulid"`, "bulid"},
		{`"x"}`, `"x"}{}`, "follows"},
	} {
		_, err := parseConfig([]byte(strings.Replace(good, tt.old, tt.new, 1)))
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.new, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"vm1","vcpus":1,"memoryMiB":64}`))
	f.Add([]byte(`{"version":1e9}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseConfig(b); err == nil && checkDirName(c.ID) != nil {
			t.Errorf("id %q", c.ID)
		}
	})
}

func FuzzCleanTail(f *testing.F) {
	f.Add([]byte("a\r\n\x1b[2J\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := cleanTail(b)
		if len(s) > 4*consoleTail || strings.ContainsAny(s, "\x1b\r\x00\x07") {
			t.Errorf("%q", s)
		}
	})
}
