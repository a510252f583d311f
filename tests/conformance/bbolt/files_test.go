// Package bbolt passes database files back and forth between the reference bbolt and ours: each
// changes what the other wrote, checks it with its own check, and must find the same contents.
package bbolt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

const (
	rounds  = 2
	commits = 12
)

var pageSizes = []int{1024, 4096, 65536}

// buildTool bundles tool.ts and returns the path of the program.
func buildTool(t *testing.T) string {
	t.Helper()
	// Beside the sources, so that what is not bundled is found.
	out, err := filepath.Abs("dist/tool.mjs")
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`
		import { build } from "esbuild";
		await build({
			entryPoints: ["tool.ts"], outfile: %q, bundle: true, platform: "node", format: "esm",
			conditions: ["source"], external: ["fs-native-extensions", "prom-client"], logLevel: "warning",
		});`, out)
	build := exec.Command("node", "--input-type=module", "--eval", script)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// runTool runs the program and returns the digest it prints.
func runTool(t *testing.T, args ...any) string {
	t.Helper()
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = fmt.Sprint(arg)
	}
	text, err := exec.Command("node", words...).CombinedOutput()
	if err != nil {
		t.Fatalf("node %v: %v\n%s", words, err, text)
	}
	return strings.TrimSpace(string(text))
}

// dump checks a file and returns a digest of its contents, as the tool does.
func dump(t *testing.T, path string) string {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h := sha256.New()
	err = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("%s: %v", path, err)
		}
		return digest(tx.Cursor(), func(name []byte) *bolt.Bucket { return tx.Bucket(name) }, h)
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func digest(c *bolt.Cursor, bucket func([]byte) *bolt.Bucket, h hash.Hash) error {
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if v != nil {
			fmt.Fprintf(h, "%x=%x\n", k, v)
			continue
		}
		b := bucket(k)
		fmt.Fprintf(h, "%x %d {\n", k, b.Sequence())
		if err := digest(b.Cursor(), b.Bucket, h); err != nil {
			return err
		}
		fmt.Fprint(h, "}\n")
	}
	return nil
}

func change(t *testing.T, path string, seed int64, pageSize int, noFreelistSync bool) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: pageSize, NoFreelistSync: noFreelistSync, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r := rand.New(rand.NewSource(seed))
	for range commits {
		err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "top-%d", r.Intn(3)))
			if err != nil {
				return err
			}
			return changeBucket(b, r, 2)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func changeBucket(b *bolt.Bucket, r *rand.Rand, depth int) error {
	b.FillPercent = []float64{0.1, 0.5, 0.9, 1}[r.Intn(4)]
	keys, inOrder, deletes, start := r.Intn([]int{150, 150, 150, 3000}[r.Intn(4)]), r.Intn(2) == 0, r.Intn(3), r.Intn(4000)
	for i := range keys + 1 {
		n := r.Intn(4000)
		if inOrder {
			n = start + i
		}
		key := []byte(fmt.Sprintf("key-%d", n))
		if pad := 4 + n%40 - len(key); pad > 0 {
			key = append([]byte(strings.Repeat("-", pad)), key...)
		}
		var err error
		if r.Intn(3) < deletes {
			err = b.Delete(key)
		} else {
			size := r.Intn(200)
			if r.Intn(60) == 0 {
				size = r.Intn(100_000)
			}
			err = b.Put(key, []byte(strings.Repeat(string(rune('a'+n%26)), size)))
		}
		if err != nil {
			return err
		}
	}
	if r.Intn(3) == 0 {
		if err := b.SetSequence(uint64(r.Intn(1_000_000))); err != nil {
			return err
		}
	}
	if depth == 0 {
		return nil
	}
	name := fmt.Appendf(nil, "bucket-%d", r.Intn(4))
	if r.Intn(5) > 0 {
		nested, err := b.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		return changeBucket(nested, r, depth-1)
	}
	if b.Bucket(name) != nil {
		return b.DeleteBucket(name)
	}
	return nil
}

func TestFilesGoBothWays(t *testing.T) {
	tool := buildTool(t)
	for seed, pageSize := range pageSizes {
		for _, noFreelistSync := range []bool{true, false} {
			for _, oursFirst := range []bool{true, false} {
				name := fmt.Sprintf("page%d/noFreelistSync=%v/oursFirst=%v", pageSize, noFreelistSync, oursFirst)
				t.Run(name, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "db")
					for round := range 2 * rounds {
						s := 100*seed + round
						if (round%2 == 0) == oursFirst {
							ours := runTool(t, tool, "change", path, s, pageSize, noFreelistSync)
							if theirs := dump(t, path); theirs != ours {
								t.Fatalf("round %d: the reference reads %s, ours %s", round, theirs, ours)
							}
							continue
						}
						change(t, path, int64(s), pageSize, noFreelistSync)
						theirs := dump(t, path)
						if ours := runTool(t, tool, "dump", path); ours != theirs {
							t.Fatalf("round %d: ours reads %s, the reference %s", round, ours, theirs)
						}
					}
				})
			}
		}
	}
}
