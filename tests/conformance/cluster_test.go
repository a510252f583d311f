package conformance

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// cluster is several members that know each other.
type cluster struct {
	t       testing.TB
	members []*member
}

// Few entries between snapshots, so that a member that was away needs one; and data is compared all
// the time.
var clusterFlags = []string{
	"--snapshot-count=300", "--snapshot-catchup-entries=50",
	"--corrupt-check-time=1s", "--compact-hash-check-time=1s",
	"--feature-gates=InitialCorruptCheck=true,CompactHashCheck=true",
}

// newCluster starts one member of each kind as a new cluster.
func newCluster(t testing.TB, kinds ...kind) *cluster {
	t.Helper()
	return newClusterOver(t, "http", func(*member, int) {}, kinds...)
}

// newClusterOver sets members up before they start; the scheme is that of clients and peers.
func newClusterOver(t testing.TB, scheme string, setUp func(m *member, i int), kinds ...kind) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var initial []string
	for i, k := range kinds {
		m := &member{
			t:       t,
			kind:    k,
			dataDir: t.TempDir(),
			client:  fmt.Sprintf("%s://127.0.0.1:%d", scheme, freePort(t)),
			peer:    fmt.Sprintf("%s://127.0.0.1:%d", scheme, freePort(t)),
		}
		setUp(m, i)
		c.members = append(c.members, m)
		initial = append(initial, fmt.Sprintf("m%d=%s", i, m.peer))
	}
	for i := range c.members {
		c.configure(i, strings.Join(initial, ","), "new")
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			if m.exited != nil {
				m.kill()
			}
			if t.Failed() && m.log != nil {
				t.Logf("%s %s complained:\n%s", m.kind, m.client, complaints(m.log.String()))
			}
		}
	})
	c.startAll()
	// While not one key is left, HashKV covers what a running compaction has not deleted yet, in
	// the reference as in ours, and members in the middle of one differ.
	if _, err := c.dial().Put(timeout(t), "anchor", "x"); err != nil {
		t.Fatal(err)
	}
	return c
}

// complaints returns the last lines of a log that are more than information.
func complaints(log string) string {
	var found []string
	for _, line := range strings.Split(log, "\n") {
		if strings.Contains(line, `"level":"warn"`) || strings.Contains(line, `"level":"error"`) || strings.Contains(line, "hash") {
			found = append(found, line)
		}
	}
	return strings.Join(found[max(0, len(found)-40):], "\n")
}

func (c *cluster) configure(i int, initial, state string) {
	m := c.members[i]
	m.flags = append([]string{
		fmt.Sprintf("--name=m%d", i),
		"--initial-advertise-peer-urls=" + m.peer,
		"--initial-cluster=" + initial,
		"--initial-cluster-state=" + state,
		"--initial-cluster-token=conformance",
	}, clusterFlags...)
}

func (c *cluster) startAll() {
	c.t.Helper()
	errs := make(chan error, len(c.members))
	for _, m := range c.members {
		go func() { errs <- m.tryStart() }()
	}
	for range c.members {
		if err := <-errs; err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cluster) dial(members ...*member) *clientv3.Client {
	c.t.Helper()
	if len(members) == 0 {
		members = c.members
	}
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.client)
	}
	cl, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 10 * time.Second, Logger: zap.NewNop(), TLS: members[0].tls})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

func (c *cluster) status(m *member) *clientv3.StatusResponse {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cl := m.dial()
	defer cl.Close()
	s, err := cl.Status(ctx, strings.TrimPrefix(m.client, "http://"))
	if err != nil {
		return nil
	}
	return s
}

// leader waits for the members to agree on one.
func (c *cluster) leader(members ...*member) *member {
	c.t.Helper()
	if len(members) == 0 {
		members = c.members
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var leader *member
		agree := true
		var first uint64
		for i, m := range members {
			s := c.status(m)
			if s == nil || s.Leader == 0 || (i > 0 && s.Leader != first) {
				agree = false
				break
			}
			first = s.Leader
			if s.Leader == s.Header.MemberId {
				leader = m
			}
		}
		if agree && leader != nil {
			return leader
		}
	}
	c.t.Fatal("no leader within 20 s")
	return nil
}

func (c *cluster) moveLeader(to *member) {
	c.t.Helper()
	from := c.leader()
	if from == to {
		return
	}
	if _, err := from.dial().MoveLeader(timeout(c.t), c.status(to).Header.MemberId); err != nil {
		c.t.Fatalf("move leader to %s: %v", to.kind, err)
	}
	if c.leader() != to {
		c.t.Fatalf("leadership did not go to %s", to.kind)
	}
}

// agree waits until all members stand at the same revision, and compares their hashes.
func (c *cluster) agree(members ...*member) {
	c.t.Helper()
	if len(members) == 0 {
		members = c.members
	}
	r, err := c.dial(members...).Get(timeout(c.t), "agree")
	if err != nil {
		c.t.Fatal(err)
	}
	revision := r.Header.Revision
	for _, m := range members {
		// A linearizable read of its own brings a member up to date.
		if _, err := m.dial().Get(timeout(c.t), "agree"); err != nil {
			c.t.Fatalf("%s: %v\n%s", m.kind, err, m.log)
		}
	}
	if alarms, err := members[0].dial().AlarmList(timeout(c.t)); err != nil || len(alarms.Alarms) > 0 {
		c.t.Fatalf("alarms: %v %v", alarms, err)
	}
	want := members[0].hashKV(revision)
	for _, m := range members[1:] {
		if got := m.hashKV(revision); got != want {
			c.t.Fatalf("%s has %s, %s has %s", m.kind, got, members[0].kind, want)
		}
	}
}

// load writes numbered keys until it is stopped, and remembers which were acknowledged.
type clusterLoad struct {
	stop         context.CancelFunc
	wg           sync.WaitGroup
	acknowledged [4]int64
	latest       atomic.Int64
}

func (c *cluster) startLoad(prefix string) *clusterLoad {
	ctx, cancel := context.WithCancel(context.Background())
	l := &clusterLoad{stop: cancel}
	for w := range l.acknowledged {
		cl := c.dial()
		l.wg.Add(1)
		go func() {
			defer l.wg.Done()
			for n := int64(1); ctx.Err() == nil; {
				one, done := context.WithTimeout(ctx, 2*time.Second)
				_, err := cl.Put(one, fmt.Sprintf("%s/%d/%06d", prefix, w, n), fmt.Sprint(n))
				done()
				if err != nil {
					// It may have happened or not: the same key again is no harm.
					time.Sleep(10 * time.Millisecond)
					continue
				}
				l.acknowledged[w] = n
				l.latest.Store(time.Now().UnixNano())
				n++
				time.Sleep(time.Millisecond)
			}
		}()
	}
	return l
}

// check stops the load and finds everything that was acknowledged.
func (l *clusterLoad) check(c *cluster, prefix string) {
	c.t.Helper()
	l.stop()
	l.wg.Wait()
	var sum int64
	for w, n := range l.acknowledged {
		sum += n
		r, err := c.dial().Get(timeout(c.t), fmt.Sprintf("%s/%d/", prefix, w), clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			c.t.Fatal(err)
		}
		for i := int64(0); i < n; i++ {
			if int(i) >= len(r.Kvs) || string(r.Kvs[i].Key) != fmt.Sprintf("%s/%d/%06d", prefix, w, i+1) {
				c.t.Fatalf("writer %d: %d acknowledged, number %d is lost", w, n, i+1)
			}
		}
	}
	if sum == 0 {
		c.t.Fatal("the load wrote nothing")
	}
	c.t.Logf("%d writes acknowledged, none lost", sum)
}

func TestClusterKillLeader(t *testing.T) {
	c := newCluster(t, ours, ours, ours)
	l := c.startLoad("load")
	for round := 0; round < 3; round++ {
		time.Sleep(time.Second)
		leader := c.leader()
		leader.kill()
		killed := time.Now()
		for l.latest.Load() < killed.Add(50*time.Millisecond).UnixNano() {
			if time.Since(killed) > 15*time.Second {
				t.Fatal("writes did not resume")
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Logf("writes resumed after %v", time.Since(killed))
		leader.start()
	}
	l.check(c, "load")
	c.agree()
}

// No quorum: a clear error; a member comes back: it goes on.
func TestClusterWithoutQuorum(t *testing.T) {
	c := newCluster(t, ours, ours, ours)
	c.leader()
	c.members[0].kill()
	c.members[1].kill()
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Second)
	defer cancel()
	cl := c.members[2].dial()
	if _, err := cl.Put(ctx, "k", "v"); err == nil {
		t.Fatal("a write was acknowledged without a quorum")
	} else {
		t.Logf("without a quorum: %v", err)
	}
	withLeader := clientv3.WithRequireLeader(timeout(t))
	if _, err := cl.Get(withLeader, "k", clientv3.WithSerializable()); err != rpctypes.ErrNoLeader {
		t.Fatalf("a read that requires a leader: %v", err)
	}
	if _, err := cl.Get(timeout(t), "k", clientv3.WithSerializable()); err != nil {
		t.Fatalf("a serializable read: %v", err)
	}
	c.members[0].start()
	if _, err := c.dial(c.members[0], c.members[2]).Put(timeout(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	c.members[1].start()
	c.agree()
}

func TestClusterMixed(t *testing.T) {
	for _, kinds := range [][]kind{{ours, reference, reference}, {ours, ours, reference}} {
		t.Run(fmt.Sprintf("%v", kinds), func(t *testing.T) {
			c := newCluster(t, kinds...)
			for i, m := range c.members {
				c.moveLeader(m)
				c.exercise(fmt.Sprintf("round%d", i))
			}
			c.agree()
			// A database goes from ours to the reference, and back.
			for _, way := range []struct{ leader, lagging *member }{
				{c.members[0], c.members[2]},
				{c.members[2], c.members[0]},
			} {
				c.moveLeader(way.leader)
				way.lagging.stop()
				cl := c.dial(way.leader)
				for i := 0; i < 500; i++ {
					if _, err := cl.Put(timeout(t), fmt.Sprintf("behind/%d", i), "x"); err != nil {
						t.Fatal(err)
					}
				}
				way.lagging.start()
				c.agree()
				if !strings.Contains(way.lagging.log.String(), "applying snapshot") {
					t.Fatalf("%s caught up without a snapshot", way.lagging.kind)
				}
			}
		})
	}
}

// exercise has every member take every kind of request, and every other see what came of it.
func (c *cluster) exercise(prefix string) {
	t := c.t
	t.Helper()
	for i, m := range c.members {
		key := fmt.Sprintf("%s/%d", prefix, i)
		cl := m.dial()
		var watches []clientv3.WatchChan
		for _, other := range c.members {
			watches = append(watches, other.dial().Watch(timeout(t), key, clientv3.WithCreatedNotify()))
		}
		for _, w := range watches {
			if r := <-w; !r.Created {
				t.Fatalf("watch: %v", r.Err())
			}
		}
		lease, err := cl.Grant(timeout(t), 100)
		if err != nil {
			t.Fatalf("%s grant: %v", m.kind, err)
		}
		if _, err := cl.Put(timeout(t), key, "1", clientv3.WithLease(lease.ID)); err != nil {
			t.Fatalf("%s put: %v", m.kind, err)
		}
		txn, err := cl.Txn(timeout(t)).
			If(clientv3.Compare(clientv3.Value(key), "=", "1")).
			Then(clientv3.OpPut(key, "2", clientv3.WithIgnoreLease()), clientv3.OpGet(key)).Commit()
		if err != nil || !txn.Succeeded {
			t.Fatalf("%s txn: %v %v", m.kind, txn, err)
		}
		for j, other := range c.members {
			o := other.dial()
			r, err := o.Get(timeout(t), key)
			if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "2" {
				t.Fatalf("%s reads %v %v after %s wrote", other.kind, r, err, m.kind)
			}
			if _, err := o.KeepAliveOnce(timeout(t), lease.ID); err != nil {
				t.Fatalf("%s keep-alive: %v", other.kind, err)
			}
			ttl, err := o.TimeToLive(timeout(t), lease.ID)
			if err != nil || ttl.GrantedTTL != 100 || ttl.TTL < 90 {
				t.Fatalf("%s time to live: %v %v", other.kind, ttl, err)
			}
			for n := 0; n < 2; {
				w := <-watches[j]
				if w.Err() != nil {
					t.Fatalf("%s watch: %v", other.kind, w.Err())
				}
				n += len(w.Events)
			}
		}
		if _, err := cl.Revoke(timeout(t), lease.ID); err != nil {
			t.Fatalf("%s revoke: %v", m.kind, err)
		}
		r, err := cl.Get(timeout(t), key)
		if err != nil || len(r.Kvs) != 0 {
			t.Fatalf("%s: the lease is gone, its key is not: %v %v", m.kind, r, err)
		}
		if _, err := cl.Compact(timeout(t), r.Header.Revision-1); err != nil {
			t.Fatalf("%s compact: %v", m.kind, err)
		}
	}
}

// All members go from the reference to ours and back, one after another, under load.
func TestClusterRollingSwap(t *testing.T) {
	c := newCluster(t, reference, reference, reference)
	l := c.startLoad("swap")
	for _, k := range []kind{ours, reference} {
		for _, m := range c.members {
			m.swap(k)
			c.leader()
		}
	}
	l.check(c, "swap")
	c.agree()
}

// A member lost its data: it is removed, added as a learner, promoted; also with the other program.
func TestClusterReplaceMember(t *testing.T) {
	c := newCluster(t, ours, reference, ours)
	cl := c.dial()
	for i := 0; i < 400; i++ {
		if _, err := cl.Put(timeout(t), fmt.Sprintf("key/%d", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	for _, replacement := range []struct {
		position int
		kind     kind
	}{{2, ours}, {1, ours}, {0, reference}} {
		i := replacement.position
		m := c.members[i]
		id := c.status(m).Header.MemberId
		m.kill()
		var rest []*member
		var initial []string
		for j, other := range c.members {
			initial = append(initial, fmt.Sprintf("m%d=%s", j, other.peer))
			if other != m {
				rest = append(rest, other)
			}
		}
		c.leader(rest...)
		// Members count as connected after five seconds.
		time.Sleep(5500 * time.Millisecond)
		others := c.dial(rest...)
		if _, err := others.MemberRemove(timeout(t), id); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(m.dataDir); err != nil {
			t.Fatal(err)
		}
		m.kind = replacement.kind
		added, err := others.MemberAddAsLearner(timeout(t), []string{m.peer})
		if err != nil {
			t.Fatal(err)
		}
		c.configure(i, strings.Join(initial, ","), "existing")
		m.start()
		if s := c.status(m); s == nil || !s.IsLearner {
			t.Fatalf("%s is no learner: %v", m.kind, s)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			_, err := others.MemberPromote(timeout(t), added.Member.ID)
			if err == nil {
				break
			}
			if err != rpctypes.ErrMemberLearnerNotReady || time.Now().After(deadline) {
				t.Fatalf("promote %s: %v", m.kind, err)
			}
		}
		c.leader()
		c.agree()
	}
}
