package conformance

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// `etcdctl check`: ours at the reference's server, and the reference's at ours. The load takes a
// minute, so both run side by side.

var checkPerfOutput = regexp.MustCompile(`^Compacting with revision \d+
Compacted with revision \d+
Defragmenting "http://127\.0\.0\.1:\d+"
Defragmented "http://127\.0\.0\.1:\d+"
(?:PASS: Throughput is|FAIL: Throughput too low:) \d+ writes/s
(?:PASS: Slowest request took|Slowest request took too long:) \d+\.\d{6}s
(?:PASS: Stddev is|Stddev too high:) \d+\.\d{6}s
(PASS|FAIL)
$`)

func TestEtcdctlCheck(t *testing.T) {
	for _, pair := range []struct {
		name string
		path string
		kind kind
	}{
		{"ours at the reference", oursCtl(t), reference},
		{"the reference's at ours", program(t, "etcdctl"), ours},
	} {
		t.Run(pair.name, func(t *testing.T) {
			t.Parallel()
			m := newMember(t, pair.kind, t.TempDir())
			ctl := func(args ...string) (string, string, int) {
				cmd := exec.Command(pair.path, append([]string{"--endpoints=" + m.client}, args...)...)
				var out, errOut strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &errOut
				_ = cmd.Run()
				lines := strings.Split(strings.TrimSpace(errOut.String()), "\n")
				return out.String(), lines[len(lines)-1], cmd.ProcessState.ExitCode()
			}
			for _, refused := range []struct {
				args   string
				key    string
				text   string
				status int
			}{
				{"check perf --load=huge", "", "Error: unknown load option huge", 4},
				{"check datascale --load=XL", "", "Error: unknown load option XL", 4},
				{"check perf", "/etcdctl-check-perf/x", `Error: prefix "/etcdctl-check-perf/" has keys. Delete with 'etcdctl del --prefix /etcdctl-check-perf/' first`, 3},
				{"check datascale --prefix=d/", "d/x", `Error: prefix "d/" has keys. Delete with etcdctl del --prefix d/ first`, 3},
			} {
				if refused.key != "" {
					ctl("put", refused.key, "v")
				}
				if _, last, status := ctl(strings.Fields(refused.args)...); last != refused.text || status != refused.status {
					t.Errorf("%s: %d %s", refused.args, status, last)
				}
				ctl("del", refused.key)
			}
			out, errOut, status := ctl("check", "datascale", "--auto-compact")
			if !regexp.MustCompile(`^Start data scale check for work load \[10000 key-value pairs, 1024 bytes per key-value, 50 concurrent clients\]\.
Compacting with revision \d+
Compacted with revision \d+
PASS: Approximate system memory used : -?\d+\.\d\d MB\.
$`).MatchString(out) || status != 0 {
				t.Errorf("datascale: %d %s %s", status, out, errOut)
			}
			out, errOut, status = ctl("check", "perf", "--auto-compact", "--auto-defrag")
			found := checkPerfOutput.FindStringSubmatch(out)
			if found == nil || (found[1] == "PASS") != (status == 0) || status > 1 {
				t.Fatalf("perf: %d %s %s", status, out, errOut)
			}
			t.Logf("%s", out)
			if left, _, _ := ctl("get", "/etcdctl-check", "--prefix", "--keys-only"); left != "" {
				t.Errorf("keys are left: %s", left)
			}
		})
	}
}
