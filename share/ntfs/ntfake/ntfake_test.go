package ntfake

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
)

const (
	rw  = ntapi.AccessReadData | ntapi.AccessWriteData | ntapi.AccessReadAttributes | ntapi.AccessWriteAttributes | ntapi.AccessReadEA | ntapi.AccessWriteEA
	del = ntapi.AccessDelete
)

// opener is a volume with a handle on its root.
type opener struct {
	*testing.T
	v    *Volume
	root ntapi.Handle
}

func newOpener(t *testing.T, c Config) *opener {
	v := New(c)
	o := &opener{t, v, v.Root()}
	t.Cleanup(func() { o.ok(o.root.Close()) })
	return o
}

func (o *opener) ok(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *opener) wants(err error, want ntapi.Status) {
	o.Helper()
	if !errors.Is(err, want) {
		o.Fatalf("got %v, want %v", err, want)
	}
}

func (o *opener) try(dir ntapi.Handle, name string, access, share, options uint32) (ntapi.Handle, error) {
	h, _, err := dir.Open(ntapi.OpenRequest{Name: name, Access: access, Share: share, Options: options, Disposition: ntapi.DispositionOpenIf})
	return h, err
}

func (o *opener) open(dir ntapi.Handle, name string, access uint32) ntapi.Handle {
	o.Helper()
	h, err := o.try(dir, name, access, ntapi.ShareAll, 0)
	o.ok(err)
	return h
}

func (o *opener) mkdir(dir ntapi.Handle, name string) ntapi.Handle {
	o.Helper()
	h, err := o.try(dir, name, rw, ntapi.ShareAll, ntapi.OptionDirectory)
	o.ok(err)
	return h
}

func (o *opener) close(hs ...ntapi.Handle) {
	o.Helper()
	for _, h := range hs {
		o.ok(h.Close())
	}
}

func TestSharingModes(t *testing.T) {
	o := newOpener(t, Config{})
	for _, c := range []struct {
		access, share, second, secondShare uint32
		want                               ntapi.Status
	}{
		{rw, ntapi.ShareAll, rw, ntapi.ShareAll, 0},
		{rw, 0, rw, ntapi.ShareAll, ntapi.StatusSharingViolation},
		{rw, ntapi.ShareAll, rw, 0, ntapi.StatusSharingViolation},
		{rw, ntapi.ShareRead | ntapi.ShareWrite, del, ntapi.ShareAll, ntapi.StatusSharingViolation},
		{rw, 0, ntapi.AccessReadAttributes, 0, 0}, // attributes alone are not shared
	} {
		h, err := o.try(o.root, "f", c.access, c.share, 0)
		o.ok(err)
		second, err := o.try(o.root, "f", c.second, c.secondShare, 0)
		if c.want == 0 {
			o.ok(err)
			o.close(second)
		} else {
			o.wants(err, c.want)
		}
		o.close(h)
	}
}

func TestLookupByCaseAndAlias(t *testing.T) {
	o := newOpener(t, Config{})
	d := o.mkdir(o.root, "Folder")
	o.close(o.open(d, "Long file name.text", rw))
	for _, name := range []string{"LONG FILE NAME.TEXT", "longfi~1.tex"} {
		h := o.open(d, name, rw)
		p, err := h.Path()
		o.ok(err)
		if p != `\Folder\Long file name.text` {
			t.Errorf("%s opens %s", name, p)
		}
		o.close(h)
	}
	o.ok(d.SetCaseSensitive(true))
	o.close(o.open(d, "LONG FILE NAME.TEXT", rw))
	o.wants(d.SetCaseSensitive(false), ntapi.StatusCaseDiffering)
	for _, bad := range []string{"a:b", "a*", "a/b", ".", "x\x01"} {
		_, err := o.try(d, bad, rw, ntapi.ShareAll, 0)
		o.wants(err, ntapi.StatusObjectNameInvalid)
	}
	o.close(d)
}

func TestDeleteOfPOSIXKind(t *testing.T) {
	o := newOpener(t, Config{})
	keep, h := o.open(o.root, "f", rw), o.open(o.root, "f", del)
	o.ok(h.SetDisposition(ntapi.DispositionDelete | ntapi.DispositionPosix))
	_, err := o.try(o.root, "f", rw, ntapi.ShareAll, 0)
	o.wants(err, ntapi.StatusDeletePending)
	o.close(h)
	o.close(o.open(o.root, "f", rw))
	st, err := keep.Stat()
	o.ok(err)
	if st.Links != 0 {
		t.Errorf("%d links", st.Links)
	}
	_, _, err = o.root.Open(ntapi.OpenRequest{ID: st.ID, Options: ntapi.OptionByID, Disposition: ntapi.DispositionOpen})
	o.wants(err, ntapi.StatusDeletePending)
	o.close(keep)
	_, _, err = o.root.Open(ntapi.OpenRequest{ID: st.ID, Options: ntapi.OptionByID, Disposition: ntapi.DispositionOpen})
	o.wants(err, ntapi.StatusInvalidParameter)
}

func TestDeleteOfOldKindWaitsForAll(t *testing.T) {
	o := newOpener(t, Config{})
	keep, h := o.open(o.root, "f", rw), o.open(o.root, "f", del)
	o.ok(h.SetDisposition(ntapi.DispositionDelete))
	o.close(h)
	_, err := o.try(o.root, "f", rw, ntapi.ShareAll, 0)
	o.wants(err, ntapi.StatusDeletePending)
	o.close(keep)
	if got := o.v.String(); got != "\\ dir handles=1\n" {
		t.Errorf("left:\n%s", got)
	}
}

func TestRenameRefusals(t *testing.T) {
	o := newOpener(t, Config{})
	d, e := o.mkdir(o.root, "d"), o.mkdir(o.root, "e")
	x := o.open(d, "x", rw)
	mover := o.open(o.root, "d", del)
	const posix = ntapi.RenamePosix | ntapi.RenameReplace
	o.wants(mover.Rename(o.root, "n", posix), ntapi.StatusAccessDenied) // x is open below
	o.close(x)
	o.wants(mover.Rename(o.root, "e", posix), ntapi.StatusAccessDenied) // no directory is replaced
	o.wants(mover.Rename(d, "n", posix), ntapi.StatusInvalidParameter)
	o.ok(mover.Rename(o.root, "n", posix))
	target, f := o.open(o.root, "t", rw), o.open(o.root, "f", del)
	o.wants(f.Rename(o.root, "T", 0), ntapi.StatusObjectNameCollision)
	o.wants(f.Rename(o.root, "t", ntapi.RenameReplace), ntapi.StatusAccessDenied) // open, and not POSIX
	o.ok(f.Rename(o.root, "T", posix))
	o.wants(d.Rename(o.root, "m", posix), ntapi.StatusAccessDenied) // without the right
	want := "\\ dir handles=1\n\\T 0 handles=1\n\\e dir handles=1\n\\n dir handles=2\n\\n\\x 0\n1 without a name\n"
	if diff := cmp.Diff(want, o.v.String()); diff != "" {
		t.Error(diff)
	}
	o.close(d, e, mover, target, f)
}

func TestAttributesShareOneBound(t *testing.T) {
	o := newOpener(t, Config{})
	h := o.open(o.root, "f", rw)
	o.ok(h.SetEAs([]ntapi.EA{{Name: "lower", Value: []byte("v")}}))
	got, err := h.EAs("Lower", "none")
	o.ok(err)
	if diff := cmp.Diff([]ntapi.EA{{Name: "LOWER", Value: []byte("v")}}, got); diff != "" {
		t.Error(diff)
	}
	o.ok(h.SetEAs([]ntapi.EA{{Name: "BIG", Value: make([]byte, 60000)}}))
	o.wants(h.SetEAs([]ntapi.EA{{Name: "LOWER"}, {Name: "MORE", Value: make([]byte, 6000)}}), ntapi.StatusEATooLarge)
	if got, err = h.EAs("LOWER"); err != nil || len(got) != 1 {
		t.Errorf("a refused change took effect: %v, %v", got, err)
	}
	o.close(h)
}

func TestLinkBound(t *testing.T) {
	o := newOpener(t, Config{NoShortNames: true})
	h := o.open(o.root, "f", rw)
	for i := 1; i < maxLinks; i++ {
		o.ok(h.Link(o.root, fmt.Sprint(i), 0))
	}
	o.wants(h.Link(o.root, "more", 0), ntapi.StatusTooManyLinks)
	o.close(h)
}

func TestTimesComeLate(t *testing.T) {
	now := ntapi.Time(1000)
	o := newOpener(t, Config{Clock: func() ntapi.Time { return now }})
	h, other := o.open(o.root, "f", rw), o.open(o.root, "f", rw)
	written := func() ntapi.Time {
		st, err := other.Stat()
		o.ok(err)
		return st.Write
	}
	write := func(h ntapi.Handle) {
		now++
		_, err := h.WriteAt([]byte("x"), 0)
		o.ok(err)
	}
	write(h)
	if written() != 1000 {
		t.Error("a write tells its time before the close")
	}
	o.close(h)
	if written() != 1001 {
		t.Errorf("the close tells %d", written())
	}
	h = o.open(o.root, "f", rw)
	o.ok(h.SetBasic(ntapi.Basic{Write: 500}))
	write(h)
	o.close(h)
	if written() != 500 {
		t.Errorf("a handle that has set the time moves it to %d", written())
	}
	h = o.open(o.root, "f", rw)
	o.ok(h.SetBasic(ntapi.Basic{Write: ntapi.TimeHold}))
	o.ok(h.SetBasic(ntapi.Basic{Write: ntapi.TimeResume}))
	write(h)
	o.close(h)
	if written() != now {
		t.Errorf("a resumed handle tells %d, want %d", written(), now)
	}
	o.close(other)
}

func TestContentAgainstModel(t *testing.T) {
	for _, sparse := range []bool{false, true} {
		o := newOpener(t, Config{})
		h := o.open(o.root, "f", rw)
		if sparse {
			o.ok(h.SetSparse())
		}
		var model []byte
		size := func(n int) {
			for len(model) < n {
				model = append(model, 0)
			}
			model = model[:n]
		}
		for i := range 60 {
			at, n := (i*7919*13)%300_000, (i*104729)%100_000+1
			switch i % 4 {
			case 0, 1:
				b := bytes.Repeat([]byte{byte(i + 1)}, n)
				_, err := h.WriteAt(b, int64(at))
				o.ok(err)
				size(max(len(model), at+n))
				copy(model[at:], b)
			case 2:
				end := min(at+n, len(model))
				if at < end {
					o.ok(h.ZeroData(int64(at), int64(end)))
					clear(model[at:end])
				}
			case 3:
				o.ok(h.SetEndOfFile(int64(at)))
				size(at)
			}
			got := make([]byte, len(model)+1)
			read, err := h.ReadAt(got, 0)
			o.ok(err)
			if !bytes.Equal(got[:read], model) {
				t.Fatalf("sparse %v: step %d differs", sparse, i)
			}
		}
		o.close(h)
		o.close(func() ntapi.Handle {
			d := o.open(o.root, "f", del)
			o.ok(d.SetDisposition(ntapi.DispositionDelete))
			return d
		}())
		if o.v.used != 1 {
			t.Errorf("sparse %v: %d units are used by an empty volume", sparse, o.v.used)
		}
	}
}

func TestFullVolume(t *testing.T) {
	o := newOpener(t, Config{Units: 10})
	h := o.open(o.root, "f", rw)
	o.wants(h.SetEndOfFile(1<<20), ntapi.StatusDiskFull)
	o.ok(h.SetSparse())
	o.ok(h.SetEndOfFile(1 << 30))
	_, err := h.WriteAt([]byte("x"), 0)
	o.wants(err, ntapi.StatusDiskFull) // a sparse file takes 64 KiB at a time
	o.close(h)
}

func TestNoticesOverflow(t *testing.T) {
	o := newOpener(t, Config{Notices: 2})
	w := o.open(o.root, "", ntapi.AccessReadData)
	got := make(chan error)
	go func() {
		_, err := w.ReadChanges(ntapi.NotifyFileName, nil)
		got <- err
		_, err = w.ReadChanges(ntapi.NotifyFileName, nil)
		got <- err
	}()
	o.close(o.open(o.root, "before", rw))
	o.v.awaitReader()
	o.v.mu.Lock()
	for range 3 {
		o.v.notify(ntapi.ActionAdded, ntapi.NotifyFileName, o.v.root.find("before"))
	}
	o.v.mu.Unlock()
	first := <-got
	o.wants(first, ntapi.StatusNotifyEnumDir)
	o.v.awaitReader() // a call that comes after the close finds no handle
	o.close(w)
	o.wants(<-got, ntapi.StatusNotifyCleanup)
}

// awaitReader waits until a call of ReadChanges waits for notices.
func (v *Volume) awaitReader() {
	for {
		v.mu.Lock()
		waits := len(v.watches) > 0 && v.watches[0].waiting > 0
		v.mu.Unlock()
		if waits {
			return
		}
		runtime.Gosched()
	}
}
