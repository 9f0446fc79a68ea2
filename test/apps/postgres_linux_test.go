package apps

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/test/apps/appimage"
)

const postgresRun = `set -e
export PATH=` + appimage.PostgreSQLBin + `:$PATH
[ -e /data/PG_VERSION ] || initdb -D /data -A trust -N --no-instructions
exec postgres -D /data -k /data -c listen_addresses=127.0.0.1 -c max_connections=20 -c shared_buffers=32MB -c checkpoint_timeout=30s`

// psql runs a statement and prints bare values.
func psql(statement string) string {
	return fmt.Sprintf("%s/psql -h /data -U postgres -AtX -v ON_ERROR_STOP=1 -c %q", appimage.PostgreSQLBin, statement)
}

// TestPostgreSQL runs pgbench, kills the server under load, then the whole machine, and
// wants its invariant, all acknowledged rows and sound indexes each time. The server's
// socket is on the folder too.
func TestPostgreSQL(t *testing.T) {
	begin(t)
	app := appimage.PostgreSQL
	data, acks := folder(t, app), folder(t, app)
	m := newMachine(t)
	s := spec{name: "postgres", app: app, script: postgresRun, folders: map[string]string{"/data": data, "/acks": acks}, env: []string{"PGUSER=postgres", "PGHOST=/data"}}
	up := func() container {
		c := m.run(t, s)
		await(t, c, "PostgreSQL is up", appimage.PostgreSQLBin+"/pg_isready -q")
		return c
	}
	c := up()
	exec(t, c, psql("create table acks (n int primary key)"))
	timed(t, "pgbench -i", func() { exec(t, c, appimage.PostgreSQLBin+"/pgbench -i -q -s 1 postgres 2>&1") })
	out := exec(t, c, fmt.Sprintf("%s/pgbench -n -c 2 -T %d postgres 2>&1", appimage.PostgreSQLBin, load(10, 10)))
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "tps") || strings.HasPrefix(line, "latency average") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if !strings.Contains(out, "number of failed transactions: 0") {
		t.Errorf("pgbench:\n%s", out)
	}

	for round, kill := range []struct {
		what string
		do   func()
	}{
		{"the server is killed", func() { c.kill(t) }},
		{"the machine crashes", func() { m.crash(t) }},
	} {
		ack := filepath.Join(acks, fmt.Sprint(round))
		wait := inBackground(t, c, fmt.Sprintf(`export PATH=%s:$PATH
pgbench -n -c 2 -T 600 postgres > /dev/null 2>&1 &
for ((i = %d; ; i++)); do echo "insert into acks values ($i) returning n;"; done | stdbuf -oL psql -qAtX postgres > /acks/%d`, appimage.PostgreSQLBin, round*1_000_000, round))
		acknowledged(t, ack, load(30, 500))
		kill.do()
		wait()
		acked := lines(ack)
		timed(t, "recovery after "+kill.what, func() { c = up() })
		if log := c.log(t); !strings.Contains(log, "was not properly shut down; automatic recovery in progress") {
			t.Errorf("after %s the server tells of no recovery:\n%s", kill.what, tail(log))
		}
		got := exec(t, c, psql(fmt.Sprintf("select count(*) from acks where n >= %d and n <= %s", round*1_000_000, acked[len(acked)-1])))
		if want := fmt.Sprint(len(acked)); got != want {
			t.Errorf("after %s: %s of %s acknowledged rows", kill.what, got, want)
		}
		sums := "select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches) and (select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches) and (select coalesce(sum(delta), 0) from pgbench_history) = (select sum(bbalance) from pgbench_branches)"
		if got := exec(t, c, psql(sums)); got != "t" {
			t.Errorf("after %s pgbench's balances differ", kill.what)
		}
		timed(t, "pg_amcheck", func() {
			exec(t, c, appimage.PostgreSQLBin+"/pg_amcheck --install-missing --heapallindexed -d postgres 2>&1")
		})
	}
	exec(t, c, "kill -INT $(head -n 1 /data/postmaster.pid)")
	checkOwner(t, data, app, "PG_VERSION", "global/pg_control", "base", "pg_wal")
}
