package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

// A program that uses each call of the official client writes down what it saw; against ours and
// against the reference it must write the same.

type transcript struct {
	t     *testing.T
	lines []string
}

func (tr *transcript) say(format string, args ...any) {
	tr.lines = append(tr.lines, fmt.Sprintf(format, args...))
}

// result writes down a response and its error, without ids and terms.
func (tr *transcript) result(name string, response any, err error) {
	tr.t.Helper()
	tr.say("%s: %s", name, outcome(response, err))
}

func kvs(kvs []*mvccpb.KeyValue) string {
	var b strings.Builder
	for _, kv := range kvs {
		fmt.Fprintf(&b, "[%q=%q create=%d mod=%d version=%d]", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version)
	}
	return b.String()
}

func both(t *testing.T, programme func(*testing.T, *transcript, *member, *clientv3.Client), flags ...string) {
	t.Helper()
	var texts [2]string
	for i, k := range []kind{reference, ours} {
		m := newMember(t, k, t.TempDir(), flags...)
		tr := &transcript{t: t}
		programme(t, tr, m, m.dial())
		texts[i] = strings.Join(tr.lines, "\n")
		m.stop()
	}
	if texts[0] != texts[1] {
		t.Fatalf("transcripts differ\nreference:\n%s\nours:\n%s", firstDifference(texts[0], texts[1]), firstDifference(texts[1], texts[0]))
	}
	if len(texts[0]) == 0 {
		t.Fatal("the programme wrote nothing")
	}
}

func TestClientKV(t *testing.T) {
	both(t, func(t *testing.T, tr *transcript, m *member, c *clientv3.Client) {
		ctx := timeout(t)
		for i := 0; i < 5; i++ {
			r, err := c.Put(ctx, fmt.Sprintf("a%d", i), fmt.Sprintf("v%d", 9-i), clientv3.WithPrevKV())
			tr.result("put", r, err)
		}
		for name, opts := range map[string][]clientv3.OpOption{
			"a prefix": {clientv3.WithPrefix()}, "b from": {clientv3.WithFromKey()}, "c range": {clientv3.WithRange("a3")},
			"d limit": {clientv3.WithPrefix(), clientv3.WithLimit(2)}, "e count": {clientv3.WithPrefix(), clientv3.WithCountOnly()},
			"f keys": {clientv3.WithPrefix(), clientv3.WithKeysOnly()}, "g rev": {clientv3.WithPrefix(), clientv3.WithRev(3)},
			"h sort": {clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend)},
			"i last": clientv3.WithLastRev(), "j first": clientv3.WithFirstKey(), "k serializable": {clientv3.WithSerializable()},
			"l min": {clientv3.WithPrefix(), clientv3.WithMinModRev(3)}, "m max": {clientv3.WithPrefix(), clientv3.WithMaxCreateRev(3)},
		} {
			r, err := c.Get(ctx, "a", opts...)
			if err != nil {
				t.Fatal(err)
			}
			tr.say("get %s: %s more=%t count=%d", name, kvs(r.Kvs), r.More, r.Count)
		}
		tr.lines = sorted(tr.lines)
		r, err := c.Get(ctx, "a", clientv3.WithRev(100))
		tr.result("future", r, err)
		_, err = c.Put(ctx, "", "x")
		tr.result("empty key", nil, err)
		_, err = c.Put(ctx, "nolease", "x", clientv3.WithLease(77))
		tr.result("no lease", nil, err)
		tx, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Value("a0"), "=", "v9"), clientv3.Compare(clientv3.Version("zz"), "=", 0)).
			Then(clientv3.OpPut("t", "1"), clientv3.OpGet("a", clientv3.WithPrefix(), clientv3.WithLimit(1)), clientv3.OpDelete("a4", clientv3.WithPrevKV()),
				clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("n", "2")}, nil)).Else(clientv3.OpGet("a0")).Commit()
		tr.result("txn", (*any)(nil), err)
		tr.say("%v %s", tx.Succeeded, outcome(tx.Responses, nil))
		_, err = c.Txn(ctx).Then(clientv3.OpPut("d", "1"), clientv3.OpPut("d", "2")).Commit()
		tr.result("duplicate", nil, err)
		var many []clientv3.Op
		for i := 0; i < 129; i++ {
			many = append(many, clientv3.OpPut(fmt.Sprint("m", i), ""))
		}
		_, err = c.Txn(ctx).Then(many...).Commit()
		tr.result("too many", nil, err)
		_, err = c.Put(ctx, "large", strings.Repeat("x", 1600*1024))
		tr.result("too large", nil, err)
		d, err := c.Delete(ctx, "a", clientv3.WithRange("a2"), clientv3.WithPrevKV())
		tr.result("delete", d, err)
		do, err := c.Do(ctx, clientv3.OpGet("t"))
		tr.result("do", do.Get(), err)
		cr, err := c.Compact(ctx, 5, clientv3.WithCompactPhysical())
		tr.result("compact", cr, err)
		_, err = c.Compact(ctx, 5)
		tr.result("compact again", nil, err)
		_, err = c.Compact(ctx, 500)
		tr.result("compact future", nil, err)
		_, err = c.Get(ctx, "a", clientv3.WithRev(4))
		tr.result("compacted", nil, err)
		ns := namespace.NewKV(c.KV, "ns/")
		_, err = ns.Put(ctx, "k", "v")
		tr.result("namespace", nil, err)
		or := ordering.NewKV(c.KV, ordering.NewOrderViolationSwitchEndpointClosure(c))
		og, err := or.Get(ctx, "ns/k")
		tr.result("ordering", og, err)
	})
}

func TestClientWatch(t *testing.T) {
	both(t, func(t *testing.T, tr *transcript, m *member, c *clientv3.Client) {
		ctx, cancel := context.WithCancel(timeout(t))
		defer cancel()
		for i := 0; i < 10; i++ {
			if _, err := c.Put(ctx, fmt.Sprint("w", i%3), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = c.Delete(ctx, "w1")
		collect := func(name string, n int, key string, opts ...clientv3.OpOption) {
			wctx, stop := context.WithTimeout(ctx, 10*time.Second)
			defer stop()
			seen := 0
			for r := range c.Watch(wctx, key, opts...) {
				if r.Err() != nil || r.Canceled {
					tr.say("%s: canceled %v compact=%d", name, r.Err(), r.CompactRevision)
					return
				}
				for _, e := range r.Events {
					tr.say("%s: %s", name, eventText((*mvccpb.Event)(e)))
					seen++
				}
				if r.Created {
					tr.say("%s: created at %d", name, r.Header.Revision)
				}
				if seen >= n {
					return
				}
			}
			t.Errorf("%s ended after %d events", name, seen)
		}
		collect("past", 11, "w", clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithPrevKV())
		collect("one", 4, "w0", clientv3.WithRev(2), clientv3.WithCreatedNotify())
		collect("deletes", 1, "w", clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithFilterPut())
		collect("puts", 10, "w", clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithFilterDelete())
		collect("from", 3, "w1", clientv3.WithFromKey(), clientv3.WithRev(8))
		collect("fragment", 11, "w", clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithFragment())
		// Several changes of one revision arrive together.
		_, _ = c.Txn(ctx).Then(clientv3.OpPut("x1", ""), clientv3.OpPut("x2", ""), clientv3.OpDelete("w0")).Commit()
		collect("atomic", 2, "x", clientv3.WithPrefix(), clientv3.WithRev(13))
		live := c.Watch(ctx, "live", clientv3.WithProgressNotify())
		if err := c.RequestProgress(ctx); err != nil {
			t.Fatal(err)
		}
		p := <-live
		tr.say("progress %t at %d", p.IsProgressNotify(), p.Header.Revision)
		_, _ = c.Put(ctx, "live", "1")
		e := <-live
		tr.say("live %s", eventText((*mvccpb.Event)(e.Events[0])))
		periodic := <-live
		tr.say("periodic %t at %d", periodic.IsProgressNotify(), periodic.Header.Revision)
		_, err := c.Compact(ctx, 12)
		if err != nil {
			t.Fatal(err)
		}
		collect("compacted", 1, "w", clientv3.WithPrefix(), clientv3.WithRev(3))
		if err := c.Watcher.Close(); err != nil {
			t.Fatal(err)
		}
	}, "--watch-progress-notify-interval=1s")
}

func TestClientLease(t *testing.T) {
	both(t, func(t *testing.T, tr *transcript, m *member, c *clientv3.Client) {
		ctx := timeout(t)
		g, err := c.Grant(ctx, 100)
		if err != nil {
			t.Fatal(err)
		}
		tr.say("granted %d", g.TTL)
		tr.say("named %v", func() error { _, err := c.Lease.Grant(ctx, 0); return err }())
		short, err := c.Grant(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		tr.say("short %d", short.TTL)
		_, _ = c.Put(ctx, "l1", "x", clientv3.WithLease(g.ID))
		_, _ = c.Put(ctx, "l2", "x", clientv3.WithLease(g.ID))
		_, _ = c.Put(ctx, "s", "x", clientv3.WithLease(short.ID))
		ttl, err := c.TimeToLive(ctx, g.ID, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		var keys []string // the reference lists them in the order of a Go map
		for _, k := range ttl.Keys {
			keys = append(keys, string(k))
		}
		tr.say("ttl granted=%d left=%t keys=%q", ttl.GrantedTTL, ttl.TTL > 90 && ttl.TTL <= 100, sorted(keys))
		missing, err := c.TimeToLive(ctx, 424242)
		tr.result("missing", missing, err)
		ls, err := c.Leases(ctx)
		tr.say("leases %d %v", len(ls.Leases), err)
		once, err := c.KeepAliveOnce(ctx, g.ID)
		tr.say("once %d %v", once.TTL, err)
		_, err = c.KeepAliveOnce(ctx, 424242)
		tr.say("once missing %v", err)
		kctx, stop := context.WithCancel(ctx)
		ch, err := c.KeepAlive(kctx, g.ID)
		if err != nil {
			t.Fatal(err)
		}
		ka := <-ch
		tr.say("keepalive %d", ka.TTL)
		stop()
		// The short lease runs out by itself and takes its key along.
		deadline := time.Now().Add(10 * time.Second)
		for {
			r, err := c.Get(ctx, "s")
			if err != nil {
				t.Fatal(err)
			}
			if r.Count == 0 {
				tr.say("expired at %d", r.Header.Revision)
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the lease did not expire")
			}
			time.Sleep(50 * time.Millisecond)
		}
		rv, err := c.Revoke(ctx, g.ID)
		tr.result("revoke", rv, err)
		_, err = c.Revoke(ctx, g.ID)
		tr.result("revoke again", nil, err)
		get, err := c.Get(ctx, "l", clientv3.WithPrefix())
		tr.say("left %d %v", get.Count, err)
		if err := c.Lease.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestClientClusterAndMaintenance(t *testing.T) {
	both(t, func(t *testing.T, tr *transcript, m *member, c *clientv3.Client) {
		ctx := timeout(t)
		endpoint := strings.TrimPrefix(m.client, "http://")
		_, _ = c.Put(ctx, "k", "v")
		ml, err := c.MemberList(ctx)
		if err != nil {
			t.Fatal(err)
		}
		tr.say("members %d %q %q learner=%t rev=%d", len(ml.Members), ml.Members[0].Name, ml.Members[0].PeerURLs, ml.Members[0].IsLearner, ml.Header.Revision)
		own := ml.Members[0].ID
		add, err := c.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		tr.say("added %d learner=%t", len(add.Members), add.Member.IsLearner)
		_, err = c.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:3"})
		tr.result("second learner", nil, err)
		_, err = c.MemberAdd(ctx, []string{"http://127.0.0.1:1"})
		tr.result("same url", nil, err)
		_, err = c.MemberAdd(ctx, []string{"127.0.0.1:1"})
		tr.result("bad url", nil, err)
		_, err = c.MemberPromote(ctx, add.Member.ID)
		tr.result("promote early", nil, err)
		_, err = c.MemberPromote(ctx, own)
		tr.result("promote voter", nil, err)
		up, err := c.MemberUpdate(ctx, add.Member.ID, []string{"http://127.0.0.1:2"})
		tr.say("updated %d %v", len(up.Members), err)
		rm, err := c.MemberRemove(ctx, add.Member.ID)
		tr.say("removed %d %v", len(rm.Members), err)
		_, err = c.MemberRemove(ctx, 4242)
		tr.result("remove unknown", nil, err)
		al, err := c.AlarmList(ctx)
		tr.say("alarms %d %v", len(al.Alarms), err)
		_, err = c.AlarmDisarm(ctx, &clientv3.AlarmMember{})
		tr.say("disarm %v", err)
		st, err := c.Status(ctx, endpoint)
		if err != nil {
			t.Fatal(err)
		}
		tr.say("status %s storage=%s leader=%t learner=%t errors=%v quota=%d downgrade=%v size=%t", st.Version, st.StorageVersion, st.Leader == own, st.IsLearner, st.Errors, st.DbSizeQuota, st.DowngradeInfo, st.DbSize > 0 && st.DbSizeInUse > 0 && st.DbSizeInUse <= st.DbSize)
		h, err := c.HashKV(ctx, endpoint, 0)
		tr.say("hash %d %v", h.Hash, err)
		_, err = c.HashKV(ctx, endpoint, 100)
		tr.result("hash future", nil, err)
		df, err := c.Defragment(ctx, endpoint)
		tr.say("defragment %v %v", df.Header, err)
		_, err = c.MoveLeader(ctx, 4242)
		tr.result("move leader", nil, err)
		_, err = c.Downgrade(ctx, clientv3.DowngradeValidate, "3.4.0")
		tr.result("downgrade validate", nil, err)
		dv, err := c.Downgrade(ctx, clientv3.DowngradeValidate, "3.5.0")
		tr.say("downgrade validate %v %v", (*pb.DowngradeResponse)(dv).GetVersion(), err)
		_, err = c.Downgrade(ctx, clientv3.DowngradeValidate, "x")
		tr.result("downgrade format", nil, err)
		dc, err := c.Downgrade(ctx, clientv3.DowngradeCancel, "")
		tr.say("downgrade cancel %v %v", (*pb.DowngradeResponse)(dc).GetVersion(), err)
		snap, err := c.SnapshotWithVersion(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, snap.Snapshot)
		tr.say("snapshot %s whole=%t %v", snap.Version, n%512 == 32, err)
		plain, err := c.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n, err = io.Copy(io.Discard, plain)
		tr.say("snapshot whole=%t %v", n%512 == 32, err)
		as, err := c.AuthStatus(ctx)
		tr.say("auth %t revision=%d %v", as.Enabled, as.AuthRevision, err)
		tr.say("sync %v", c.Sync(ctx))
	})
}

func TestClientConcurrency(t *testing.T) {
	both(t, func(t *testing.T, tr *transcript, m *member, c *clientv3.Client) {
		ctx := timeout(t)
		s1, err := concurrency.NewSession(c, concurrency.WithTTL(60))
		if err != nil {
			t.Fatal(err)
		}
		s2, err := concurrency.NewSession(c, concurrency.WithTTL(60))
		if err != nil {
			t.Fatal(err)
		}
		m1, m2 := concurrency.NewMutex(s1, "/lock"), concurrency.NewMutex(s2, "/lock")
		tr.say("lock %v", m1.Lock(ctx))
		tr.say("try %v", errors.Is(m2.TryLock(ctx), concurrency.ErrLocked))
		locked := make(chan error, 1)
		go func() { locked <- m2.Lock(ctx) }()
		tr.say("unlock %v", m1.Unlock(ctx))
		tr.say("second %v", <-locked)
		tr.say("unlock %v", m2.Unlock(ctx))

		e1, e2 := concurrency.NewElection(s1, "/elect"), concurrency.NewElection(s2, "/elect")
		octx, stop := context.WithCancel(ctx)
		observed := e2.Observe(octx)
		tr.say("campaign %v", e1.Campaign(ctx, "one"))
		o := <-observed
		tr.say("observed %q", o.Kvs[0].Value)
		tr.say("proclaim %v", e1.Proclaim(ctx, "uno"))
		o = <-observed
		tr.say("observed %q", o.Kvs[0].Value)
		l, err := e2.Leader(ctx)
		tr.say("leader %q %v", l.Kvs[0].Value, err)
		won := make(chan error, 1)
		go func() { won <- e2.Campaign(ctx, "two") }()
		time.Sleep(100 * time.Millisecond)
		tr.say("resign %v", e1.Resign(ctx))
		tr.say("won %v", <-won)
		o = <-observed
		tr.say("observed %q", o.Kvs[0].Value)
		stop()

		_, err = concurrency.NewSTM(c, func(stm concurrency.STM) error {
			stm.Put("counter", stm.Get("counter")+"x")
			stm.Del("nothing")
			return nil
		}, concurrency.WithIsolation(concurrency.Serializable), concurrency.WithPrefetch("counter"))
		tr.say("stm %v", err)
		g, err := c.Get(ctx, "counter")
		tr.say("counter %q %v", g.Kvs[0].Value, err)
		tr.say("close %v", s1.Close())
		s2.Orphan()

		_, _ = c.Put(ctx, "mirror/1", "a")
		syncer := mirror.NewSyncer(c, "mirror/", 0)
		gets, errs := syncer.SyncBase(ctx)
		for r := range gets {
			tr.say("mirror %q", r.Kvs[0].Value)
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		updates := syncer.SyncUpdates(ctx)
		_, _ = c.Put(ctx, "mirror/2", "b")
		u := <-updates
		tr.say("mirror update %q", u.Events[0].Kv.Value)
	})
}

func TestClientRequireLeaderAndErrors(t *testing.T) {
	both(t, func(t *testing.T, tr *transcript, m *member, c *clientv3.Client) {
		ctx := clientv3.WithRequireLeader(timeout(t))
		_, err := c.Put(ctx, "k", "v")
		tr.result("leader", nil, err)
		short, cancel := context.WithTimeout(ctx, time.Nanosecond)
		defer cancel()
		_, err = c.Get(short, "k")
		tr.say("deadline %v", errors.Is(err, context.DeadlineExceeded))
		_, err = c.Get(ctx, "k", clientv3.WithRev(1000))
		tr.say("typed %t", errors.Is(err, rpctypes.ErrFutureRev))
	})
}
