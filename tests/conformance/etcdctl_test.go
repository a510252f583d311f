package conformance

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The public etcdctl, of 3.6 and of Debian (3.4), types the same commands at ours and at the
// reference and must print the same.

var initialCluster = regexp.MustCompile(`ETCD_INITIAL_CLUSTER="([^"]*)"`)

type ctl struct {
	t       *testing.T
	version string
	path    string
	m       *member
	text    strings.Builder
	// How long a command that does not end may take to say what it has to say.
	patience time.Duration
}

// Parts of the output that differ from run to run.
var volatile = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "HOST"},
	{regexp.MustCompile(`took[: =]+[0-9.]+[µnm]?s`), "TOOK"},
	{regexp.MustCompile(`[0-9.]+(µs|ms)\b`), "TIME"},
	{regexp.MustCompile(`"(cluster_id|member_id|raft_term|ID|leader|raftIndex|raftAppliedIndex|raftTerm|dbSize|dbSizeInUse|ttl|id)":\d+`), `"$1":N`},
	{regexp.MustCompile(`"(ClusterID|MemberID|RaftTerm|ID|Leader|RaftIndex|RaftAppliedIndex|TTL|DBSize|DBSizeInUse|Lease)" : -?\d+`), `"$1" : N`},
	{regexp.MustCompile(` *\b[0-9a-f]{14,16}\b`), " ID"},
	// A hash covers the lease ids, which each server draws for itself.
	{regexp.MustCompile(`"hash":\d+`), `"hash":N`},
	{regexp.MustCompile(`HOST, \d+`), "HOST, N"},
	{regexp.MustCompile(`remaining\(\d+s\)`), "remaining"},
	{regexp.MustCompile(`[0-9.]+ [kM]B`), "SIZE"},
	{regexp.MustCompile(` *\b\d+%`), " PERCENT"},
}

func (c *ctl) normalized(text string) string {
	text = strings.ReplaceAll(text, c.m.dataDir, "DIR")
	// Members are listed by id, and the new one's depends on the moment.
	text = initialCluster.ReplaceAllStringFunc(text, func(found string) string {
		members := initialCluster.FindStringSubmatch(found)[1]
		return "ETCD_INITIAL_CLUSTER=" + strings.Join(sorted(strings.Split(members, ",")), ",")
	})
	for _, v := range volatile {
		text = v.pattern.ReplaceAllString(text, v.with)
	}
	return text
}

func (c *ctl) command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.path, append([]string{"--endpoints=" + c.m.client}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	if c.version != "3.4" {
		cmd.Env = os.Environ()
	}
	return cmd
}

func (c *ctl) run(stdin string, args ...string) string {
	cmd := c.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	fmt.Fprintf(&c.text, "$ etcdctl %s\n%s", c.normalized(strings.Join(args, " ")), c.normalized(out.String()))
	if err != nil {
		lines := strings.Split(strings.TrimSpace(errOut.String()), "\n")
		fmt.Fprintf(&c.text, "%v: %s\n", err, c.normalized(lines[len(lines)-1]))
	}
	return out.String()
}

func TestEtcdctl(t *testing.T) {
	debian, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Fatal("etcdctl 3.4 (package etcd-client) is missing")
	}
	for version, path := range map[string]string{"3.4": debian, "3.6": program(t, "etcdctl")} {
		t.Run(version, func(t *testing.T) {
			var texts [2]string
			for i, k := range []kind{reference, ours} {
				c := &ctl{t: t, version: version, path: path, m: newMember(t, k, t.TempDir()), patience: 700 * time.Millisecond}
				c.m.settle("127.0.0.1")
				c.everything()
				texts[i] = c.text.String()
				c.m.stop()
			}
			if texts[0] != texts[1] {
				t.Fatalf("output differs\nreference:\n%s\nours:\n%s", firstDifference(texts[0], texts[1]), firstDifference(texts[1], texts[0]))
			}
		})
	}
}

func (c *ctl) everything() {
	for _, p := range [][2]string{{"a", "1"}, {"ab", "3"}, {"abc", "2"}, {"b", "4"}, {"a", "5"}} {
		c.run("", "put", p[0], p[1])
	}
	c.run("from stdin", "put", "stdin")
	c.run("", "put", "a", "6", "--prev-kv")
	c.run("", "put", "a", "--ignore-value", "--prev-kv")
	c.run("", "put", "none", "--ignore-value")
	c.run("", "put", "", "x")
	for _, flags := range []string{
		"a", "a b", "a --prefix", "a --from-key", "--prefix", "a --prefix --limit=2", "a --prefix --rev=3", "a --prefix --keys-only",
		"a --prefix --count-only -w fields", "a --print-value-only", "a --prefix --order=DESCEND", "a --prefix --sort-by=VALUE --order=ASCEND",
		"a --prefix --sort-by=CREATE", "a --prefix --sort-by=MODIFY --order=DESCEND", "a --prefix --sort-by=VERSION --order=DESCEND --limit=1",
		"a --consistency=s", "a --hex", "a -w json", "a -w fields", "a -w protobuf", "missing", "a --rev=100", "a --rev=-5",
	} {
		c.run("", append([]string{"get"}, strings.Fields(flags)...)...)
	}
	c.run("", "get", "")
	c.run("mod(\"a\") > \"0\"\nvalue(\"b\") = \"4\"\n\nput t 1\nget a\n\nput f 1\n\n", "txn", "-i")
	c.run("version(\"a\") = \"0\"\n\nput t 2\n\nget a\ndel ab\n\n", "txn")
	c.run("create(\"none\") = \"0\"\n\nput u 1\nput u 2\n\n\n", "txn")
	c.run("", "del", "t")
	c.run("", "del", "a", "--prefix", "--prev-kv")
	c.run("", "del", "missing")
	c.watches()
	c.leases()
	c.maintenance()
	c.locks()
}

func (c *ctl) watches() {
	c.text.WriteString("watch\n")
	for _, flags := range []string{"a --prefix --rev=1", "a z --rev=3", "a --rev=2 --prev-kv -w json", "b --rev=2 -w fields", "--rev=4 --prefix a"} {
		cmd := c.command(append([]string{"watch"}, strings.Fields(flags)...)...)
		var out bytes.Buffer
		cmd.Stdout = &out
		must(c.t, cmd.Start())
		time.Sleep(c.patience)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		fmt.Fprintf(&c.text, "$ watch %s\n%s", flags, c.normalized(out.String()))
	}
	cmd := c.command("watch", "-i")
	var out bytes.Buffer
	cmd.Stdout = &out
	stdin, err := cmd.StdinPipe()
	must(c.t, err)
	must(c.t, cmd.Start())
	fmt.Fprintln(stdin, "watch live --prefix")
	time.Sleep(c.patience)
	fmt.Fprintln(stdin, "progress")
	c.run("", "put", "live/1", "x")
	c.run("", "del", "live/1")
	time.Sleep(c.patience)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	events := strings.ReplaceAll(out.String(), "progress notify", "\nprogress notify")
	fmt.Fprintf(&c.text, "$ watch -i\n%s", strings.Join(sorted(strings.Split(events, "\n")), "\n"))
}

var leaseID = regexp.MustCompile(`lease ([0-9a-f]+) granted`)

func (c *ctl) leases() {
	id := leaseID.FindStringSubmatch(c.run("", "lease", "grant", "300"))
	if id == nil {
		c.t.Fatal("no lease id")
	}
	c.run("", "put", "leased", "x", "--lease="+id[1])
	c.run("", "put", "leased", "x", "--lease=123")
	c.run("", "lease", "timetolive", id[1])
	c.run("", "lease", "timetolive", id[1], "--keys")
	c.run("", "lease", "list")
	c.run("", "lease", "keep-alive", "--once", id[1])
	c.run("", "lease", "timetolive", id[1], "--keys", "-w", "fields")
	c.run("", "lease", "revoke", id[1])
	c.run("", "lease", "revoke", id[1])
	c.run("", "lease", "timetolive", id[1])
	c.run("", "lease", "grant", "99999999999")
	c.run("", "get", "leased")
}

func (c *ctl) maintenance() {
	c.run("", "compaction", "5")
	c.run("", "compaction", "5")
	c.run("", "compaction", "5000")
	c.run("", "compaction", "8", "--physical")
	c.run("", "get", "a", "--rev=6")
	c.run("", "endpoint", "health")
	c.run("", "endpoint", "health", "-w", "json")
	c.run("", "endpoint", "hashkv")
	c.run("", "endpoint", "hashkv", "-w", "json")
	status := c.run("", "endpoint", "status", "-w", "table")
	if !strings.Contains(status, "ID") {
		c.t.Errorf("status table: %s", status)
	}
	c.run("", "endpoint", "status", "-w", "fields")
	c.run("", "member", "list")
	c.run("", "member", "list", "-w", "table")
	c.run("", "member", "list", "-w", "json")
	c.run("", "member", "add", "x", "--peer-urls=http://127.0.0.1:1", "--learner")
	c.run("", "alarm", "list")
	c.run("", "alarm", "disarm")
	c.run("", "defrag")
	c.run("", "snapshot", "save", filepath.Join(c.m.dataDir, "s.db"))
	c.run("", "move-leader", "1234")
}

func (c *ctl) locks() {
	c.run("", "lock", "name", "echo", "held")
	c.run("", "put", "e", "x")
	elect := c.command("elect", "vote", "me")
	var out bytes.Buffer
	elect.Stdout = &out
	must(c.t, elect.Start())
	time.Sleep(c.patience)
	listen := c.command("elect", "-l", "vote")
	var heard bytes.Buffer
	listen.Stdout = &heard
	must(c.t, listen.Start())
	time.Sleep(c.patience)
	for _, cmd := range []*exec.Cmd{listen, elect} {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	fmt.Fprintf(&c.text, "$ elect\n%s\n%s", c.normalized(out.String()), c.normalized(heard.String()))
}

func TestEtcdctlMakeMirror(t *testing.T) {
	t.Run("the reference's at ours", func(t *testing.T) { makeMirror(t, program(t, "etcdctl"), ours) })
	t.Run("ours at the reference", func(t *testing.T) { makeMirror(t, oursCtl(t), reference) })
}

func makeMirror(t *testing.T, tool string, k kind) {
	from, to := newMember(t, k, t.TempDir()), newMember(t, k, t.TempDir())
	path := program(t, "etcdctl")
	for i := 0; i < 50; i++ {
		run(t, path, "--endpoints="+from.client, "put", fmt.Sprintf("m/%02d", i), fmt.Sprint(i))
	}
	mirror := exec.Command(tool, "--endpoints="+from.client, "make-mirror", strings.TrimPrefix(to.client, "http://"))
	must(t, mirror.Start())
	defer func() { _ = mirror.Process.Kill(); _ = mirror.Wait() }()
	want := ""
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		want = run(t, path, "--endpoints="+from.client, "get", "m/", "--prefix")
		if run(t, path, "--endpoints="+to.client, "get", "m/", "--prefix") == want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the mirror has not caught up")
		}
	}
	run(t, path, "--endpoints="+from.client, "del", "m/0", "--prefix")
	run(t, path, "--endpoints="+from.client, "put", "m/99", "live")
	want = run(t, path, "--endpoints="+from.client, "get", "m/", "--prefix")
	for deadline := time.Now().Add(20 * time.Second); run(t, path, "--endpoints="+to.client, "get", "m/", "--prefix") != want; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the mirror does not follow")
		}
	}
}
