package appimage

import "github.com/porthole-run/porthole/test/registry/debimage"

// owned is a folder of an application's user.
func owned(uid int) debimage.File {
	return debimage.File{Folder: true, UID: uid, GID: uid, Mode: 0o755}
}

// PostgreSQL is PostgreSQL 15 with its clients, pgbench and pg_amcheck among them. Its
// programs are in PostgreSQLBin.
var PostgreSQL = App{
	Name:     "postgresql",
	Packages: []string{"postgresql-15", "postgresql-client-15"},
	// Just-in-time compiling is a plug-in that the server looks for by name.
	Omit: []string{"libllvm14", "libz3-4", "locales", "libc-l10n", "postgresql-common", "postgresql-client-common", "ssl-cert", "netbase", "openssl"},
	User: "postgres", UID: 101,
	Files: map[string]debimage.File{"run/postgresql": owned(101)},
}

// PostgreSQLBin is where PostgreSQL's programs are.
const PostgreSQLBin = "/usr/lib/postgresql/15/bin"

// MariaDB is MariaDB 10.11.
var MariaDB = App{
	Name:     "mariadb",
	Packages: []string{"mariadb-server-core", "mariadb-client-core", "mariadb-server"},
	Omit:     []string{"galera-4", "mariadb-client", "libdbi-perl", "libconfig-inifiles-perl", "rsync", "socat", "lsof", "gawk", "iproute2", "psmisc"},
	User:     "mysql", UID: 102,
	Files: map[string]debimage.File{"run/mysqld": owned(102)},
}

// MySQL is the server of Debian's unstable suite: the stable one has none.
var MySQL = App{
	Name:     "mysql",
	Suite:    "sid",
	Packages: []string{"mysql-server-core", "mysql-client-core"},
	User:     "mysql", UID: 102,
	Files: map[string]debimage.File{"run/mysqld": owned(102), "etc/mysql": {Folder: true}},
}

// RabbitMQ is RabbitMQ 3.10 with clients for the shell.
var RabbitMQ = App{
	Name:     "rabbitmq",
	Packages: []string{"rabbitmq-server", "amqp-tools"},
	Omit: []string{"python3", "python3.11", "python3-minimal", "python3.11-minimal", "libpython3-stdlib", "libpython3.11-stdlib",
		"libpython3.11-minimal", "openssl", "socat", "media-types"},
	User: "rabbitmq", UID: 103,
	Files: map[string]debimage.File{
		"var/lib/rabbitmq": owned(103), "var/log/rabbitmq": owned(103), "run/rabbitmq": owned(103), "etc/rabbitmq": {Folder: true},
	},
}

// SQLite is the shell of SQLite 3.
var SQLite = App{Name: "sqlite", Packages: []string{"sqlite3"}, User: "app", UID: 1000}

// Java is a Java 17 runtime, whose java also runs a source file.
var Java = App{
	Name:     "java",
	Packages: []string{"openjdk-17-jre-headless"},
	Omit: []string{"ca-certificates-java", "java-common", "libasound2", "libasound2-data", "libcups2", "libavahi-client3", "libavahi-common3",
		"libavahi-common-data", "openssl"},
	User: "jenkins", UID: 1000,
}

// JavaHome is where the runtime is.
const JavaHome = "/usr/lib/jvm/java-17-openjdk-amd64"

// All are the applications, for filling the cache.
var All = []App{PostgreSQL, MariaDB, MySQL, RabbitMQ, WordPress, SQLite, Java}
