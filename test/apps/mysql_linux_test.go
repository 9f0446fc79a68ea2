package apps

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/test/apps/appimage"
)

// Durable and small, with the socket on the folder.
const mysqlOptions = ` --no-defaults --datadir=/data/db --socket=/data/mysqld.sock --bind-address=127.0.0.1 --innodb-buffer-pool-size=32M
 --innodb-flush-log-at-trx-commit=1 --sync-binlog=1 --max-connections=20`

const mariadbRun = `set -e
[ -e /data/db/mysql ] || mariadb-install-db --no-defaults --datadir=/data/db --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve > /dev/null
exec mariadbd ` + mysqlOptions + ` --log-bin --server-id=1`

const mysqlRun = `set -e
[ -e /data/db/mysql.ibd ] || mysqld --no-defaults --datadir=/data/db --initialize-insecure --secure-file-priv=NULL
exec mysqld ` + mysqlOptions + ` --secure-file-priv=NULL --mysqlx=OFF --performance-schema=OFF`

// dialect is what the tests of MySQL and of its descendant say differently.
type dialect struct {
	app    appimage.App
	run    string // the container's script
	client string
	other  string // an engine beside InnoDB
	files  []string
}

func TestMariaDB(t *testing.T) {
	begin(t)
	testMySQL(t, dialect{app: appimage.MariaDB, run: mariadbRun, client: "mariadb --no-defaults", other: "aria",
		files: []string{"ibdata1", "ib_logfile0", "aria_log_control", "mysql"}})
}

// TestMySQL runs Oracle's MySQL, whose initialisation locks its files with POSIX locks of
// many descriptors.
func TestMySQL(t *testing.T) {
	begin(t)
	testMySQL(t, dialect{app: appimage.MySQL, run: mysqlRun, client: "mysql --no-defaults", other: "myisam",
		files: []string{"ibdata1", "mysql.ibd", "#innodb_redo"}})
}

// testMySQL fills tables, kills the server under load, and wants a recovery, all
// acknowledged rows and sound tables.
func testMySQL(t *testing.T, d dialect) {
	data, acks := folder(t, d.app), folder(t, d.app)
	m := newMachine(t)
	client := d.client + " -u root -S /data/mysqld.sock -N "
	sql := func(c container, statements string) string {
		t.Helper()
		return exec(t, c, client+"-e "+fmt.Sprintf("%q", statements)+" 2>&1")
	}
	s := spec{name: d.app.Name, app: d.app, script: "mkdir -p /data/db\n" + strings.ReplaceAll(d.run, "\n --", " --"),
		folders: map[string]string{"/data": data, "/acks": acks}, env: []string{"HOME=/tmp"}}
	up := func() container {
		c := m.run(t, s)
		await(t, c, d.app.Name+" is up", client+"-e 'select 1' > /dev/null 2>&1")
		return c
	}
	c := up()
	n := load(2000, 20000)
	timed(t, fmt.Sprintf("%d rows into each of two tables", n), func() {
		columns := "(n int primary key, k int, pad varchar(200), key (k))"
		sql(c, "create database load_db; create table load_db.acks (n int primary key) engine=innodb; "+
			"create table load_db.t "+columns+" engine=innodb; create table load_db.u "+columns+" engine="+d.other)
		exec(t, c, fmt.Sprintf(`for ((i = 0; i < %d; i += 500)); do v=
for ((j = i; j < i + 500; j++)); do v+="($j, $((j * 7919 %% 1000)), repeat('x', 150)),"; done
for table in t u; do echo "insert into $table values ${v%%,};"; done; done | %s load_db`, n, client))
	})
	ack := filepath.Join(acks, "n")
	wait := inBackground(t, c, fmt.Sprintf(`for ((i = 1; ; i++)); do echo "update t set k = $i where n = $((i %% %d)); insert into acks values ($i); select $i;"; done | %s -n load_db > /acks/n`, n, client))
	acknowledged(t, ack, load(30, 500))
	c.kill(t)
	wait()
	acked := lines(ack)
	timed(t, "recovery", func() { c = up() })
	if log := c.log(t); !strings.Contains(strings.ToLower(log), "crash recovery") {
		t.Errorf("the server tells of no recovery:\n%s", tail(log))
	}
	if got := sql(c, fmt.Sprintf("select count(*) from load_db.acks where n <= %s", acked[len(acked)-1])); got != fmt.Sprint(len(acked)) {
		t.Errorf("%s of %d acknowledged rows", got, len(acked))
	}
	for _, table := range []string{"acks", "t", "u"} {
		if got := sql(c, "check table load_db."+table+" extended"); !strings.HasSuffix(got, "status\tOK") {
			t.Errorf("check table %s: %s", table, got)
		}
	}
	if got := sql(c, "select count(*), sum(length(pad)) from load_db.t"); got != fmt.Sprintf("%d\t%d", n, 150*n) {
		t.Errorf("table t has %s", got)
	}
	checkOwner(t, filepath.Join(data, "db"), d.app, append(d.files, "load_db/t.ibd")...)
}
