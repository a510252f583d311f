package conformance

import (
	"sync"
	"testing"
)

// beside runs the same with both programs at once, and returns what each told.
func beside[T any](t *testing.T, run func(t *testing.T, k kind) T) map[kind]T {
	t.Helper()
	told := map[kind]T{}
	var mu sync.Mutex
	t.Run("both", func(t *testing.T) {
		for _, k := range []kind{reference, ours} {
			t.Run(string(k), func(t *testing.T) {
				t.Parallel()
				result := run(t, k)
				mu.Lock()
				defer mu.Unlock()
				told[k] = result
			})
		}
	})
	if len(told) < 2 {
		t.FailNow()
	}
	return told
}
