package conformance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A store of many keys: loads, restarts, ranges with a limit, compacts, defragments, and stays
// responsive while a full read, a compaction, a hash and a snapshot run. The figures are logged,
// beside the reference's; only what must always hold is checked.
//
// CONFORMANCE_KEYS=1000000 gives the size the documents report.

func rss(m *member) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.process.Process.Pid))
	if err != nil {
		return err.Error()
	}
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "VmRSS:") {
			kb, _ := strconv.Atoi(strings.Fields(line)[1])
			return fmt.Sprintf("%.2f GB", float64(kb)/1e6)
		}
	}
	return "?"
}

func took(t *testing.T, what string, work func()) {
	t.Helper()
	start := time.Now()
	work()
	t.Logf("%-28s %8.2f s", what, time.Since(start).Seconds())
}

func load(t *testing.T, m *member, keys int) {
	t.Helper()
	const writers, perTxn = 32, 100
	c := m.dial()
	value := strings.Repeat("v", 256)
	var wg sync.WaitGroup
	next := make(chan int, writers)
	for w := 0; w < writers; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for first := range next {
				ops := make([]clientv3.Op, 0, perTxn)
				for i := first; i < min(first+perTxn, keys); i++ {
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("key/%08d", (i*7919)%keys), value))
				}
				if _, err := c.Txn(context.Background()).Then(ops...).Commit(); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	for i := 0; i < keys; i += perTxn {
		next <- i
	}
	close(next)
	wg.Wait()
}

// latencies reads one key again and again, on a connection of its own, until stopped.
func latencies(m *member) (stop func() []time.Duration) {
	c := m.dial()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan []time.Duration)
	go func() {
		var all []time.Duration
		for ctx.Err() == nil {
			start := time.Now()
			if _, err := c.Get(ctx, "key/00000001", clientv3.WithSerializable()); err == nil {
				all = append(all, time.Since(start))
			}
			time.Sleep(2 * time.Millisecond)
		}
		done <- all
	}()
	return func() []time.Duration {
		cancel()
		all := <-done
		c.Close()
		sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
		return all
	}
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return all[min(len(all)-1, int(float64(len(all))*q))].Round(10 * time.Microsecond)
}

// loopDelay returns the member's own measure of how late its event loop was since the last call.
func loopDelay(m *member) string {
	r, err := http.Get(m.client + "/metrics")
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	var found []string
	for _, line := range strings.Split(string(body), "\n") {
		if strings.HasPrefix(line, "etcd_ts_event_loop_delay_seconds{") {
			found = append(found, strings.TrimPrefix(line, "etcd_ts_event_loop_delay_seconds"))
		}
	}
	return strings.Join(found, " ")
}

func TestManyKeys(t *testing.T) {
	keys := int(setting(t, "CONFORMANCE_KEYS", 20_000))
	for _, k := range []kind{reference, ours} {
		t.Run(string(k), func(t *testing.T) {
			m := newMember(t, k, t.TempDir(), "--quota-backend-bytes=8000000000")
			took(t, fmt.Sprintf("load %d keys", keys), func() { load(t, m, keys) })
			t.Logf("rss after load   %s", rss(m))
			took(t, "stop", m.stop)
			took(t, "restart", m.start)
			t.Logf("rss after restart %s", rss(m))
			c := m.dial()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			endpoint := strings.TrimPrefix(m.client, "http://")
			count, err := c.Get(ctx, "key/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			must(t, err)
			if count.Count != int64(keys) {
				t.Fatalf("%d keys are left", count.Count)
			}
			took(t, "range of 1000, 100 times", func() {
				for i := 0; i < 100; i++ {
					r, err := c.Get(ctx, fmt.Sprintf("key/%08d", i*keys/100), clientv3.WithFromKey(), clientv3.WithLimit(1000))
					must(t, err)
					if len(r.Kvs) > 1000 || len(r.Kvs) == 0 {
						t.Fatalf("%d keys for a limit of 1000", len(r.Kvs))
					}
				}
			})
			loopDelay(m)
			for _, work := range []struct {
				name string
				run  func()
			}{
				{"full range", func() {
					r, err := c.Get(ctx, "key/", clientv3.WithPrefix())
					must(t, err)
					if len(r.Kvs) != keys {
						t.Fatalf("%d of %d keys", len(r.Kvs), keys)
					}
				}},
				{"hash", func() { _, err := c.HashKV(ctx, endpoint, 0); must(t, err) }},
				{"snapshot", func() {
					r, err := c.Snapshot(ctx)
					must(t, err)
					_, err = io.Copy(io.Discard, r)
					must(t, err)
				}},
				{"compaction", func() {
					g, err := c.Get(ctx, "x")
					must(t, err)
					_, err = c.Compact(ctx, g.Header.Revision, clientv3.WithCompactPhysical())
					must(t, err)
				}},
				{"defragment", func() { _, err := c.Defragment(ctx, endpoint); must(t, err) }},
			} {
				stop := latencies(m)
				took(t, work.name, work.run)
				all := stop()
				t.Logf("    others meanwhile: %d gets, p50 %v p99 %v p99.9 %v max %v %s", len(all), quantile(all, 0.5), quantile(all, 0.99), quantile(all, 0.999), quantile(all, 1), loopDelay(m))
			}
			t.Logf("rss at the end   %s", rss(m))
			m.stop()
			info, err := os.Stat(filepath.Join(m.dataDir, "member", "snap", "db"))
			must(t, err)
			t.Logf("database         %.0f MB", float64(info.Size())/1e6)
			checkDatabase(t, m.dataDir)
		})
	}
}
