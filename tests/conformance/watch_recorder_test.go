package conformance

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// headerIdentity matches the parts of a response that name the member and its term.
var headerIdentity = regexp.MustCompile(`(cluster_id|member_id|raft_term):\d+ ?`)

func sorted(texts []string) []string {
	slices.Sort(texts)
	return texts
}

// watchRecorder keeps every event of a watch on all keys, with the boundaries of revisions.
type watchRecorder struct {
	mu       sync.Mutex
	text     strings.Builder
	revision int64
	err      error
}

func recordWatch(t *testing.T, c *clientv3.Client) *watchRecorder {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	w := &watchRecorder{}
	// From the first revision on, all keys: "\x00" to the end.
	ch := c.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(1), clientv3.WithCreatedNotify())
	if r := <-ch; r.Err() != nil {
		t.Fatal(r.Err())
	}
	go func() {
		for r := range ch {
			w.mu.Lock()
			if r.Err() != nil && ctx.Err() == nil {
				w.err = r.Err()
			}
			for _, e := range r.Events {
				w.text.WriteString(eventText((*mvccpb.Event)(e)))
				w.revision = e.Kv.ModRevision
			}
			w.mu.Unlock()
		}
	}()
	return w
}

// waitFor waits until the watch has delivered the given revision.
func (w *watchRecorder) waitFor(t *testing.T, revision int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		w.mu.Lock()
		seen, err := w.revision, w.err
		w.mu.Unlock()
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		if seen >= revision {
			return
		}
	}
	t.Fatalf("the watch stopped before revision %d", revision)
}

func (w *watchRecorder) events() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// firstDifference returns the lines of a around the first one that differs from b.
func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range as {
		if i >= len(bs) || as[i] != bs[i] {
			return strings.Join(as[max(0, i-2):min(len(as), i+3)], "\n")
		}
	}
	return "(a prefix of the other)"
}
