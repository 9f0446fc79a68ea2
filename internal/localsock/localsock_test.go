package localsock

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// place is a path for a socket.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sock") // t.TempDir's names are long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s.sock")
}

// serve answers each connection with what came before its end.
func serve(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				b, err := io.ReadAll(c)
				if err == nil && len(b) > 0 { // a connection that only looks says nothing
					_, err = c.Write(b)
				}
				if err != nil {
					t.Errorf("serve: %v", err)
				}
			})
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		conns.Wait()
	})
	return l
}

// ask sends, closes for writing, and returns the answer.
func ask(t *testing.T, path string, b []byte) []byte {
	t.Helper()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestDial_Halves: each side can end what it sends and read on; the first client is
// answered as the others are.
func TestDial_Halves(t *testing.T) {
	path := place(t)
	serve(t, path)
	long := make([]byte, 1<<20)
	rand.Read(long)
	for _, b := range [][]byte{[]byte("one"), nil, long} {
		if got := ask(t, path, b); !bytes.Equal(got, b) {
			t.Errorf("answer of %d bytes, want the %d sent", len(got), len(b))
		}
	}
}

func TestDial_Many(t *testing.T) {
	path := place(t)
	serve(t, path)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			b := bytes.Repeat([]byte{byte(i)}, 1000)
			if got := ask(t, path, b); !bytes.Equal(got, b) {
				t.Errorf("client %d got another's answer", i)
			}
		})
	}
	wg.Wait()
}

func TestServer(t *testing.T) {
	path := place(t)
	serve(t, path)
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if pid, err := Server(c); err != nil || pid != os.Getpid() {
		t.Errorf("Server = %d, %v, want %d", pid, err, os.Getpid())
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := Server(a); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Server of another kind of connection = %v", err)
	}
}

func TestListen_Twice(t *testing.T) {
	path := place(t)
	l := serve(t, path)
	if _, err := Listen(t.Context(), path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second Listen = %v, want ErrExist", err)
	}
	if got := ask(t, path, []byte("goes on")); string(got) != "goes on" {
		t.Errorf("the first answers %q", got)
	}
	l.Close()
}

func TestListen_Again(t *testing.T) {
	path := place(t)
	l := serve(t, path)
	ask(t, path, []byte("a"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want ErrClosed", err)
	}
	if _, err := Dial(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Dial after Close = %v, want ErrNotExist", err)
	}
	serve(t, path)
	ask(t, path, []byte("again"))
}

func TestCheckPath(t *testing.T) {
	for _, bad := range []string{"", "s.sock", filepath.Join("a", "s.sock")} {
		if err := CheckPath(bad); err == nil {
			t.Errorf("CheckPath(%q) = nil", bad)
		}
	}
}
