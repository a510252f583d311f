package conformance

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func newRandom(t testing.TB) *rand.Rand {
	t.Helper()
	seed := setting(t, "CONFORMANCE_SEED", 20260101)
	t.Logf("seed %d", seed)
	return rand.New(rand.NewSource(seed))
}

// kill -9 at random moments under load: what was acknowledged is there, nothing is half applied,
// and the reference computes the same hash from the files.
//
// CONFORMANCE_KILLS chooses how many kills.
func TestKillUnderLoad(t *testing.T) {
	kills := int(setting(t, "CONFORMANCE_KILLS", 15))
	random := newRandom(t)
	m := newMember(t, ours, t.TempDir(), "--snapshot-count=500")
	const writers = 8
	// acknowledged[w] is the highest number writer w knows to be stored.
	var acknowledged [writers]int
	for i := 0; i < kills; i++ {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		c := m.dial()
		for w := 0; w < writers; w++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for n := acknowledged[w] + 1; ; n++ {
					// Two keys and a numbered one change together, or not at all.
					_, err := c.Txn(ctx).Then(
						clientv3.OpPut(fmt.Sprintf("left/%d", w), fmt.Sprint(n)),
						clientv3.OpPut(fmt.Sprintf("right/%d", w), fmt.Sprint(n)),
						clientv3.OpPut(fmt.Sprintf("all/%d/%07d", w, n), "x"),
					).Commit()
					if err != nil {
						return
					}
					acknowledged[w] = n
				}
			}()
		}
		time.Sleep(time.Duration(20+random.Intn(600)) * time.Millisecond)
		m.kill()
		cancel()
		wg.Wait()
		c.Close()
		m.start()
		for w := 0; w < writers; w++ {
			acknowledged[w] = checkWriter(t, m, i, w, acknowledged[w])
		}
	}
	total := 0
	for _, n := range acknowledged {
		total += n
	}
	if total == 0 {
		t.Fatal("no write was acknowledged")
	}
	t.Logf("%d kills, %d acknowledged transactions", kills, total)
	want := m.hashKV(0)
	m.swap(reference)
	if got := m.hashKV(0); got != want {
		t.Fatalf("hash of ours %s, of the reference on the same files %s", want, got)
	}
	m.stop()
	checkDatabase(t, m.dataDir)
}

// checkWriter returns the number the store is at, which may be one that was never acknowledged.
func checkWriter(t *testing.T, m *member, round, w, acknowledged int) int {
	t.Helper()
	ctx, c := timeout(t), m.dial()
	defer c.Close()
	left, err := c.Get(ctx, fmt.Sprintf("left/%d", w))
	must(t, err)
	right, err := c.Get(ctx, fmt.Sprintf("right/%d", w))
	must(t, err)
	if left.Count != right.Count {
		t.Fatalf("kill %d, writer %d: half a transaction", round, w)
	}
	if left.Count == 0 {
		if acknowledged > 0 {
			t.Fatalf("kill %d, writer %d: %d was acknowledged, nothing is stored", round, w, acknowledged)
		}
		return 0
	}
	if string(left.Kvs[0].Value) != string(right.Kvs[0].Value) || left.Kvs[0].ModRevision != right.Kvs[0].ModRevision {
		t.Fatalf("kill %d, writer %d: %v beside %v", round, w, left.Kvs[0], right.Kvs[0])
	}
	var n int
	if _, err := fmt.Sscan(string(left.Kvs[0].Value), &n); err != nil {
		t.Fatal(err)
	}
	if n < acknowledged || n > acknowledged+1 {
		t.Fatalf("kill %d, writer %d: %d was acknowledged, %d is stored", round, w, acknowledged, n)
	}
	all, err := c.Get(ctx, fmt.Sprintf("all/%d/", w), clientv3.WithPrefix(), clientv3.WithCountOnly())
	must(t, err)
	if all.Count != int64(n) {
		t.Fatalf("kill %d, writer %d: %d transactions, %d keys", round, w, n, all.Count)
	}
	return n
}
