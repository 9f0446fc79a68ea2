package apps

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/test/apps/appimage"
)

const wordpressRun = `set -e
[ -e /data/wp-content/index.php ] || {
	mkdir -p /data/wp-content
	cp -rL /usr/share/wordpress/wp-content/. /var/lib/wordpress/wp-content/. /data/wp-content/
}
exec apache2 -f /etc/apache2/porthole.conf -D FOREGROUND`

// rpc makes a call of WordPress' XML interface for programs. The shell expands
// variables in its parameters.
func rpc(method string, params ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<methodCall><methodName>%s</methodName><params>", method)
	for _, p := range append([]string{"<int>1</int>", "<string>admin</string>", "<string>a-long-passphrase</string>"}, params...) {
		fmt.Fprintf(&b, "<param><value>%s</value></param>", p)
	}
	b.WriteString("</params></methodCall>")
	return fmt.Sprintf("curl -sS -m 300 --data-binary @- http://127.0.0.1:8080/xmlrpc.php <<END\n%s\nEND\n", b.String())
}

func field(name, value string) string {
	return "<member><name>" + name + "</name><value>" + value + "</value></member>"
}

// TestWordPress runs a whole site in one pod, its database and its wp-content on host
// folders: installs it by HTTP, posts, uploads, kills both containers, and reads the site.
func TestWordPress(t *testing.T) {
	begin(t)
	web, db := appimage.WordPress, appimage.MariaDB
	content, tables := folder(t, web), folder(t, db)
	m := newMachine(t)
	up := func() (webC, dbC container) {
		dbC = m.run(t, spec{name: "db", app: db, script: "mkdir -p /data/db\n" + strings.ReplaceAll(mariadbRun, "\n --", " --"),
			folders: map[string]string{"/data": tables}, env: []string{"HOME=/tmp"}})
		webC = m.run(t, spec{name: "web", app: web, script: wordpressRun, folders: map[string]string{"/data": content}})
		await(t, dbC, "the database is up", "mariadb --no-defaults -u root -S /data/mysqld.sock -e 'select 1' > /dev/null 2>&1")
		return webC, dbC
	}
	webC, dbC := up()
	exec(t, dbC, `mariadb --no-defaults -u root -S /data/mysqld.sock -e "create database wordpress; create user wordpress@'127.0.0.1' identified by 'wordpress'; create user wordpress@localhost identified by 'wordpress'; grant all on wordpress.* to wordpress@'127.0.0.1', wordpress@localhost"`)
	await(t, webC, "the web server is up", "curl -s -m 120 -o /dev/null http://127.0.0.1:8080/wp-content/index.php")
	timed(t, "installation", func() {
		out := exec(t, webC, "curl -sS -m 300 -d 'weblog_title=On a share&user_name=admin&admin_password=a-long-passphrase&admin_password2=a-long-passphrase&pw_weak=on&admin_email=a@example.com&language=' 'http://127.0.0.1:8080/wp-admin/install.php?step=2'")
		if !strings.Contains(out, "Success!") {
			t.Fatalf("the installation says:\n%s\n%s", tail(out), tail(webC.log(t)))
		}
	})
	upload := bytes.Repeat([]byte("uploaded to a share\n"), 5000)
	var post, file string
	timed(t, "a post and an upload", func() {
		out := exec(t, webC, rpc("wp.newPost", "<struct>"+field("post_title", "<string>Kept</string>")+field("post_content", "<string>written before the kill</string>")+field("post_status", "<string>publish</string>")+"</struct>"))
		m := regexp.MustCompile(`<string>(\d+)</string>`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("newPost: %s", out)
		}
		post = m[1]
		out = exec(t, webC, "bits=$(for ((i = 0; i < 5000; i++)); do echo uploaded to a share; done | base64 -w 0)\n"+
			rpc("wp.uploadFile", "<struct>"+field("name", "<string>kept.txt</string>")+field("type", "<string>text/plain</string>")+field("bits", "<base64>$bits</base64>")+"</struct>"))
		_, after, found := strings.Cut(out, "/wp-content/uploads/")
		if !found {
			t.Fatalf("uploadFile: %s", out)
		}
		file, _, _ = strings.Cut(after, "<")
	})
	webC.kill(t)
	dbC.kill(t)

	webC, _ = up()
	await(t, webC, "the web server is up", "curl -s -m 120 -o /dev/null http://127.0.0.1:8080/wp-content/index.php")
	timed(t, "the site's first page", func() {
		if out := exec(t, webC, "curl -sS -m 300 http://127.0.0.1:8080/"); !strings.Contains(out, "Kept") || !strings.Contains(out, "On a share") {
			t.Errorf("the site after the kill:\n%s", tail(out))
		}
	})
	if out := exec(t, webC, "curl -sSL -m 300 http://127.0.0.1:8080/?p="+post); !strings.Contains(out, "written before the kill") {
		t.Errorf("the post after the kill:\n%s", tail(out))
	}
	if got := exec(t, webC, "curl -sS -m 300 http://127.0.0.1:8080/wp-content/uploads/"+file); got != strings.TrimSpace(string(upload)) {
		t.Errorf("the upload comes back with %d bytes, want %d", len(got), len(upload)-1)
	}
	checkOwner(t, content, web, "wp-content/index.php", "wp-content/themes", filepath.Join("wp-content/uploads", file))
	checkOwner(t, filepath.Join(tables, "db"), db, "wordpress/wp_posts.ibd")
	if got, err := os.ReadFile(filepath.Join(content, "wp-content/uploads", file)); err != nil || !bytes.Equal(got, upload) {
		t.Errorf("the upload on the host: %d bytes, %v, want %d", len(got), err, len(upload))
	}
}
