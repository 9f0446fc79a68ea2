package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSourcesList(t *testing.T) {
	const by = "[signed-by=" + debianKeyring + "] "
	tests := []struct {
		name    string
		targets string
		want    []string // without the deb-src twins
	}{
		{
			name: "debian_and_others",
			targets: "http://deb.debian.org/debian|bookworm|main\nhttp://deb.debian.org/debian|bookworm|contrib\n" +
				"http://deb.debian.org/debian|bookworm-updates|main\nhttp://deb.debian.org/debian-security|bookworm-security|main\n" +
				"https://download.docker.com/linux/debian|bookworm|stable\nhttps://apt.releases.hashicorp.com|bookworm|main\n" +
				"http://deb.debian.org/debian|trixie|main\n",
			want: []string{"http://deb.debian.org/debian bookworm main", "http://deb.debian.org/debian bookworm-updates main", "http://deb.debian.org/debian-security bookworm-security main"},
		},
		{
			name:    "cloud_image",
			targets: "mirror+file:/etc/apt/mirrors/debian.list|bookworm|main\nmirror+file:/etc/apt/mirrors/debian-security.list|bookworm-security|main\n",
			want:    []string{"mirror+file:/etc/apt/mirrors/debian.list bookworm main", "mirror+file:/etc/apt/mirrors/debian-security.list bookworm-security main"},
		},
		{
			name:    "no_security",
			targets: "http://mirror.example.org/debian/|bookworm|main\n",
			want:    []string{"http://mirror.example.org/debian/ bookworm main", "http://deb.debian.org/debian-security bookworm-security main"},
		},
		{
			name: "none",
			want: []string{"http://deb.debian.org/debian bookworm main", "http://deb.debian.org/debian bookworm-updates main", "http://deb.debian.org/debian-security bookworm-security main"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want strings.Builder
			for _, l := range tt.want {
				want.WriteString("deb " + by + l + "\ndeb-src " + by + l + "\n")
			}
			if diff := cmp.Diff(want.String(), sourcesList(tt.targets)); diff != "" {
				t.Errorf("sourcesList (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseStanzas(t *testing.T) {
	text := "Package: crun\nVersion: 1.8.1-1\nDepends: libc6 (>= 2.34),\n libcap2\nChecksums-Sha256:\n " + hash("a") + " 2367 crun_1.8.1-1.dsc\n " +
		hash("b") + " 99 crun.tar.xz\n\n\nPackage: other\r\nnot a field\n"
	got := parseStanzas(text)
	if len(got) != 2 || got[1]["package"] != "other" {
		t.Fatalf("parseStanzas = %v", got)
	}
	if d := got[0].dscDigest(); d != hash("a") {
		t.Errorf("dscDigest = %s", d)
	}
	if d := got[0].firstDepends(); d != "libc6" {
		t.Errorf("firstDepends = %s", d)
	}
	if got[1].dscDigest() != "" || got[1].firstDepends() != "" {
		t.Error("a stanza without the fields has values for them")
	}
}

func FuzzParseStanzas(f *testing.F) {
	f.Add("Package: a\nDepends: b\n c\n\n d\n:x\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseStanzas(text) {
			s.dscDigest()
			s.firstDepends()
		}
	})
}
