package image

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestParseRef(t *testing.T) {
	hash := strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"busybox":                           "docker.io/library/busybox:latest",
		"busybox:1":                         "docker.io/library/busybox:1",
		"quay.io/a/b":                       "quay.io/a/b:latest",
		"localhost:5000/a":                  "localhost:5000/a:latest",
		"a/b@sha256:" + hash:                "docker.io/a/b@sha256:" + hash,
		"reg.example/a/b:1@sha256:" + hash:  "reg.example/a/b@sha256:" + hash,
		"[2001:db8::1]:5000/a:latest":       "[2001:db8::1]:5000/a:latest",
		"REG.example/a":                     "REG.example/a:latest",
		"docker.io/busybox":                 "docker.io/library/busybox:latest",
		"k8s.gcr.io/pause:3.9":              "k8s.gcr.io/pause:3.9",
		"127.0.0.1:1/a/b/c/d/e:v1.2-x_y.z":  "127.0.0.1:1/a/b/c/d/e:v1.2-x_y.z",
		"registry.example/" + "a/b:" + "t1": "registry.example/a/b:t1",
	} {
		got, err := ParseRef(in)
		if err != nil || got.String() != want {
			t.Errorf("ParseRef(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "A", "a b", "a:", "a@sha256:1", hash, "http://a/b", "../a", "a//b", strings.Repeat("a/", 200)} {
		if got, err := ParseRef(in); !errdefs.IsInvalidArgument(err) {
			t.Errorf("ParseRef(%q) = %v, %v; want InvalidArgument", in, got, err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"busybox", "a/b:c", "x:5000/y@sha256:" + strings.Repeat("0", 64), "[::1]/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRef(s)
		if err != nil {
			return
		}
		again, err := ParseRef(r.String())
		if err != nil || again != r {
			t.Errorf("ParseRef(%q) = %v, %v; want %v", r, again, err, r)
		}
	})
}
