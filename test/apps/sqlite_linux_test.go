package apps

import (
	"fmt"
	"testing"

	"github.com/porthole-run/porthole/test/apps/appimage"
)

const idle = "exec sleep infinity"

// TestSQLiteWAL lets several processes of one pod write a database in WAL mode, kills
// them in between, and wants every acknowledged row.
func TestSQLiteWAL(t *testing.T) {
	begin(t)
	app := appimage.SQLite
	data, acks := folder(t, app), folder(t, app)
	m := newMachine(t)
	s := spec{name: "sqlite", app: app, script: idle, folders: map[string]string{"/data": data, "/acks": acks}}
	c := m.run(t, s)
	if got := exec(t, c, "cd /data && sqlite3 db 'pragma journal_mode=wal; create table t(w, i, pad, primary key (w, i));'"); got != "wal" {
		t.Fatalf("journal mode %q, want wal", got)
	}
	const writers = 4
	script := `cd /data; for w in 1 2 3 4; do
for ((i = 1; ; i++)); do echo "insert into t values ($w, $i, randomblob(300));"; echo "select $i;"; done |
stdbuf -oL sqlite3 -bail -cmd '.timeout 60000' -cmd 'pragma synchronous=full' db > /acks/$w & done; wait`
	wait := inBackground(t, c, script)
	for w := 1; w <= writers; w++ {
		acknowledged(t, fmt.Sprintf("%s/%d", acks, w), load(20, 300))
	}
	c.kill(t)
	wait()

	c = m.run(t, s)
	if got := exec(t, c, "cd /data && sqlite3 db 'pragma integrity_check'"); got != "ok" {
		t.Errorf("integrity check after the kill: %s", got)
	}
	for w := 1; w <= writers; w++ {
		acked := lines(fmt.Sprintf("%s/%d", acks, w))
		got := exec(t, c, fmt.Sprintf("cd /data && sqlite3 db 'select count(*) >= %d and count(*) = max(i) from t where w = %d'", len(acked), w))
		if got != "1" {
			t.Errorf("writer %d: rows that were acknowledged are gone, or there are gaps", w)
		}
	}
	if got := exec(t, c, "cd /data && sqlite3 db 'pragma wal_checkpoint(truncate); pragma integrity_check'"); got != "0|0|0\nok" {
		t.Errorf("checkpoint and integrity check: %s", got)
	}
	checkOwner(t, data, app, "db")
}

// TestSQLiteTwoPods lets two pods count in one database with a rollback journal: its
// locks are all that keeps them apart.
func TestSQLiteTwoPods(t *testing.T) {
	begin(t)
	app := appimage.SQLite
	data := folder(t, app)
	s := spec{name: "sqlite", app: app, script: idle, folders: map[string]string{"/data": data}}
	pods := []container{newMachine(t).run(t, s), newMachine(t).run(t, s)}
	exec(t, pods[0], "cd /data && sqlite3 db 'pragma journal_mode=delete; create table c(n); insert into c values (0); create table t(p, i);'")
	if got := exec(t, pods[1], "cd /data && sqlite3 db 'select n from c'"); got != "0" {
		t.Fatalf("the second pod reads %q", got)
	}
	n := load(25, 200)
	errs := make(chan error, len(pods))
	timed(t, fmt.Sprintf("%d transactions of each of two pods", n), func() {
		for p, c := range pods {
			go func() {
				out, code, err := c.try(fmt.Sprintf(`cd /data; for ((i = 1; i <= %d; i++)); do
echo "begin immediate; update c set n = n + 1; insert into t values (%d, $i); commit;"; done | sqlite3 -bail -cmd '.timeout 120000' db`, n, p))
				if err == nil && code != 0 {
					err = fmt.Errorf("pod %d exited with %d: %s", p, code, out)
				}
				errs <- err
			}()
		}
		for range pods {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
	want := fmt.Sprintf("ok\n%d|%d|%d", 2*n, 2*n, 2*n)
	for p, c := range pods {
		got := exec(t, c, "cd /data && sqlite3 db 'pragma integrity_check; select n, (select count(*) from t), (select count(*) from (select distinct p, i from t)) from c'")
		if got != want {
			t.Errorf("pod %d sees %q, want %q", p, got, want)
		}
	}
}
