package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Our etcdctl and the reference's type the same commands, each at a fresh reference member, and
// must print the same.

func oursCtl(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/etcdctl")
	must(t, err)
	_, err = os.Stat("../../cmd/etcdctl/dist/etcdctl.cjs")
	must(t, err)
	return path
}

func TestOurEtcdctl(t *testing.T) {
	sameOutput(t, (*ctl).everything)
}

func TestOurEtcdctlMistakes(t *testing.T) {
	sameOutput(t, (*ctl).mistakes)
}

func TestOurEtcdctlAuth(t *testing.T) {
	sameOutput(t, (*ctl).auth)
}

func sameOutput(t *testing.T, commands func(*ctl)) {
	var texts [2]string
	for i, path := range []string{program(t, "etcdctl"), oursCtl(t)} {
		c := &ctl{t: t, version: "3.6", path: path, m: newMember(t, reference, t.TempDir()), patience: 3 * time.Second}
		c.m.settle("127.0.0.1")
		commands(c)
		texts[i] = c.text.String()
		c.m.stop()
	}
	if texts[0] != texts[1] {
		t.Fatalf("output differs\nreference's:\n%s\nours:\n%s", firstDifference(texts[0], texts[1]), firstDifference(texts[1], texts[0]))
	}
}

// What is refused, and with which exit code. Help texts are our own and not compared.
func (c *ctl) mistakes() {
	for _, command := range []string{
		"get", "get a b --prefix", "get a --prefix --from-key", "get a --keys-only --count-only", "get a --count-only", "get a --print-value-only -w json",
		"get a --order=x", "get a --sort-by=x", "get a --consistency=x", "get a --min-mod-rev=5 --max-mod-rev=3", "get a --cert=",
		"put", "put a b --lease=zz", "put a b --ignore-value", "del", "del a b c", "del a b --prefix", "txn x", "compaction", "compaction x",
		"lease grant", "lease grant x", "lease grant 99999999999999999999", "lease revoke", "lease revoke zz", "lease timetolive", "lease keep-alive", "lease keep-alive --once 123",
		"member add", "member add x", "member add x http://y", "member add x --peer-urls=bogus", "member remove", "member remove zz", "member remove 123", "member update 1", "member promote 1",
		"move-leader", "move-leader zz", "alarm list x", "alarm disarm x", "snapshot save", "snapshot save /nonexistent/x", "make-mirror", "downgrade enable", "downgrade validate 3.4", "downgrade validate x", "downgrade cancel",
		"lock", "elect", "elect a", "elect a b -l", "elect a b c", "watch", "watch a --", "watch a b --prefix", "bogus", "gte", "m l",
		"auth enable x", "auth enable", "user add", "user delete none", "user get none", "role get none", "role grant-permission a b", "role grant-permission a bogus k", "role revoke-permission a",
	} {
		c.run("", strings.Fields(command)...)
	}
	for _, lines := range []string{"", "foo(\"a\") = \"1\"\n", "mod(\"a\") = \"x\"\n", "mod(a) = '1'\n", "mod(\"a\")= \"1\"\n", "\nget\n", "\nfoo a\n"} {
		c.run(lines, "txn")
	}
	c.run("", "lock", "n", "sh", "--", "-c", "exit 7")
	c.run("", "lock", "n", "/nonexistent")
}

// Users and roles, up to the point where every command needs a user.
func (c *ctl) auth() {
	for _, command := range []string{
		"auth status", "role add app", "role add app", "role grant-permission app readwrite a/ --prefix", "role grant-permission app read k", "role grant-permission app write b c",
		"role grant-permission app read z --from-key", "role get app", "role get app -w json", "role get app -w fields", "role revoke-permission app k", "role revoke-permission app b c", "role revoke-permission app z --from-key",
		"role list", "role list -w fields", "role list -w json", "user add alice:secret", "user add bob --no-password", "user add carol --new-user-password=x", "user add root:toor",
		"user grant-role alice app", "user grant-role alice none", "user get alice", "user get alice --detail", "user get alice -w json", "user get alice -w fields", "user list", "user list -w json",
		"user revoke-role alice app", "user grant-role alice app", "user delete carol", "auth enable", "auth status", "get a/1", "--user=alice:secret put a/1 x", "--user=alice:secret get a/1", "--user=alice:secret get b",
		"--user=alice:wrong get a/1", "--user=root:toor user list", "--user=root --password=toor role get root", "--user=alice:secret endpoint health", "--user=root:toor auth disable", "role delete app", "auth status -w json",
	} {
		c.run("", strings.Fields(command)...)
	}
	c.run("new", "user", "passwd", "alice", "--interactive=false")
	c.run("\n", "user", "add", "dave", "--interactive=false", "-w", "json")
}

// A command line that cannot be read: the same reason and the same exit code; the usage that follows
// is our own. Variables are taken, refused and shown alike.
func TestOurEtcdctlCommandLines(t *testing.T) {
	m := newMember(t, reference, t.TempDir())
	at := "ETCDCTL_ENDPOINTS=" + m.client
	for _, c := range []struct {
		words       string
		environment []string
	}{
		{"get --bogus", nil}, {"get -z", nil}, {"get -wz -q", nil}, {"get a --limit", nil}, {"get a --limit=x", nil}, {"get a --limit=9223372036854775808", nil}, {"get a --prefix=maybe", nil},
		{"--endpoints", nil}, {"get a --command-timeout=1", nil}, {"get a --command-timeout=x", nil}, {"make-mirror x --max-txn-ops=-1", nil}, {"--=x get a", nil}, {"get a ---x", nil},
		{"help bogus", nil}, {"help bogus x", nil}, {"help member bogus", nil}, {"member", nil}, {"member bogus", nil}, {"check bogus", nil}, {"get -h --bogus", nil}, {"-w", nil}, {"snapshot status x", nil},
		{"bogus", nil}, {"gett", nil}, {"completion", nil}, {"completion foo", nil}, {"completion bash zsh", nil}, {"check perf --load", nil}, {"check perf --load=x", nil},
		{"version", []string{"ETCDCTL_BOGUS=1"}}, {"versio", nil},
		{"put env 1", []string{at}}, {"get env", []string{at, "ETCDCTL_WRITE_OUT=fields"}}, {"get env", []string{at, "ETCDCTL_HEX=true"}}, {"get env", []string{at, "ETCDCTL_API=3"}},
		{"get env", []string{at, "ETCDCTL_WRITE_OUT=bogus"}}, {"get env --hex", []string{at, "ETCDCTL_HEX=true"}}, {"get env -w json", []string{at, "ETCDCTL_WRITE_OUT=json"}},
		{"get env --debug", []string{at}}, {"get env", []string{at, "ETCDCTL_DEBUG=true", "ETCDCTL_DIAL_TIMEOUT=3s", "ETCDCTL_USER=a:secret"}},
		{"get env --cert=", []string{at}}, {"get env --cacert=", []string{at}}, {"get env --key=", []string{at}}, {"get env --cert=/none", []string{at}}, {"get env --cacert=/none", []string{at}},
		{"get env --endpoints=", nil},
	} {
		var told [2]string
		for i, path := range []string{program(t, "etcdctl"), oursCtl(t)} {
			cmd := exec.Command(path, strings.Fields(c.words)...)
			cmd.Env = append(os.Environ(), c.environment...)
			var out, errOut strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &errOut
			_ = cmd.Run()
			if !strings.Contains(out.String(), "USAGE:") {
				told[i] = revisions.ReplaceAllString(out.String(), "N")
			}
			for _, line := range strings.Split(errOut.String(), "\n") {
				if strings.HasPrefix(line, "Error:") || strings.HasPrefix(line, "Unknown help") || strings.HasPrefix(line, "ETCDCTL_") || strings.HasPrefix(line, "\t") {
					told[i] += line + "\n"
				}
				if m := logMessage.FindString(line); m != "" {
					told[i] += m + "\n"
				}
			}
			told[i] += cmd.ProcessState.String()
			if path != program(t, "etcdctl") && strings.Contains(out.String()+errOut.String(), "secret") {
				t.Errorf("%v etcdctl %s tells the password", c.environment, c.words)
			}
			told[i] = strings.NewReplacer("a:secret", "a:***").Replace(told[i])
		}
		if told[0] != told[1] {
			t.Errorf("%v etcdctl %s\nreference's:\n%s\nours:\n%s", c.environment, c.words, told[0], told[1])
		}
	}
}

var (
	revisions = regexp.MustCompile(`\b\d{18,20}\b`)
	// What both say of variables.
	logMessage = regexp.MustCompile(`"msg":"(unrecognized environment variable|conflicting environment variable[^"]*)"`)
)
