package conformance

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// metricFamily is what `/metrics` says of one name.
type metricFamily struct {
	kind, help string
	// Label names with their values, ids and versions left out; of all members together.
	series map[string]bool
}

var (
	metricLine  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? `)
	metricLabel = regexp.MustCompile(`([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"`)
	metricID    = regexp.MustCompile(`^[0-9a-f]{12,16}$`)
)

// readMetrics adds what a member tells to `families`.
func readMetrics(t *testing.T, url string, families map[string]*metricFamily) {
	t.Helper()
	r, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	family := func(name string) *metricFamily {
		if families[name] == nil {
			families[name] = &metricFamily{series: map[string]bool{}}
		}
		return families[name]
	}
	for _, line := range strings.Split(string(body), "\n") {
		if words := strings.SplitN(line, " ", 4); len(words) == 4 && words[0] == "#" {
			if words[1] == "HELP" {
				family(words[2]).help = words[3]
			} else {
				family(words[2]).kind = words[3]
			}
			continue
		}
		found := metricLine.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		name := found[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if of := families[strings.TrimSuffix(name, suffix)]; of != nil && of.kind == "histogram" {
				name = strings.TrimSuffix(name, suffix)
			}
		}
		var labels []string
		for _, label := range metricLabel.FindAllStringSubmatch(found[2], -1) {
			value := label[2]
			if metricID.MatchString(value) {
				value = "ID"
			}
			labels = append(labels, label[1]+"="+value)
		}
		slices.Sort(labels)
		family(name).series[strings.Join(labels, ",")] = true
	}
}

// What the two tell differently, and why: docs/operating.md has the same list.
var differentMetrics = []struct {
	name *regexp.Regexp
	why  string
}{
	{regexp.MustCompile(`^go_`), "runtime of Go"},
	{regexp.MustCompile(`^nodejs_`), "runtime of Node"},
	{regexp.MustCompile(`^process_`), "what the runtime knows of the process"},
	{regexp.MustCompile(`^promhttp_`), "the library that serves /metrics"},
	{regexp.MustCompile(`^etcd_ts_`), "ours alone"},
	{regexp.MustCompile(`^etcd_grpc_proxy_`), "of a proxy, which is another program here"},
	{regexp.MustCompile(`^etcd_server_go_version$`), "the version of Go"},
	{regexp.MustCompile(`^etcd_debugging_store_`), "the store of version 2, which clients have not had since 3.6"},
}

// Three members of ours tell what three of the reference tell, after the same history.
func TestClusterMetrics(t *testing.T) {
	told := beside(t, func(t *testing.T, k kind) map[string]*metricFamily {
		c := newCluster(t, k, k, k)
		families := map[string]*metricFamily{}
		c.liveThroughEverything()
		for _, m := range c.members {
			readMetrics(t, m.client, families)
		}
		return families
	})
	names := map[string]bool{}
	for _, families := range told {
		for name := range families {
			names[name] = true
		}
	}
next:
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, difference := range differentMetrics {
			if difference.name.MatchString(name) {
				continue next
			}
		}
		their, our := told[reference][name], told[ours][name]
		if our == nil {
			t.Errorf("only the reference has %s: %s", name, their.help)
			continue
		}
		if their == nil {
			t.Errorf("only ours has %s", name)
			continue
		}
		if our.kind != their.kind || our.help != their.help {
			t.Errorf("%s is\n%s: %s\nin the reference\n%s: %s", name, our.kind, our.help, their.kind, their.help)
		}
		for labels := range their.series {
			if !our.series[labels] {
				t.Errorf("only the reference has %s{%s}", name, labels)
			}
		}
		for labels := range our.series {
			if !their.series[labels] {
				t.Errorf("only ours has %s{%s}", name, labels)
			}
		}
	}
}

// liveThroughEverything has a cluster do once whatever its metrics tell of.
func (c *cluster) liveThroughEverything() {
	t := c.t
	t.Helper()
	c.exercise("metrics")
	leader := c.leader()
	var lagging *member
	for _, m := range c.members {
		if m != leader {
			lagging = m
		}
	}
	// A database goes to a member that was away.
	lagging.kill()
	cl := c.dial(leader)
	for i := 0; i < 500; i++ {
		if _, err := cl.Put(timeout(t), fmt.Sprintf("behind/%d", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	lagging.start()
	c.agree()
	if _, err := leader.dial().Defragment(timeout(t), strings.TrimPrefix(leader.client, "http://")); err != nil {
		t.Fatal(err)
	}
	// Members count as connected after five seconds; peers are probed every four, and file
	// descriptors counted every ten.
	time.Sleep(11 * time.Second)
	added, err := cl.MemberAddAsLearner(timeout(t), []string{fmt.Sprintf("http://127.0.0.1:%d", freePort(t))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.MemberPromote(timeout(t), added.Member.ID); err != rpctypes.ErrMemberLearnerNotReady {
		t.Fatalf("promotion of a learner nobody started: %v", err)
	}
	if _, err := cl.MemberRemove(timeout(t), added.Member.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Get(timeout(t), "x", clientv3.WithRev(1<<40)); err == nil {
		t.Fatal("a read of the future")
	}
	for _, m := range c.members {
		for _, path := range []string{"/health", "/livez", "/readyz"} {
			r, err := http.Get(m.client + path)
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
		}
	}
}
