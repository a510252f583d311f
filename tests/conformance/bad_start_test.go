package conformance

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// How a start ended: its exit code and the error of the last line that tells one.
func failedStart(t *testing.T, k kind, dataDir string, flags ...string) (int, string) {
	t.Helper()
	args := append(serverCommand(t, k), "--data-dir="+dataDir)
	cmd := exec.Command(args[0], append(args[1:], flags...)...)
	log := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(startTimeout):
		cmd.Process.Kill()
		<-ended
		t.Fatalf("%s started, or hangs:\n%s", k, log)
	}
	told := ""
	for _, line := range strings.Split(log.String(), "\n") {
		var fields struct{ Level, Msg, Error string }
		if json.Unmarshal([]byte(line), &fields) == nil && fields.Error != "" && fields.Level != "info" {
			told = fields.Msg + ": " + fields.Error
		}
	}
	return cmd.ProcessState.ExitCode(), told
}

// What operators mistype about a cluster: both end with the same code and words.
func TestBadStart(t *testing.T) {
	client := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	peer := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	other := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	m := newMember(t, reference, t.TempDir())
	names := strings.NewReplacer(peer, "PEER", client, "CLIENT", other, "OTHER", m.peer, "MEMBER")
	numbers := regexp.MustCompile(`\b[0-9a-f]{15,16}\b`)
	listen := []string{"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--name=m1"}
	for name, flags := range map[string][]string{
		"another URL":        {"--initial-cluster=m1=" + other},
		"more URLs":          {"--initial-cluster=m1=" + peer + ",m1=" + other},
		"unknown name":       {"--initial-cluster=m2=" + peer},
		"one URL twice":      {"--initial-cluster=m1=" + peer + ",m2=" + peer},
		"no scheme":          {"--initial-cluster=m1=127.0.0.1:1"},
		"host as scheme":     {"--initial-cluster=m1=host:1"},
		"no port":            {"--initial-cluster=m1=http://127.0.0.1"},
		"a path":             {"--initial-cluster=m1=" + peer + "/x"},
		"no equals sign":     {"--initial-cluster=m1"},
		"nobody to join":     {"--initial-cluster=m1=" + peer + ",m2=" + other, "--initial-cluster-state=existing"},
		"joins uninvited":    {"--initial-cluster=m1=" + peer + ",default=" + m.peer, "--initial-cluster-state=existing"},
		"joins other URLs":   {"--initial-cluster=m1=" + peer, "--initial-cluster-state=existing"},
		"unknown state":      {"--initial-cluster-state=old"},
		"short election":     {"--heartbeat-interval=200", "--election-timeout=300"},
		"listens on a name":  {"--listen-peer-urls=http://nobody.invalid:1"},
		"unknown flag":       {"--no-such-flag"},
		"two bootstrap ways": {"--initial-cluster=m1=" + peer, "--discovery-srv=nobody.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			theirCode, their := failedStart(t, reference, t.TempDir(), append(listen, flags...)...)
			ourCode, our := failedStart(t, ours, t.TempDir(), append(listen, flags...)...)
			normal := func(text string) string { return numbers.ReplaceAllString(names.Replace(text), "ID") }
			if ourCode != theirCode || normal(our) != normal(their) {
				t.Errorf("ours ends with %d, %s\nthe reference with %d, %s", ourCode, normal(our), theirCode, normal(their))
			}
		})
	}
}

// A member that has data takes its cluster from there; flags about a new one may be out of date.
func TestRestartIgnoresInitialCluster(t *testing.T) {
	for _, k := range []kind{reference, ours} {
		m := newMember(t, k, t.TempDir(), "--name=m1")
		if _, err := m.dial().Put(timeout(t), "key", "value"); err != nil {
			t.Fatal(err)
		}
		m.kill()
		m.flags = []string{"--name=m1", "--initial-cluster=m9=http://127.0.0.1:1,nonsense"}
		m.start()
		r, err := m.dial().Get(timeout(t), "key")
		if err != nil || len(r.Kvs) != 1 {
			t.Fatalf("%s: %v %v", k, r, err)
		}
		m.kill()
	}
}

// A member that allows fewer learners than there are starts neither again nor as one of them.
func TestFewerLearnersThanThereAre(t *testing.T) {
	told := beside(t, func(t *testing.T, k kind) []string {
		m := &member{
			t:       t,
			kind:    k,
			dataDir: t.TempDir(),
			client:  fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
			peer:    fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
		}
		m.flags = []string{"--name=m1", "--initial-advertise-peer-urls=" + m.peer, "--initial-cluster=m1=" + m.peer}
		m.start()
		t.Cleanup(m.kill)
		learner := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
		if _, err := m.dial().MemberAddAsLearner(timeout(t), []string{learner}); err != nil {
			t.Fatal(err)
		}
		joinCode, join := failedStart(t, k, t.TempDir(), "--name=m2", "--max-learners=0", "--initial-cluster-state=existing",
			"--listen-peer-urls="+learner, "--initial-advertise-peer-urls="+learner,
			fmt.Sprintf("--listen-client-urls=http://127.0.0.1:%d", freePort(t)), "--advertise-client-urls=http://127.0.0.1:1",
			"--initial-cluster=m1="+m.peer+",m2="+learner)
		// After a kill the learner may stand in the log only, where it is judged when it is applied.
		m.stop()
		againCode, again := failedStart(t, k, m.dataDir, "--name=m1", "--max-learners=0",
			"--initial-advertise-peer-urls="+m.peer, "--initial-cluster=m1="+m.peer, "--listen-peer-urls="+m.peer, "--listen-client-urls="+m.client, "--advertise-client-urls="+m.client)
		// With one allowed it is what it was.
		m.start()
		return []string{fmt.Sprint(joinCode), join, fmt.Sprint(againCode), again}
	})
	if our, their := fmt.Sprint(told[ours]), fmt.Sprint(told[reference]); our != their {
		t.Errorf("ours ends with\n%s\nthe reference with\n%s", our, their)
	}
	for _, i := range []int{1, 3} {
		if !strings.Contains(told[ours][i], "membership: too many learner members in cluster") {
			t.Errorf("no word of learners: %s", told[ours])
		}
	}
}
