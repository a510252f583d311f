package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Our etcdutl and the reference's on the same files: equal output, equal directories, and either
// server starts on what either made.

type commandResult struct {
	stdout string
	stderr string
	code   int
}

func utility(t testing.TB, k kind, args ...string) commandResult {
	t.Helper()
	command := []string{program(t, "etcdutl")}
	if k == ours {
		path, err := filepath.Abs("../../bin/etcdutl")
		must(t, err)
		command = []string{"node", path}
	}
	c := exec.Command(command[0], append(command[1:], args...)...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
		t.Fatal(err)
	}
	return commandResult{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
}

var errorLine = regexp.MustCompile(`(?m)^Error: .*$`)

// essence leaves out logs and usage, which are in each program's own words.
func (o commandResult) essence() string {
	return fmt.Sprintf("%d\n%s%s", o.code, o.stdout, errorLine.FindString(o.stderr))
}

// snapshotOf saves a snapshot of a server with a history; leases stop the reference's hashkv.
func snapshotOf(t *testing.T, k kind, withLeases bool) (file string, m *member) {
	t.Helper()
	m = newMember(t, k, t.TempDir())
	if withLeases {
		populate(t, m)
	} else {
		c := m.dial()
		for i := 0; i < 150; i++ {
			_, err := c.Put(timeout(t), fmt.Sprintf("k%02d", i%40), strings.Repeat("v", i*7))
			must(t, err)
		}
		_, err := c.Delete(timeout(t), "k1", clientv3.WithPrefix())
		must(t, err)
		_, err = c.Compact(timeout(t), 90, clientv3.WithCompactPhysical())
		must(t, err)
		_, err = c.Put(timeout(t), "k11", "back")
		must(t, err)
	}
	file = filepath.Join(t.TempDir(), "snapshot.db")
	run(t, program(t, "etcdctl"), "--endpoints="+m.client, "snapshot", "save", file)
	return file, m
}

// copyOf protects a file from the reference's hashkv, which writes to what it reads.
func copyOf(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	to := filepath.Join(t.TempDir(), filepath.Base(file))
	must(t, os.WriteFile(to, b, 0o600))
	return to
}

func TestUtilityPrintsTheSame(t *testing.T) {
	for _, k := range []kind{ours, reference} {
		file, m := snapshotOf(t, k, false)
		leased, _ := snapshotOf(t, k, true)
		m.stop()
		text := filepath.Join(t.TempDir(), "text")
		must(t, os.WriteFile(text, []byte("hello"), 0o600))
		lines := [][]string{
			{"version"}, {"version", "-w", "json"}, {"versi"},
			{"bogus"}, {"snapshot", "status"}, {"snapshot", "status", "a", "b"},
			{"snapshot", "status", "/none"}, {"snapshot", "status", "--bogus", "x"},
			{"hashkv"}, {"hashkv", "/none"}, {"hashkv", "a", "b"},
			{"completion"}, {"completion", "foo"}, {"defrag"}, {"defrag", "--data-dir", "/none"},
			{"migrate"}, {"migrate", "--data-dir", "x"},
			{"migrate", "--data-dir", "/none", "--target-version", "3.4"},
			{"migrate", "--data-dir", "/none", "--target-version", "3"},
			{"migrate", "--data-dir", "/none", "--target-version", "a.b"},
			{"migrate", "--data-dir", "/none", "--target-version", "3.5"},
			{"migrate", "--data-dir", m.dataDir, "--target-version", "3.7"},
			{"migrate", "--data-dir", m.dataDir, "--target-version", "4.0"},
			{"migrate", "--data-dir", m.dataDir, "--target-version", "3.6"},
			{"snapshot", "restore"}, {"snapshot", "restore", "x", "--bump-revision", "3"},
			{"snapshot", "restore", "x", "--mark-compacted"},
			{"snapshot", "restore", "x", "--bump-revision=-3"},
			{"snapshot", "restore", "--data-dir"}, {"-w"},
			{"snapshot", "restore", "/none", "--data-dir", filepath.Join(t.TempDir(), "a")},
			{"snapshot", "restore", file, "--name", "foo"},
			{"snapshot", "restore", file, "--initial-cluster", "default=ftp://a"},
			{"snapshot", "restore", file, "--data-dir", m.dataDir},
			{"snapshot", "restore", file, "--data-dir", filepath.Join(t.TempDir(), "a"), "--wal-dir", m.dataDir},
		}
		for _, format := range []string{"simple", "fields", "json", "table", "protobuf", "bogus"} {
			lines = append(lines,
				[]string{"snapshot", "status", file, "-w", format},
				[]string{"-w" + format, "snap", "status", leased},
				[]string{"hashkv", "FILE", "--write-out=" + format})
		}
		for _, revision := range []string{"-5", "1", "89", "90", "91", "150", "151", "152", "100000"} {
			lines = append(lines, []string{"hashkv", "FILE", "--rev", revision})
		}
		for _, line := range lines {
			var got [2]string
			for i, u := range []kind{reference, ours} {
				args := append([]string(nil), line...)
				for j := range args {
					if args[j] == "FILE" {
						args[j] = copyOf(t, file)
					}
				}
				got[i] = utility(t, u, args...).essence()
			}
			if got[0] != got[1] {
				t.Errorf("etcdutl %q\nreference %s\nours      %s", line, got[0], got[1])
			}
		}
	}
}

// databaseContents is what bbolt's own hash of all buckets says, by the reference.
func databaseContents(t *testing.T, path string) string {
	t.Helper()
	return utility(t, reference, "snapshot", "status", path, "-w", "fields").stdout
}

func TestRestoredDirectoriesAreEqual(t *testing.T) {
	for _, k := range []kind{ours, reference} {
		file, m := snapshotOf(t, k, true)
		m.stop()
		for name, flags := range map[string][]string{
			"one":    nil,
			"bumped": {"--bump-revision", "1000", "--mark-compacted"},
			"three": {"--name", "m2", "--initial-cluster", "m1=http://a:1,m2=http://b:2,m3=http://c:3",
				"--initial-advertise-peer-urls", "http://b:2", "--initial-cluster-token", "tok"},
			"two URLs": {"--initial-cluster", "default=http://b:2,default=http://a:1",
				"--initial-advertise-peer-urls", "http://a:1,http://b:2"},
		} {
			t.Run(fmt.Sprint(k, " ", name), func(t *testing.T) {
				dirs := map[kind]string{}
				for _, u := range []kind{ours, reference} {
					dirs[u] = filepath.Join(t.TempDir(), "data")
					o := utility(t, u, append([]string{"snapshot", "restore", file, "--data-dir", dirs[u]}, flags...)...)
					if o.code != 0 {
						t.Fatalf("%s: %s", u, o.stderr)
					}
				}
				wal := "member/wal/0000000000000000-0000000000000000.wal"
				a, err := os.ReadFile(filepath.Join(dirs[ours], wal))
				must(t, err)
				b, err := os.ReadFile(filepath.Join(dirs[reference], wal))
				must(t, err)
				// Member and cluster ids, members, and raft's state are all in the log.
				if !bytes.Equal(a, b) {
					t.Error("the logs differ")
				}
				db := "member/snap/db"
				if x, y := databaseContents(t, filepath.Join(dirs[ours], db)), databaseContents(t, filepath.Join(dirs[reference], db)); x != y {
					t.Errorf("the databases differ\nours %s\nreference %s", x, y)
				}
				checkDatabase(t, dirs[ours])
				for _, dir := range dirs {
					if o := utility(t, ours, "verify", dir); o.code != 0 {
						t.Errorf("verify: %s%s", o.stdout, o.stderr)
					}
				}
			})
		}
	}
}

// disarm lowers the alarm populate raised, which refuses writes.
func disarm(t *testing.T, m *member) {
	t.Helper()
	_, err := m.dial().AlarmDisarm(timeout(t), &clientv3.AlarmMember{MemberID: 77, Alarm: pb.AlarmType_NOSPACE})
	must(t, err)
}

func TestServersStartOnWhatIsRestored(t *testing.T) {
	for _, from := range []kind{ours, reference} {
		file, m := snapshotOf(t, from, true)
		want := dataOnly(contents(t, m))
		m.stop()
		for _, server := range []kind{ours, reference} {
			dir := filepath.Join(t.TempDir(), "data")
			if o := utility(t, ours, "snapshot", "restore", file, "--data-dir", dir, "--wal-dir", dir+".wal"); o.code != 0 {
				t.Fatal(o.stderr)
			}
			restored := newMember(t, server, dir, "--wal-dir="+dir+".wal")
			if got := dataOnly(contents(t, restored)); got != want {
				t.Errorf("%s on a snapshot of %s\nwant %s\ngot  %s", server, from, firstDifference(want, got), firstDifference(got, want))
			}
			disarm(t, restored)
			_, err := restored.dial().Put(timeout(t), "more", "x")
			must(t, err)
			restored.stop()
			if o := utility(t, ours, "verify", dir, "--wal-dir", dir+".wal"); o.code != 0 {
				t.Errorf("verify after %s: %s%s", server, o.stdout, o.stderr)
			}
		}
		// A raised revision: nothing below it can be read, the next write is above it.
		for _, server := range []kind{ours, reference} {
			dir := filepath.Join(t.TempDir(), "data")
			if o := utility(t, ours, "snapshot", "restore", file, "--data-dir", dir, "--bump-revision", "5000", "--mark-compacted"); o.code != 0 {
				t.Fatal(o.stderr)
			}
			restored := newMember(t, server, dir)
			disarm(t, restored)
			r, err := restored.dial().Put(timeout(t), "more", "x")
			must(t, err)
			if r.Header.Revision < 5000 {
				t.Errorf("%s goes on at %d", server, r.Header.Revision)
			}
			if _, err = restored.dial().Get(timeout(t), "after", clientv3.WithRev(300)); err == nil {
				t.Errorf("%s reads below the raised revision", server)
			}
			restored.stop()
		}
	}
}

func TestDefragmentAndMigrate(t *testing.T) {
	for _, k := range []kind{ours, reference} {
		m := newMember(t, k, t.TempDir())
		populate(t, m)
		want := contents(t, m)
		m.stop()
		db := filepath.Join(m.dataDir, "member", "snap", "db")
		// Of the two only ours hashes a file with leases.
		before := utility(t, ours, "hashkv", db).stdout
		if o := utility(t, ours, "defrag", "--data-dir", m.dataDir); o.code != 0 || o.stdout != "" {
			t.Fatalf("defrag: %d %s%s", o.code, o.stdout, o.stderr)
		}
		checkDatabase(t, m.dataDir)
		if after := utility(t, ours, "hashkv", db).stdout; after != before || before == "" {
			t.Errorf("defrag changed %s into %s", before, after)
		}
		for _, step := range [][2]kind{{ours, reference}, {reference, ours}} {
			for i, version := range []string{"3.5", "3.6"} {
				if o := utility(t, step[i], "migrate", "--data-dir", m.dataDir, "--target-version", version); o.code != 0 {
					t.Fatalf("migrate %s by %s: %s", version, step[i], o.stderr)
				}
				status := utility(t, reference, "snapshot", "status", db, "-w", "json").stdout
				var fields struct{ Version string }
				must(t, json.Unmarshal([]byte(status), &fields))
				if stored := map[string]string{"3.5": "", "3.6": "3.6.0"}[version]; fields.Version != stored {
					t.Errorf("after migrate %s by %s: %s", version, step[i], status)
				}
			}
		}
		for _, server := range []kind{ours, reference} {
			m.swap(server)
			if got := contents(t, m); got != want {
				t.Errorf("%s after it\nwant %s\ngot  %s", server, firstDifference(want, got), firstDifference(got, want))
			}
			m.stop()
		}
	}
}

func TestUtilityOnBadFiles(t *testing.T) {
	file, m := snapshotOf(t, ours, true)
	defer m.stop()
	whole, err := os.ReadFile(file)
	must(t, err)
	bad := map[string][]byte{
		"empty":     {},
		"short":     whole[:100],
		"no hash":   whole[:len(whole)-32],
		"truncated": whole[:len(whole)/2],
		"foreign":   bytes.Repeat([]byte("text "), 5000),
	}
	flipped := append([]byte(nil), whole...)
	flipped[len(flipped)/2] ^= 4
	bad["flipped"] = flipped
	for name, content := range bad {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.db")
			must(t, os.WriteFile(path, content, 0o600))
			dir := filepath.Join(t.TempDir(), "data")
			o := utility(t, ours, "snapshot", "restore", path, "--data-dir", dir)
			if o.code != 1 || !errorLine.MatchString(o.stderr) {
				t.Errorf("restore: %d %s", o.code, o.stderr)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("restore left %s (%v)", dir, err)
			}
			o = utility(t, ours, "verify", path)
			if wants := map[bool]int{true: 0, false: 1}[name == "no hash"]; o.code != wants {
				t.Errorf("verify: %d %s%s", o.code, o.stdout, o.stderr)
			}
		})
	}
	t.Run("in use", func(t *testing.T) {
		o := utility(t, ours, "verify", m.dataDir)
		if o.code != 1 || !strings.Contains(o.stderr, "in use by another process") {
			t.Errorf("verify: %d %s%s", o.code, o.stdout, o.stderr)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		path, err := filepath.Abs("../../bin/etcdutl")
		must(t, err)
		c := exec.Command("node", path, "defrag", "--data-dir", m.dataDir)
		var stderr syncBuffer
		c.Stderr = &stderr
		must(t, c.Start())
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(stderr.String(), "waiting for etcd to close"); {
			if time.Now().After(deadline) {
				_ = c.Process.Kill()
				t.Fatalf("no word of waiting: %s", stderr.String())
			}
			time.Sleep(50 * time.Millisecond)
		}
		must(t, c.Process.Signal(os.Interrupt))
		_ = c.Wait()
		if c.ProcessState.ExitCode() != 5 {
			t.Errorf("exit %d: %s", c.ProcessState.ExitCode(), stderr.String())
		}
	})
}
