package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Files go both ways: each program starts on what the other wrote, and the reference's tools
// accept our database and our snapshots.

// populate writes a bit of everything that is stored.
func populate(t *testing.T, m *member) {
	t.Helper()
	ctx, c := timeout(t), m.dial()
	lease, err := c.Grant(ctx, 5000)
	must(t, err)
	for i := 0; i < 200; i++ {
		_, err := c.Put(ctx, fmt.Sprintf("key/%03d", i%50), strings.Repeat("v", i))
		must(t, err)
	}
	for i := 0; i < 5; i++ {
		_, err := c.Put(ctx, fmt.Sprintf("leased/%d", i), "x", clientv3.WithLease(lease.ID))
		must(t, err)
	}
	_, err = c.Delete(ctx, "key/01", clientv3.WithPrefix())
	must(t, err)
	_, err = c.Txn(ctx).Then(clientv3.OpPut("t1", "a"), clientv3.OpPut("t2", "b")).Commit()
	must(t, err)
	_, err = c.Compact(ctx, 120, clientv3.WithCompactPhysical())
	must(t, err)
	_, err = c.Put(ctx, "after", "compaction")
	must(t, err)
	_, err = pb.NewMaintenanceClient(c.ActiveConnection()).Alarm(ctx, &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, MemberID: 77, Alarm: pb.AlarmType_NOSPACE,
	})
	must(t, err)
}

// contents describes all that a client can see of the data.
func contents(t *testing.T, m *member) string {
	t.Helper()
	ctx, c := timeout(t), m.dial()
	var b strings.Builder
	all, err := c.Get(ctx, "\x00", clientv3.WithFromKey())
	must(t, err)
	fmt.Fprintf(&b, "revision=%d %s\n", all.Header.Revision, kvs(all.Kvs))
	old, err := c.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(130))
	must(t, err)
	fmt.Fprintf(&b, "old %s\n", kvs(old.Kvs))
	_, err = c.Get(ctx, "a", clientv3.WithRev(119))
	fmt.Fprintf(&b, "compacted %v\n", err)
	leases, err := c.Leases(ctx)
	must(t, err)
	for _, l := range leases.Leases {
		ttl, err := c.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		must(t, err)
		keys := make([]string, 0, len(ttl.Keys))
		for _, k := range ttl.Keys {
			keys = append(keys, string(k))
		}
		fmt.Fprintf(&b, "lease %d granted=%d keys=%q\n", l.ID, ttl.GrantedTTL, sorted(keys))
	}
	alarms, err := c.AlarmList(ctx)
	must(t, err)
	fmt.Fprintf(&b, "alarms %v\n", alarms.Alarms)
	members, err := c.MemberList(ctx)
	must(t, err)
	for _, x := range members.Members {
		fmt.Fprintf(&b, "member %x %s %q\n", x.ID, x.Name, x.PeerURLs)
	}
	fmt.Fprintf(&b, "cluster %x %s\n", members.Header.ClusterId, m.hashKV(0))
	return b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDataDirectoryBothWays(t *testing.T) {
	for _, route := range [][]kind{{ours, reference, ours}, {reference, ours, reference}} {
		t.Run(fmt.Sprint(route), func(t *testing.T) {
			m := newMember(t, route[0], t.TempDir(), "--snapshot-count=100")
			populate(t, m)
			want := contents(t, m)
			for _, next := range route[1:] {
				m.swap(next)
				if got := contents(t, m); got != want {
					t.Fatalf("%s sees other data\nwant %s\ngot  %s", next, firstDifference(want, got), firstDifference(got, want))
				}
				// It can be written on, too.
				c := m.dial()
				_, err := c.AlarmDisarm(timeout(t), &clientv3.AlarmMember{MemberID: 77, Alarm: pb.AlarmType_NOSPACE})
				must(t, err)
				for i := 0; i < 150; i++ {
					_, err = c.Put(timeout(t), "more", string(next)+fmt.Sprint(i))
					must(t, err)
				}
				want = contents(t, m)
			}
			// And once more, after a kill.
			m.kill()
			m.start()
			if got := contents(t, m); got != want {
				t.Fatalf("after a kill\nwant %s\ngot  %s", firstDifference(want, got), firstDifference(got, want))
			}
			m.stop()
			checkDatabase(t, m.dataDir)
		})
	}
}

// checkDatabase runs the public `bbolt check`.
func checkDatabase(t *testing.T, dataDir string) {
	t.Helper()
	out := run(t, program(t, "bbolt"), "check", filepath.Join(dataDir, "member", "snap", "db"))
	if !strings.Contains(out, "OK") {
		t.Fatalf("bbolt check: %s", out)
	}
}

func TestSnapshotRestoredByTheReference(t *testing.T) {
	m := newMember(t, ours, t.TempDir())
	populate(t, m)
	want := contents(t, m)
	file := filepath.Join(t.TempDir(), "snapshot.db")
	run(t, program(t, "etcdctl"), "--endpoints="+m.client, "snapshot", "save", file)
	status := run(t, program(t, "etcdutl"), "snapshot", "status", file, "-w", "json")
	if !strings.Contains(status, `"version":"3.6.0"`) {
		t.Fatalf("status: %s", status)
	}
	m.stop()
	for _, k := range []kind{reference, ours} {
		dir := filepath.Join(t.TempDir(), "restored")
		run(t, program(t, "etcdutl"), "snapshot", "restore", file, "--data-dir", dir)
		restored := newMember(t, k, dir)
		// A restored cluster is a new one: its members differ, its data does not.
		if a, b := dataOnly(want), dataOnly(contents(t, restored)); a != b {
			t.Fatalf("%s on the restored data\nwant %s\ngot  %s", k, firstDifference(a, b), firstDifference(b, a))
		}
		restored.stop()
		checkDatabase(t, dir)
	}
}

// The reference's etcdutl stops at a snapshot with leases, so this one has none.
func TestSnapshotHash(t *testing.T) {
	m := newMember(t, ours, t.TempDir())
	for i := 0; i < 100; i++ {
		run(t, program(t, "etcdctl"), "--endpoints="+m.client, "put", fmt.Sprint("k", i%30), fmt.Sprint(i))
	}
	run(t, program(t, "etcdctl"), "--endpoints="+m.client, "compaction", "40", "--physical")
	file := filepath.Join(t.TempDir(), "snapshot.db")
	run(t, program(t, "etcdctl"), "--endpoints="+m.client, "snapshot", "save", file)
	got := run(t, program(t, "etcdutl"), "hashkv", file, "-w", "json")
	want := fmt.Sprintf(`"hash":%s,`, strings.TrimPrefix(strings.Fields(m.hashKV(0))[0], "hash="))
	if !strings.Contains(got, want) {
		t.Fatalf("etcdutl hashkv %s, the server %s", got, m.hashKV(0))
	}
}

func dataOnly(text string) string {
	lines := strings.Split(text, "\n")
	var kept []string
	for _, l := range lines {
		if !strings.HasPrefix(l, "member ") && !strings.HasPrefix(l, "cluster ") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n")
}

// Random commits, many of them, with defragmentations between: the public tool finds no fault.
func TestBboltCheckAfterManyCommits(t *testing.T) {
	m := newMember(t, ours, t.TempDir(), "--backend-batch-interval=5ms", "--backend-batch-limit=20", "--unsafe-no-fsync")
	c := m.dial()
	commits := int(setting(t, "CONFORMANCE_COMMITS", 4000))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	s := &programState{random: newRandom(t), revision: 1, next: 1}
	kv := pb.NewKVClient(c.ActiveConnection())
	for i := 0; i < commits; i++ {
		switch s.random.Intn(10) {
		case 0:
			_, _ = kv.DeleteRange(ctx, s.deleteRequest())
		case 1:
			_, _ = kv.Txn(ctx, s.txn(1))
		default:
			key := fmt.Sprintf("k%05d", s.random.Intn(5000))
			_, err := c.Put(ctx, key, strings.Repeat("v", s.random.Intn(9000)/(1+s.random.Intn(20))))
			must(t, err)
		}
		if i%1000 == 500 {
			g, err := c.Get(ctx, "x")
			must(t, err)
			_, err = c.Compact(ctx, g.Header.Revision-100, clientv3.WithCompactPhysical())
			must(t, err)
			_, err = c.Defragment(ctx, strings.TrimPrefix(m.client, "http://"))
			must(t, err)
		}
		if i%1000 == 999 {
			m.kill()
			checkDatabase(t, m.dataDir)
			m.start()
		}
	}
	m.stop()
	checkDatabase(t, m.dataDir)
}

func TestDamagedFilesAreNamed(t *testing.T) {
	build := func(t *testing.T) *member {
		m := newMember(t, ours, t.TempDir())
		populate(t, m)
		m.stop()
		return m
	}
	damage := func(t *testing.T, pattern string, offset int64) string {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no file %s (%v)", pattern, err)
		}
		f, err := os.OpenFile(files[0], os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		b := make([]byte, 64)
		_, err = f.ReadAt(b, offset)
		must(t, err)
		for i := range b {
			b[i] ^= 0x5a
		}
		_, err = f.WriteAt(b, offset)
		must(t, err)
		return filepath.Base(files[0])
	}
	for name, where := range map[string]struct {
		pattern string
		offset  int64
	}{
		"wal record": {"member/wal/*.wal", 600},
		"both metas": {"member/snap/db", 16},
	} {
		t.Run(name, func(t *testing.T) {
			m := build(t)
			file := damage(t, filepath.Join(m.dataDir, where.pattern), where.offset)
			if name == "both metas" {
				damage(t, filepath.Join(m.dataDir, where.pattern), 4096+16)
			}
			err := m.tryStart()
			if err == nil {
				t.Fatal("it started on a damaged file")
			}
			if !strings.Contains(err.Error(), file) {
				t.Fatalf("the damaged file is not named: %v", err)
			}
			if code := m.process.ProcessState.ExitCode(); code <= 0 {
				t.Fatalf("exit code %d", code)
			}
		})
	}
}
