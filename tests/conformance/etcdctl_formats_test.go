package conformance

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Every command of etcdctl in every format: ours and the reference's at the reference's server, and
// the reference's at ours, must print the same bytes. Members started like this have the same ids,
// so only addresses, times, sizes of files and what is drawn at random are blanked.

var allFormats = []string{"simple", "fields", "json", "protobuf", "table"}

type formatRun struct {
	t    *testing.T
	path string
	m    *member
	text strings.Builder
	// What was drawn at random, as each format writes it, and what stands for it.
	drawn []string
}

var blanked = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "HOST"},
	{regexp.MustCompile(`took[":= ]+"?[0-9.]+[µnm]?s"?`), "TOOK"},
	{regexp.MustCompile(`"(Took)" : [0-9.]+[µnm]?s`), `"$1" : TIME`},
	{regexp.MustCompile(`[0-9.]+(µs|ms)\b`), "TIME"},
	// What the log and the file have come to depends on what the member did for itself.
	{regexp.MustCompile(`"(raftIndex|raftAppliedIndex|dbSize|dbSizeInUse)":\d+`), `"$1":N`},
	{regexp.MustCompile(`"(RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : \d+`), `"$1" : N`},
	{regexp.MustCompile(`(true|false), (true|false), (\d+), \d+, \d+,`), "$1, $2, $3, N, N,"},
	{regexp.MustCompile(`\| (true|false) \| (true|false) \| (\d+) \| \d+ \| \d+ \|`), "| $1 | $2 | $3 | N | N |"},
	{regexp.MustCompile(`[0-9.]+ [kM]?B`), "SIZE"},
	{regexp.MustCompile(`\b\d+%`), "PERCENT"},
	// The hash covers lease ids, which are drawn at random.
	{regexp.MustCompile(`"hash":\d+`), `"hash":N`},
	{regexp.MustCompile(`"Hash" : \d+`), `"Hash" : N`},
	{regexp.MustCompile(`HOST, \d+, `), "HOST, N, "},
	{regexp.MustCompile(`HOST \| \d+ \| (\d+) \|`), "HOST | N | $1 |"},
	{regexp.MustCompile(`("TTL" : |"ttl":)9\d\d\b`), "${1}N"},
	// A key that ends with a lease's id.
	{regexp.MustCompile(`"key":"(?:bD|ZT)[A-Za-z0-9+/=]{20,}"`), `"key":"HELD"`},
	{regexp.MustCompile(`remaining\(\d+s\)`), "remaining"},
}

func (f *formatRun) clean(text string) string {
	for i := 0; i+1 < len(f.drawn); i += 2 {
		text = strings.ReplaceAll(text, f.drawn[i], f.drawn[i+1])
	}
	text = strings.ReplaceAll(text, f.m.dataDir, "DIR")
	if strings.Contains(text, "DB SIZE") || strings.Contains(text, "TOOK") || strings.Contains(text, "HASH REVISION") {
		text = narrowed(text)
	}
	for _, b := range blanked {
		text = b.pattern.ReplaceAllString(text, b.with)
	}
	return text
}

// narrowed takes the padding from a table whose columns are as wide as what is blanked.
func narrowed(table string) string {
	lines := strings.Split(table, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "+--") {
			line = "+--"
		}
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

// learn remembers an id as all formats write it.
func (f *formatRun) learn(id uint64, name string) {
	hex := fmt.Sprintf("%x", id)
	if id == 0 || (len(f.drawn) > 0 && strings.Contains(strings.Join(f.drawn, " "), hex)) {
		return
	}
	f.drawn = append(f.drawn, hex, name, strconv.FormatUint(id, 10), name, string(binary.AppendUvarint(nil, id)), name)
}

// control asks with the reference's program, whose words are not compared.
func (f *formatRun) control(args ...string) string {
	return run(f.t, program(f.t, "etcdctl"), append([]string{"--endpoints=" + f.m.client}, args...)...)
}

func (f *formatRun) learnLeases() []uint64 {
	var answer struct{ Leases []struct{ ID uint64 } }
	must(f.t, json.Unmarshal([]byte(f.control("lease", "list", "-w", "json")), &answer))
	var ids []uint64
	for _, lease := range answer.Leases {
		f.learn(lease.ID, "LEASE")
		ids = append(ids, lease.ID)
	}
	return ids
}

func (f *formatRun) command(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	// Patient: a busy machine is not what is compared.
	patient := []string{"--endpoints=" + f.m.client, "--dial-timeout=30s", "--command-timeout=30s"}
	cmd := exec.Command(f.path, append(patient, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	return cmd, &out, &errOut
}

// tell writes down what a command printed; of standard error all but log lines.
func (f *formatRun) tell(stdin string, args []string, out, errOut string, status int) {
	if args[0] == "lease" || args[0] == "lock" {
		f.learnLeases()
	}
	var said []string
	for _, line := range strings.Split(errOut, "\n") {
		if line != "" && !strings.HasPrefix(line, "{") {
			said = append(said, line)
		}
	}
	words := strings.Join(args, " ")
	if len(stdin) > 100 {
		stdin = stdin[:100]
	}
	fmt.Fprintf(&f.text, "$ %s <<<%q\n%s\n%s\n= %d\n", f.clean(words), stdin, f.clean(out), f.clean(strings.Join(said, "\n")), status)
}

func (f *formatRun) run(stdin string, args ...string) string {
	cmd, out, errOut := f.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	_ = cmd.Run()
	f.tell(stdin, args, out.String(), errOut.String(), cmd.ProcessState.ExitCode())
	return out.String()
}

// each runs a command in all formats.
func (f *formatRun) each(stdin string, args ...string) {
	for _, format := range allFormats {
		f.run(stdin, append(args, "-w", format)...)
	}
}

// hex does so with --hex.
func (f *formatRun) hex(stdin string, args ...string) {
	for _, format := range allFormats[:4] {
		f.run(stdin, append(args, "--hex", "-w", format)...)
	}
}

// started is a command that does not end by itself, or does.
type started struct {
	cmd         *exec.Cmd
	out, errOut *syncBuffer
	exited      chan struct{}
}

func (f *formatRun) start(args []string) *started {
	cmd, _, _ := f.command(args...)
	s := &started{cmd: cmd, out: &syncBuffer{}, errOut: &syncBuffer{}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.out, s.errOut
	must(f.t, cmd.Start())
	go func() { _ = cmd.Wait(); close(s.exited) }()
	return s
}

func (s *started) hasEnded() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// settle waits until every command has ended or said something, and nobody says more.
func settle(all []*started) {
	last, since := -1, time.Now()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		total, silent := 0, 0
		for _, s := range all {
			total += len(s.out.String())
			if !s.hasEnded() && s.out.String() == "" {
				silent++
			}
		}
		if total != last {
			last, since = total, time.Now()
		}
		if silent == 0 && time.Since(since) > 500*time.Millisecond {
			return
		}
	}
}

// until starts commands that do not end, lets them speak, does something they speak of, and ends
// them.
func (f *formatRun) until(end os.Signal, meanwhile func(), commands ...[]string) {
	var all []*started
	for _, args := range commands {
		all = append(all, f.start(args))
	}
	settle(all)
	if meanwhile != nil {
		meanwhile()
		time.Sleep(500 * time.Millisecond)
		settle(all)
	}
	f.learnLeases()
	for _, s := range all {
		_ = s.cmd.Process.Signal(end)
	}
	for i, s := range all {
		<-s.exited
		f.tell("", commands[i], s.out.String(), s.errOut.String(), s.cmd.ProcessState.ExitCode())
	}
}

func inFormats(args ...string) [][]string {
	var commands [][]string
	for _, format := range allFormats {
		commands = append(commands, append(append([]string{}, args...), "-w", format))
	}
	return commands
}

func TestEtcdctlEveryFormat(t *testing.T) {
	parts := []func(*formatRun){(*formatRun).keys, (*formatRun).watching, (*formatRun).leasing, (*formatRun).holding, (*formatRun).membership, (*formatRun).endpoints, (*formatRun).usersAndRoles, (*formatRun).alarms}
	sides := []struct {
		name string
		path string
		kind kind
	}{
		{"ours at reference", oursCtl(t), reference},
		{"reference at reference", program(t, "etcdctl"), reference},
		{"reference at ours", program(t, "etcdctl"), ours},
	}
	told := make([][]string, len(sides))
	t.Run("sides", func(t *testing.T) {
		for i, side := range sides {
			t.Run(side.name, func(t *testing.T) {
				t.Parallel()
				f := &formatRun{t: t, path: side.path, m: newMember(t, side.kind, t.TempDir())}
				f.m.settle("127.0.0.1")
				for _, part := range parts {
					part(f)
				}
				told[i] = strings.Split(f.text.String(), "\n$ ")
			})
		}
	})
	want := told[1]
	for i, got := range told {
		if len(got) != len(want) {
			t.Errorf("%s: %d commands, not %d", sides[i].name, len(got), len(want))
		}
		for j := 0; j < min(len(got), len(want)); j++ {
			if got[j] != want[j] {
				t.Errorf("%s\nwanted:\n%s\ngot:\n%s", sides[i].name, want[j], got[j])
			}
		}
	}
	t.Logf("%d commands", len(want))
}

// Each move takes a term: in JSON, and as the last field of the raw answer.
var leaderTerm = regexp.MustCompile(`"raft_term":\d+|\x20[\x01-\x7f]\n\n= 0`)

// At a cluster of three: what --cluster finds, and what changes the leader.
func TestEtcdctlClusterFormats(t *testing.T) {
	c := newCluster(t, reference, reference, reference)
	for _, m := range c.members {
		m.settle("127.0.0.1")
	}
	var told [2]string
	var sides [2]*formatRun
	for i, path := range []string{program(t, "etcdctl"), oursCtl(t)} {
		f := &formatRun{t: t, path: path, m: c.members[0]}
		sides[i] = f
		f.each("", "member", "list")
		f.each("", "endpoint", "status", "--cluster")
		f.each("", "endpoint", "hashkv", "--cluster")
		f.each("", "endpoint", "status", "--endpoints="+c.members[1].client)
		told[i] = f.text.String()
		f.text.Reset()
		// The order of answers is the reference's chance; of ours, that the leader comes last.
		f.each("", "endpoint", "health", "--cluster")
		f.each("", "defrag", "--cluster")
		told[i] += strings.Join(sorted(strings.FieldsFunc(f.text.String(), func(r rune) bool { return strings.ContainsRune("\n{}[],", r) })), "\n")
		f.text.Reset()
	}
	if told[0] != told[1] {
		t.Errorf("output differs\nreference's:\n%s\nours:\n%s", firstDifference(told[0], told[1]), firstDifference(told[1], told[0]))
	}
	for i, f := range sides {
		leader := c.leader()
		var followers []*member
		for _, m := range c.members {
			if m != leader {
				followers = append(followers, m)
			}
		}
		f.m = followers[0]
		f.each("", "move-leader", "123")
		for j, format := range allFormats {
			leader = c.leader()
			target := c.members[(j+1)%3]
			if target == leader {
				target = c.members[j%3]
			}
			f.learn(c.status(leader).Header.MemberId, "LEADER")
			f.learn(c.status(target).Header.MemberId, "TARGET")
			f.run("", "move-leader", strconv.FormatUint(c.status(target).Header.MemberId, 16), "--endpoints="+leader.client, "-w", format)
			for deadline := time.Now().Add(20 * time.Second); c.leader() != target; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s did not move the leader", f.path)
				}
			}
			f.drawn = nil
		}
		told[i] = leaderTerm.ReplaceAllString(f.text.String(), "TERM")
	}
	if told[0] != told[1] {
		t.Errorf("output differs\nreference's:\n%s\nours:\n%s", told[0], told[1])
	}
}

func (f *formatRun) keys() {
	f.each("", "put", "k", "v")
	f.each("", "put", "k", "\x01\"<&>é\n", "--prev-kv")
	f.hex("", "put", "k", "v2", "--prev-kv")
	f.run("", "put", "kk", "2")
	f.each("", "get", "k", "--prefix")
	f.hex("", "get", "k")
	f.each("", "get", "k", "--prefix", "--keys-only")
	f.each("", "get", "k", "--count-only")
	f.each("", "get", "k", "--print-value-only")
	f.run("", "get", "k", "--print-value-only", "--hex")
	f.each("", "get", "k", "--prefix", "--limit=1")
	f.each("", "get", "none")
	f.run("", "get", "none", "-w", "bogus")
	txn := "mod(\"k\") > \"0\"\n\nput k 3 --prev-kv\nget k --prefix\ndel none --prev-kv\n\nget k\n\n"
	f.each(txn, "txn", "-i")
	f.each(strings.Replace(txn, "> \"0\"", "= \"0\"", 1), "txn")
	f.hex(txn, "txn")
	f.each("\n\n\n", "txn")
	for _, format := range allFormats {
		f.run("", "put", "gone", "x")
		f.run("", "del", "gone", "--prev-kv", "-w", format)
		f.run("", "del", "gone", "--hex", "-w", format)
	}
	f.run("", "put", "r1", "x")
	f.run("", "del", "r", "s")
	for i, format := range allFormats {
		f.run("", "compaction", strconv.Itoa(4+i), "-w", format)
	}
	f.run("", "compaction", "--physical", "12")
	f.run("", "compaction", "12")
	f.run("", "get", "k", "--rev=5")
}

func (f *formatRun) watching() {
	f.run("", "put", "w", "1")
	f.run("", "put", "w", "2")
	f.run("", "del", "w")
	var answer struct{ Header struct{ Revision int } }
	must(f.t, json.Unmarshal([]byte(f.control("get", "w", "-w", "json")), &answer))
	from := "--rev=" + strconv.Itoa(answer.Header.Revision-2)
	commands := inFormats("watch", "w", from, "--prev-kv")
	commands = append(commands, []string{"watch", "w", from, "--hex"}, []string{"watch", "w", from, "--hex", "-w", "json"}, []string{"watch", "w", from, "--hex", "-w", "fields"},
		[]string{"watch", "w", "--prefix", from, "--", "sh", "-c", `echo "$ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"`},
		[]string{"watch", "w", "x", from, "-w", "json", "--", "echo", "event"})
	f.until(syscall.SIGKILL, nil, commands...)
	f.run("", "watch", "w", from, "--", "sh", "-c", "exit 9")
	f.run("", "watch", "w", from, "--", "/nonexistent/program")
	f.run("", "watch", "w", from, "--", "nonexistent-program")
	f.each("", "watch", "w", "--rev=1")
	for _, lines := range []string{"", "\n", "bogus\n", "watch\n", "watch w x --prefix\n", "watch --bogus w\n"} {
		f.run(lines, "watch", "-i")
	}
}

func (f *formatRun) leasing() {
	for _, format := range allFormats {
		f.run("", "lease", "grant", "1000", "-w", format)
	}
	f.run("", "lease", "grant", "1000", "--hex", "-w", "fields")
	ids := f.learnLeases()
	if len(ids) != 6 && len(ids) != 7 {
		f.t.Fatalf("%d leases", len(ids))
	}
	id := strconv.FormatUint(ids[0], 16)
	f.run("", "put", "leased", "x", "--lease="+id)
	f.each("", "get", "leased")
	f.hex("", "get", "leased")
	f.each("", "lease", "list")
	f.each("", "lease", "timetolive", id, "--keys")
	f.hex("", "lease", "timetolive", id)
	f.each("", "lease", "timetolive", "123")
	f.each("", "lease", "keep-alive", id, "--once")
	for i, lease := range ids {
		f.run("", "lease", "revoke", strconv.FormatUint(lease, 16), "-w", allFormats[i%len(allFormats)])
	}
	f.each("", "lease", "revoke", id)
	f.each("", "lease", "keep-alive", id)
	for _, id := range f.learnLeases() {
		f.run("", "lease", "revoke", strconv.FormatUint(id, 16))
	}
}

func (f *formatRun) holding() {
	for i, format := range allFormats {
		f.until(os.Interrupt, nil, []string{"lock", fmt.Sprintf("l%d", i), "-w", format})
		f.until(os.Interrupt, nil, []string{"elect", fmt.Sprintf("e%d", i), "me", "-w", format})
	}
	f.control("put", "vote/1", "somebody")
	f.until(os.Interrupt, func() { f.control("put", "vote/1", "another") }, inFormats("elect", "-l", "vote")...)
	f.control("del", "vote/1")
	f.run("", "lock", "n", "--", "sh", "-c", "exit 7")
	f.run("", "lock", "n", "--ttl=5", "--", "sh", "-c", `echo "${ETCD_LOCK_KEY%%/*}"; test "$ETCD_LOCK_REV" -gt 0`)
	f.run("", "lock", "n", "--", "sh", "-c", "kill -9 $$")
	f.run("", "lock", "n", "/nonexistent/program")
	f.run("", "lock", "n", "nonexistent-program")
	for _, id := range f.learnLeases() {
		f.control("lease", "revoke", strconv.FormatUint(id, 16))
	}
}

// What an id of the new member has to be above: members are listed by id, which is drawn.
const defaultMember = 0x8e9e05c52164694d

// addLearner adds a member, and again until it comes after the one there is.
func (f *formatRun) addLearner(args ...string) string {
	for {
		before := f.text.String()
		f.run("", append([]string{"member", "add", "x", "--learner"}, args...)...)
		var answer struct {
			Members []struct {
				ID        uint64
				IsLearner bool
			}
		}
		must(f.t, json.Unmarshal([]byte(f.control("member", "list", "-w", "json")), &answer))
		for _, m := range answer.Members {
			id := strconv.FormatUint(m.ID, 16)
			if m.IsLearner && m.ID > defaultMember {
				f.learn(m.ID, "MEMBER")
				// What was said before the id was known.
				said := f.clean(f.text.String())
				f.text.Reset()
				f.text.WriteString(said)
				return id
			}
			if m.IsLearner {
				f.control("member", "remove", id)
			}
		}
		f.text.Reset()
		f.text.WriteString(before)
	}
}

func (f *formatRun) membership() {
	for i, format := range allFormats {
		id := f.addLearner(fmt.Sprintf("--peer-urls=http://127.0.0.1:1000%d,http://127.0.0.2:1000%d", i, i), "-w", format)
		f.run("", "member", "list", "-w", format)
		f.run("", "member", "list", "-w", format, "--hex")
		f.run("", "member", "update", id, "--peer-urls=http://127.0.0.1:20000", "-w", format)
		f.run("", "member", "promote", id, "-w", format)
		f.run("", "member", "remove", id, "-w", format)
		f.run("", "member", "remove", id)
	}
	f.each("", "member", "list", "--consistency=s")
	f.each("", "move-leader", "8e9e05c52164694d")
	f.each("", "downgrade", "validate", "3.5")
	f.each("", "downgrade", "enable", "3.4")
	f.each("", "downgrade", "cancel")
	// Once, since the cluster's version follows when it will.
	f.run("", "downgrade", "enable", "3.5", "-w", "json")
	f.run("", "downgrade", "cancel", "-w", "table")
}

func (f *formatRun) endpoints() {
	for _, what := range []string{"health", "status", "hashkv"} {
		f.each("", "endpoint", what)
		f.each("", "endpoint", what, "--cluster")
		f.hex("", "endpoint", what)
	}
	f.run("", "endpoint", "hashkv", "--rev=20")
	f.run("", "endpoint", "hashkv", "--rev=2000000")
	f.each("", "defrag", "--cluster")
	f.each("", "snapshot", "save", filepath.Join(f.m.dataDir, "s.db"))
	f.run("", "version", "-w", "json")
}

func (f *formatRun) alarms() {
	f.m.stop()
	f.m = newMember(f.t, f.m.kind, f.t.TempDir(), "--quota-backend-bytes=2000000")
	f.each("", "alarm", "list")
	for i := 0; i < 6; i++ {
		_ = exec.Command(program(f.t, "etcdctl"), "--endpoints="+f.m.client, "put", "big", strings.Repeat("x", 100_000)).Run()
		value := strings.NewReader(strings.Repeat("x", 1_000_000))
		cmd := exec.Command(program(f.t, "etcdctl"), "--endpoints="+f.m.client, "put", "big")
		cmd.Stdin = value
		_ = cmd.Run()
		time.Sleep(300 * time.Millisecond)
	}
	f.each("", "alarm", "list")
	f.hex("", "alarm", "list")
	f.each("", "endpoint", "health")
	f.each("", "endpoint", "status")
	f.run("", "put", "small", "x")
	f.run("", "del", "big")
	// In the format fields the reference stops with a stack.
	for i := 0; i < 2; i++ {
		for _, format := range []string{"simple", "json", "protobuf", "table"} {
			f.run("", "alarm", "disarm", "-w", format)
		}
	}
}

func (f *formatRun) usersAndRoles() {
	f.each("", "auth", "status")
	for _, command := range []string{
		"role add all", "role add all", "role grant-permission all readwrite a/ --prefix", "role grant-permission all read b c", "role grant-permission all write d", "role grant-permission all read e --from-key",
		"role get all", "role get all -w fields", "role get all -w json", "role revoke-permission all b c", "role revoke-permission all a/ --prefix", "role revoke-permission all d", "role revoke-permission all e --from-key",
		"user add nopw --no-password", "user get nopw --detail", "user grant-role nopw all", "user get nopw --detail", "user get nopw --detail -w json", "user add root:toor",
	} {
		f.run("", strings.Fields(command)...)
	}
	for i, format := range allFormats {
		role, user := fmt.Sprintf("role%d", i), fmt.Sprintf("user%d", i)
		for _, command := range []string{
			"role add " + role, "role grant-permission " + role + " readwrite a/ --prefix", "role get " + role, "role list", "user add " + user + ":pw", "user grant-role " + user + " " + role, "user get " + user, "user list",
			"user revoke-role " + user + " " + role, "role revoke-permission " + role + " a/ --prefix", "role delete " + role, "user add " + user + "x --no-password", "user delete " + user + "x",
		} {
			f.run("", append(strings.Fields(command), "-w", format)...)
		}
		f.run("new\n", "user", "passwd", user, "--interactive=false", "-w", format)
	}
	f.run("", "auth", "enable")
	f.each("", "auth", "status")
	f.each("", "role", "get", "root", "--user=root:toor")
	for _, command := range []string{"get a", "endpoint health", "role get root", "--user=root:toor user get root", "--user=root:toor auth status", "--user=root:toor user list", "--user=root:bad get a", "--user=root --password=toor endpoint status", "--user=user0:new get a", "--user=user0:new put a b", "--user=user0:new endpoint health"} {
		f.run("", strings.Fields(command)...)
	}
	f.run("", "--user=root:toor", "auth", "disable")
	f.run("", "auth", "disable")
}
