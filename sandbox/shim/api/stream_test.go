package api

import (
	"bytes"
	"testing"
)

func FuzzStreamHeader(f *testing.F) {
	var b bytes.Buffer
	if err := WriteStreamHeader(&b, SessionID{1, 2, 3}, StreamForward); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{1, 9})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		id, kind, err := ReadStreamHeader(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteStreamHeader(&out, id, kind); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(in, out.Bytes()) {
			t.Errorf("%x was read as %x", in, out.Bytes())
		}
	})
}
