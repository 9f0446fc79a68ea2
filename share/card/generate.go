package card

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
)

// digest tells contents apart: short ones are shown.
func digest(b []byte) string {
	if s := shown(b); len(s) < 60 {
		return s
	}
	return fmt.Sprintf("sha256 %.8x", sha256.Sum256(b))
}

// generator makes random lines of scripts. Few names make operations meet.
type generator struct {
	r       *rand.Rand
	mmap    bool
	special bool // FIFOs work
}

func (g *generator) pick(words ...string) string { return words[g.r.IntN(len(words))] }

func (g *generator) path() string {
	name := func() string { return g.pick("a", "b", "c", "d", "e") }
	switch g.r.IntN(10) {
	case 0, 1, 2, 3, 4:
		return name()
	case 5, 6, 7:
		return name() + "/" + name()
	case 8:
		return name() + "/" + name() + "/" + name()
	}
	return g.pick(".", "..x", "a/..", "b/.", "A", "\"a.\"", "\"\\xff\"", "a/b/c/d", "@255")
}

func (g *generator) handle() string { return g.pick("h", "i", "j") }
func (g *generator) mode() string {
	return g.pick("0644", "0755", "0600", "0700", "0777", "0", "0444", "02755", "04755", "01755")
}
func (g *generator) size() string {
	return fmt.Sprint(g.pick("0", "1", "100", "4095", "4096", "4097", "10000", "65536", "131071", fmt.Sprint(g.r.IntN(200000))))
}
func (g *generator) text() string {
	return fmt.Sprintf("%s*%d", g.pick("abc", "x", "01234567", "zyxwv"), g.r.IntN(3000)+1)
}
func (g *generator) id() string { return g.pick("0", "1001", "1002", "-") }

// forms are operations with $ words to fill in. Those of an open file are in dataForms.
var forms = []string{
	"make $kind $path", "make $kind $path", "create $path $mode", "mkdir $path $mode", "mkdir $path $mode", "file $path $text",
	"symlink $path $path", "link $path $path", "link $path $path", "unlink $path", "unlink $path", "rmdir $path",
	"rename $path $path", "rename $path $path", "rename $path $path", "rename $path $path $rename",
	"chmod $path $mode", "chown $path $id $gid", "lchown $path $id $gid", "truncate $path $size",
	"utimens $path $time $time", "lutimens $path $time $time", "stat $path", "lstat $path", "readlink $path", "cat $path", "ls $path",
	"setxattr $path $xattr $value $xflag", "getxattr $path $xattr", "removexattr $path $xattr", "listxattr $path",
	"open $handle $path $flags $mode", "open $handle $path $flags $mode", "open $handle $path rw,creat,nonblock 0644",
}

var dataForms = []string{
	"pwrite $handle $size $text", "pwrite $handle $size $text", "write $handle $text", "pread $handle $size $size", "read $handle $size",
	"ftruncate $handle $size", "fallocate $handle $falloc $size $size", "fallocate $handle punch,keep $size $size",
	"fallocate $handle zero $size $size", "copyto $handle $handle $size $size $size", "seek $handle $size set",
	"fsync $handle", "fchmod $handle $mode", "fchown $handle $id $gid", "futimens $handle $time $time", "fstat $handle", "close $handle",
	"lock $handle $lock 0 $size", "getlk $handle $lock 0 0", "flock $handle $lock", "linkat $handle $path",
}

var mapForms = []string{"mapput $handle $size $text", "mapget $handle $size 100"}

func (g *generator) line() string {
	all := forms
	switch n := g.r.IntN(10); {
	case n < 4:
		all = dataForms
	case n == 4 && g.mmap:
		all = mapForms
	}
	who := g.pick("root", "root", "root", "alice", "bob")
	var out []string
	for _, w := range strings.Fields(g.pick(all...)) {
		out = append(out, g.fill(w))
	}
	line := strings.Join(out, " ")
	// Whether a user may link another's file is a setting of each kernel.
	if who != "root" && !strings.HasPrefix(out[0], "link") {
		line = who + ": " + line
	}
	return line
}

func (g *generator) fill(word string) string {
	switch word {
	case "$path":
		return g.path()
	case "$kind":
		if g.special {
			return g.pick("file", "folder", "fifo", "socket", "symlink")
		}
		return g.pick("file", "file", "folder", "folder", "socket", "symlink")
	case "$mode":
		return g.mode()
	case "$text":
		return g.text()
	case "$id":
		return g.id()
	case "$gid":
		return g.pick("0", "1001", "1002") // chown(2) of nothing still clears set-id bits, but not on FUSE
	case "$size":
		return g.size()
	case "$handle":
		return g.handle()
	case "$time":
		return g.pick("0", "1000", "999999.5", "now", "omit")
	case "$rename":
		return g.pick("noreplace", "exchange")
	case "$xattr":
		return g.pick("user.a", "user.b", "user.A")
	case "$value":
		return g.pick("v", "\"\"", "@100", "\"\\x00\"")
	case "$xflag":
		return g.pick("0", "0", "create", "replace")
	case "$flags":
		return g.pick("r", "w", "rw", "rw,creat", "rw,creat,excl", "rw,trunc", "w,append", "rw,append,creat", "r,dir", "r,nofollow") + ",nonblock"
	case "$falloc":
		return g.pick("0", "keep", "zero,keep")
	case "$lock":
		return g.pick("r", "w", "u")
	}
	return word
}
