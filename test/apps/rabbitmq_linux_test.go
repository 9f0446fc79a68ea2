package apps

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/test/apps/appimage"
)

const rabbitRun = `umask 027
exec /usr/lib/rabbitmq/bin/rabbitmq-server`

// TestRabbitMQ publishes persistent messages to a durable queue, kills the broker, and
// wants them all from the next one.
func TestRabbitMQ(t *testing.T) {
	begin(t)
	app := appimage.RabbitMQ
	data := folder(t, app)
	m := newMachine(t)
	s := spec{name: "rabbitmq", app: app, script: rabbitRun, folders: map[string]string{"/data": data}, env: []string{
		"HOME=/data", "RABBITMQ_MNESIA_BASE=/data/mnesia", "RABBITMQ_LOG_BASE=/data/log", "RABBITMQ_LOGS=-",
		"RABBITMQ_NODENAME=rabbit@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_PID_FILE=/data/pid", "RABBITMQ_GENERATED_CONFIG_DIR=/data/config",
	}}
	up := func() container {
		c := m.run(t, s)
		await(t, c, "RabbitMQ is up", "amqp-declare-queue -s 127.0.0.1 -q kept -d > /dev/null 2>&1")
		return c
	}
	c := up()
	n := load(200, 2000)
	timed(t, fmt.Sprintf("%d messages", n), func() {
		exec(t, c, fmt.Sprintf("for ((i = 0; i < %d; i++)); do echo message $i; done | amqp-publish -s 127.0.0.1 -p -r kept -l", n))
	})
	// The client asks for no confirmation: the queue's own file says when they are there.
	await(t, c, "the messages are in the queue", fmt.Sprintf("[ $(amqp-declare-queue -s 127.0.0.1 -q kept -d > /dev/null 2>&1; grep -raoE 'message [0-9]+' /data/mnesia | wc -l) -ge %d ]", n))
	c.kill(t)
	timed(t, "restart", func() { c = up() })
	got := strings.Split(exec(t, c, fmt.Sprintf("amqp-consume -s 127.0.0.1 -q kept -c %d cat", n)), "\n")
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("message %d", i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d messages after the restart, want %d in order: %.300q", len(got), n, got)
	}
	checkOwner(t, data, app, ".erlang.cookie", "mnesia/rabbit@localhost/schema.DAT")
}
