package selftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/client"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/posix"
)

// shareRows are about share/ntfs, whose doc.go has the same list with what each would break.
var shareRows = []Row{
	shareRow("ntfs-stat", "FileStatLxInformation is there for a service, with the rights to read attributes and extended attributes",
		"all checks fail, with STATUS_INVALID_INFO_CLASS or STATUS_ACCESS_DENIED", "mkdir", "utimens"),
	shareRow("ntfs-ea-reparse", "Extended attributes and a reparse point are on one file, as WSL has them",
		"mknod and symlink lose owner and mode, or fail with STATUS_EAS_NOT_SUPPORTED", "mknod", "symlink"),
	shareRow("ntfs-special", "FSCTL_SET_REPARSE_POINT takes no data for sockets, FIFOs and devices",
		"mknod fails with STATUS_IO_REPARSE_DATA_INVALID", "mknod"),
	shareRow("ntfs-case", "FileCaseSensitiveInformation needs no further rights, and is taken on folders that are not empty; a name that is an 8.3 alias is told from a real one",
		"EEXIST for names that differ in case; names that nobody made are found", "paths"),
	shareRow("ntfs-links", "FileNormalizedNameInformation of a file opened by one of several links gives that one",
		"ENOENT for names that are there", "link", "unlink"),
	shareRow("ntfs-nameless", "An empty name relative to a handle opens the handle's own file, also one without a name",
		"files that are open and were removed fail", "unlink", "handles"),
	shareRow("ntfs-posix-delete", "A file whose last name went by a POSIX delete has no links, and reads, writes and takes attributes until its last handle closes",
		"unlink, and rename over open files, fail", "unlink", "rename", "rmdir"),
	shareRow("ntfs-rename", "A directory renames when none below has a handle, and parked files open by id after",
		"EBUSY for folders with open files", "rename", "handles"),
	shareRow("ntfs-times", "An explicit time stays where another handle wrote before, and -2 stops NTFS from setting its own",
		"times move by themselves or stand still", "utimens"),
	{
		ID: "ntfs-fsync", Part: PartShare, run: checkFolderSync,
		Assumed: "NtFlushBuffersFileEx takes a directory opened to add files",
		Shows:   "fsync of a folder fails with STATUS_ACCESS_DENIED or STATUS_INVALID_DEVICE_REQUEST",
	},
	shareRow("ntfs-folders", "A folder lists what is in it while that changes, by names that guests see",
		"entries are missing or twice", "folders"),
	shareRow("ntfs-ranges", "FSCTL_SET_ZERO_DATA gives ranges of 64 KiB back, and an allocation past the end stays until the close",
		"other blocks than were reserved", "fallocate", "truncate"),
	shareRow("ntfs-rights", "A service without SeBackupPrivilege may open and own what it has to",
		"EACCES for files that another user of the host has made", "chown", "chmod", "open"),
	shareRow("ntfs-xattr", "Extended attributes of guests fit in one of NTFS'",
		"getxattr and setxattr fail", "xattr"),
	{
		ID: "ntfs-notices", Part: PartShare, run: checkNotices,
		Assumed: "NtNotifyChangeDirectoryFileEx gives parent ids, and a move between folders as a removal and an addition of one id, one after the other",
		Shows:   "inotify in a guest misses what the host does, or tells a rename as two events",
		Do:      "`pairing` in `share/ntfs/watch.go`",
	},
}

func shareRow(id, assumed, shows string, areas ...string) Row {
	return Row{ID: id, Part: PartShare, Assumed: assumed, Shows: shows, areas: areas}
}

// cardRun is the POSIX card of a folder, run once.
type cardRun struct {
	card card.Card
	err  error
}

// shareSystem names the backend in the card and its exceptions.
const shareSystem = "ntfs over share/client"

// exceptions are those of the card, and of FUSE's own that every backend has.
var exceptions = slices.Concat(card.Exceptions, []card.Exception{
	{System: shareSystem, Check: "xattr/trusted", Reason: "FUSE's listxattr says nothing of the caller's rights: trusted names are listed to all"},
})

// folder makes a folder for a check and serves it to a kernel in miniature.
func (b *bench) folder(ctx context.Context) (sys *client.Kernel, dir string, done func() error, err error) {
	if b.lab.Share == nil {
		return nil, "", nil, errMissing(b.lab.ShareErr, "shares")
	}
	dir = filepath.Join(b.lab.Dir, b.name())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, "", nil, err
	}
	sys, end, err := b.serve(ctx, dir)
	if err != nil {
		return nil, "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return sys, dir, func() error { return errors.Join(EmptyShare(sys), end(), os.RemoveAll(dir)) }, nil
}

// serve shows a folder to a kernel in miniature.
func (b *bench) serve(ctx context.Context, dir string) (*client.Kernel, func() error, error) {
	back, err := b.lab.Share(dir)
	if err != nil {
		return nil, nil, failure{err}
	}
	s, err := share.NewSession(share.Config{Backend: back, Locker: lock.New(lock.Limits{}).Session("selftest")})
	if err != nil {
		return nil, nil, errors.Join(err, back.Close())
	}
	sys, err := client.Mount(context.WithoutCancel(ctx), s)
	if err != nil {
		return nil, nil, errors.Join(err, back.Close())
	}
	return sys, func() error { return errors.Join(sys.Close(), back.Close()) }, nil
}

func (b *bench) checkAreas(ctx context.Context, areas []string) verdict {
	if b.card == nil {
		sys, _, done, err := b.folder(ctx)
		b.card = &cardRun{err: err}
		if err == nil {
			b.card.card = card.Run(ctx, sys, card.Options{System: shareSystem, Only: names(b.areas), Exceptions: exceptions})
			b.card.err = done()
		}
	}
	if err := b.card.err; err != nil && len(b.card.card.Results) == 0 {
		return lackOrFailure(err)
	}
	passed, total := 0, 0
	var bad []string
	for _, r := range b.card.card.Results {
		if !slices.Contains(areas, r.Check.Area) || r.Outcome == card.LeftOut {
			continue
		}
		total++
		switch r.Outcome {
		case card.Failed:
			bad = append(bad, fmt.Sprintf("%s: %v", r.Check.Name, r.Err))
		case card.Passed:
			passed++
		}
	}
	text := fmt.Sprintf("%d of %d checks of %s passed", passed, total, strings.Join(areas, ", "))
	if total == 0 {
		return notRun("no check of %s was run", strings.Join(areas, ", "))
	}
	if len(bad) > 0 {
		const most = 8
		if len(bad) > most {
			bad = append(bad[:most:most], fmt.Sprintf("and %d more", len(bad)-most))
		}
		return fails("%s\n%s", text, strings.Join(bad, "\n"))
	}
	return holds("%s", text)
}

// names are what the names of checks of areas have in them.
func names(areas []string) []string {
	var out []string
	for _, a := range areas {
		out = append(out, a+"/")
	}
	return out
}

func checkFolderSync(ctx context.Context, b *bench) verdict {
	sys, _, done, err := b.folder(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	defer done()
	p, err := sys.Start(card.Cred{}, "")
	if err != nil {
		return fails("%v", err)
	}
	defer p.Exit()
	if err := p.Mkdir("a", 0o755); err != nil {
		return fails("mkdir: %v", err)
	}
	f, err := p.Open("a/one", posix.O_CREAT|posix.O_WRONLY, 0o644)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fails("create: %v", err)
	}
	d, err := p.Open("a", posix.O_RDONLY|posix.O_DIRECTORY, 0)
	if err != nil {
		return fails("open: %v", err)
	}
	begin := time.Now()
	err = d.Sync(false)
	took := time.Since(begin)
	if err = errors.Join(err, d.Close()); err != nil {
		return fails("fsync: %v", err)
	}
	return holds("in %v", round(took))
}

// checkNotices makes changes through a second server of the folder, and reads what the first
// is told.
func checkNotices(ctx context.Context, b *bench) verdict {
	sys, dir, done, err := b.folder(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	defer done()
	p, err := sys.Start(card.Cred{}, "")
	if err != nil {
		return fails("%v", err)
	}
	defer p.Exit()
	for _, name := range []string{"a", "b"} {
		if err := p.Mkdir(name, 0o755); err != nil {
			return fails("mkdir: %v", err)
		}
	}
	seen, err := b.lab.Share(dir)
	if err != nil {
		return fails("%v", err)
	}
	defer seen.Close()
	w, ok := seen.(share.Watcher)
	if !ok {
		return notRun("this backend does not watch")
	}
	for _, name := range []string{"a", "b"} {
		n, _, err := seen.Root().Lookup(name)
		if err == nil {
			err = w.Watch(n)
		}
		if err != nil {
			return fails("watch: %v", err)
		}
	}
	f, err := p.Open("a/one", posix.O_CREAT|posix.O_WRONLY, 0o644)
	if err == nil {
		err = errors.Join(f.Close(), p.Rename("a/one", "b/two", 0))
	}
	if err != nil {
		return fails("%v", err)
	}
	var told []string
	timeout := time.After(b.lab.Times.Notice)
	for {
		select {
		case e := <-w.Events():
			told = append(told, eventText(e))
			switch {
			case e.Kind == share.EventRename && e.Name == "one" && e.NewName == "two" && e.Dir != e.NewDir:
				if !slices.Contains(told, "create one") {
					return fails("the making of a file was not told: %s", strings.Join(told, ", "))
				}
				return holds("told: %s", strings.Join(told, ", "))
			case e.Kind == share.EventCreate && e.Name == "two":
				return fails("a rename was told as two events: %s", strings.Join(told, ", "))
			}
		case <-timeout:
			return fails("told within %v: [%s]", b.lab.Times.Notice, strings.Join(told, ", "))
		case <-ctx.Done():
			return notRun("%v", ctx.Err())
		}
	}
}

func eventText(e share.Event) string {
	kind := map[share.EventKind]string{
		share.EventCreate: "create", share.EventRemove: "remove", share.EventRename: "rename", share.EventModify: "modify",
		share.EventClose: "close", share.EventAttrib: "attrib", share.EventOverflow: "overflow",
	}[e.Kind]
	if e.Kind == share.EventRename {
		return kind + " " + e.Name + " to " + e.NewName
	}
	return kind + " " + e.Name
}
