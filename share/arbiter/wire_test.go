package arbiter

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/share"
)

func messages() []*message {
	f := share.FileID{Volume: 1, File: 2, High: 3, Birth: -4}
	l := share.Lock{Kind: share.LockFlock, Owner: 1 << 60, Type: 1, Start: 5, End: 1<<63 - 1, PID: 9}
	return []*message{
		{kind: kindHello, version: version, client: 7, instance: 8},
		{kind: kindJoin, req: 1, member: 2, flag: true, chain: []share.FileID{f, {}}},
		{kind: kindLeave, req: 1, member: 2},
		{kind: kindSet, req: 1, member: 2, flag: true, file: f, lock: l},
		{kind: kindClaim, member: 2, file: f, lock: l},
		{kind: kindClaimed},
		{kind: kindCancel, req: 1},
		{kind: kindGet, req: 1, member: 2, file: f, lock: l},
		{kind: kindDrop, req: 1, member: 2, file: f, lock: l},
		{kind: kindAnnounce, req: 1, member: 2, changes: []share.Change{{File: f, Off: -1, Len: 2}, {Dir: f, Name: "a\xff"}}},
		{kind: kindConfirm, req: 1, member: 2},
		{kind: kindPing},
		{kind: kindWelcome, version: version, instance: 8, flag: true},
		{kind: kindReply, req: 1, errno: 11, flag: true, lock: l},
		{kind: kindRefused, member: 2},
		{kind: kindShared, req: 1, member: 2, flag: true},
		{kind: kindChanges, req: 1, member: 2, changes: anything},
	}
}

func TestWire(t *testing.T) {
	var b []byte
	for _, m := range messages() {
		var err error
		if b, err = encode(b, m); err != nil {
			t.Fatal(err)
		}
	}
	r := bytes.NewReader(b)
	for _, want := range messages() {
		got, err := receive(r)
		if err != nil {
			t.Fatalf("kind %d: %v", want.kind, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(message{})); diff != "" {
			t.Errorf("kind %d (-want +got):\n%s", want.kind, diff)
		}
	}
}

func TestWire_LargestFits(t *testing.T) {
	m := &message{kind: kindChanges, changes: make([]share.Change, maxChanges)}
	for i := range m.changes {
		m.changes[i].Name = strings.Repeat("x", maxName)
	}
	if _, err := encode(nil, m); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		b, err := encode(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		again, err := encode(nil, m)
		if err != nil || !bytes.Equal(again[4:], b) {
			t.Errorf("decode(%x) encodes to %x, %v", b, again, err)
		}
	})
}

// FuzzServer gives the arbiter whatever a client may send.
func FuzzServer(f *testing.F) {
	var all []byte
	for _, m := range messages() {
		if m.kind <= kindConfirm && m.kind != kindClaim && m.kind != kindClaimed {
			m.flag = false
			all, _ = encode(all, m)
		}
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newServer(record{}, func(record) error { return nil }, slog.New(slog.DiscardHandler))
		close(s.grace)
		s.idle, s.graceEnd = stoppedTimer(), stoppedTimer()
		here, there := net.Pipe()
		go io.Copy(io.Discard, here)
		go func() {
			here.Write(b)
			here.Close()
		}()
		s.talk(context.Background(), there)
		if len(s.members)+len(s.clients)+s.table.Waiting() != 0 {
			t.Errorf("left: %d members, %d clients, %d waits", len(s.members), len(s.clients), s.table.Waiting())
		}
	})
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
