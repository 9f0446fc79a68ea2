package apps

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/test/apps/appimage"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

//go:embed testdata/Home.java
var homeSource string

// java are options that make a short run under emulation shorter.
const java = appimage.JavaHome + "/bin/java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto "

// TestBuildServer keeps a folder as Jenkins keeps its home (testdata/Home.java), and
// kills the program in the middle of a build. A second one is kept out by the lock.
func TestBuildServer(t *testing.T) {
	begin(t)
	app := appimage.Java
	app.Files = map[string]debimage.File{"opt/Home.java": {Content: homeSource}}
	data, acks := folder(t, app), folder(t, app)
	m := newMachine(t)
	s := spec{name: "java", app: app, script: idle, folders: map[string]string{"/data": data, "/acks": acks}}
	compile := java + "-m jdk.compiler/com.sun.tools.javac.Main -proc:none -d /acks/classes /opt/Home.java 2>&1"
	c := m.run(t, s)
	timed(t, "compile", func() { exec(t, c, compile) })
	wait := inBackground(t, c, java+"-cp /acks/classes Home run /data 2>&1 > /acks/builds")
	acknowledged(t, filepath.Join(acks, "builds"), load(5, 50))
	if out, code, err := c.try(java + "-cp /acks/classes Home check /data"); err != nil || code != 3 {
		t.Errorf("a second owner: %s%d, %v, want to be kept out with 3", out, code, err)
	}
	c.kill(t)
	wait()
	acked := len(lines(filepath.Join(acks, "builds")))

	c = m.run(t, s)
	out := exec(t, c, java+"-cp /acks/classes Home check /data 2>&1")
	last, err := strconv.Atoi(strings.TrimPrefix(out, "last "))
	if err != nil || last < acked || last > acked+1 {
		t.Errorf("the home's last build is %q, want %d or one more", out, acked)
	}
	checkOwner(t, data, app, "secrets/master.key", "jobs/app/config.xml", "war/WEB-INF/lib0/class0")
	if to, err := os.Readlink(filepath.Join(data, "jobs/app/builds/lastSuccessful")); err != nil || to != fmt.Sprint(last+1) {
		t.Errorf("lastSuccessful on the host leads to %q, %v, want %d", to, err, last+1)
	}
}

// TestJenkins starts the real war, waits for its set-up page, kills it, and wants the
// same instance from the next start.
func TestJenkins(t *testing.T) {
	begin(t)
	war := os.Getenv("JENKINS_WAR")
	testneed.Within(t, war != "", "JENKINS_WAR=path of jenkins.war, which Debian has not,")
	app := appimage.Java
	app.Packages = append(app.Packages, "curl", "fonts-dejavu-core")
	app.Name = "jenkins"
	data, wars := folder(t, app), filepath.Dir(war)
	m := newMachine(t)
	s := spec{name: "jenkins", app: app, folders: map[string]string{"/data": data, "/war": wars}, env: []string{"JENKINS_HOME=/data", "HOME=/data"},
		script: "exec " + java + "-Djenkins.install.runSetupWizard=false -Djava.awt.headless=true -jar /war/" + filepath.Base(war) + " --httpListenAddress=127.0.0.1 --httpPort=8080"}
	up := func() container {
		c := m.run(t, s)
		await(t, c, "Jenkins is up", "curl -sf -o /dev/null http://127.0.0.1:8080/login")
		return c
	}
	c := up()
	job := "<project><builders><hudson.tasks.Shell><command>echo built on a share</command></hudson.tasks.Shell></builders></project>"
	crumb := `crumb=$(curl -sf -c /tmp/jar 'http://127.0.0.1:8080/crumbIssuer/api/xml?xpath=concat(//crumbRequestField,":",//crumb)');`
	post := crumb + " curl -sf -b /tmp/jar -H \"$crumb\" "
	exec(t, c, post+fmt.Sprintf("-H 'Content-Type: text/xml' --data %q 'http://127.0.0.1:8080/createItem?name=app'", job))
	exec(t, c, post+"-X POST http://127.0.0.1:8080/job/app/build")
	await(t, c, "the build is done", "curl -sf http://127.0.0.1:8080/job/app/1/consoleText | grep -q SUCCESS")
	identity, err := os.ReadFile(filepath.Join(data, "identity.key.enc"))
	if err != nil {
		t.Fatal(err)
	}
	c.kill(t)
	c = up()
	if got := exec(t, c, "curl -sf http://127.0.0.1:8080/job/app/1/consoleText"); !strings.Contains(got, "built on a share") {
		t.Errorf("the build's log after the restart: %s", got)
	}
	if again, err := os.ReadFile(filepath.Join(data, "identity.key.enc")); err != nil || string(again) != string(identity) {
		t.Errorf("the restarted server is another one: %v", err)
	}
	checkOwner(t, data, app, "jobs/app/builds/1/log", "secrets/master.key")
}
