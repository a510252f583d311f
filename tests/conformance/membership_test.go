package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// unstarted makes the members of a new cluster without starting them.
func unstarted(t testing.TB, kinds ...kind) *cluster {
	c := &cluster{t: t}
	var initial []string
	for i, k := range kinds {
		m := &member{
			t:       t,
			kind:    k,
			dataDir: t.TempDir(),
			client:  fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
			peer:    fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
		}
		c.members = append(c.members, m)
		initial = append(initial, fmt.Sprintf("m%d=%s", i, m.peer))
		t.Cleanup(func() {
			if m.exited != nil {
				m.kill()
			}
		})
	}
	for i := range c.members {
		c.configure(i, strings.Join(initial, ","), "new")
	}
	return c
}

// waitsFor starts a member in the background and waits for a word in its log.
func (m *member) waitsFor(t *testing.T, words string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if m.log != nil && strings.Contains(m.log.String(), words) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not say %q:\n%s", m.kind, words, m.log)
		}
	}
}

// Members that were told of different clusters refuse each other, stay up, and serve nobody; the
// one that was told wrong starts again on an empty directory, and all is well.
func TestDifferentClusters(t *testing.T) {
	for name, wrong := range map[string]func(c *cluster, m *member){
		"token": func(c *cluster, m *member) {
			m.flags = append(m.flags, "--initial-cluster-token=another")
		},
		"initial cluster": func(c *cluster, m *member) {
			m.flags = append(m.flags, fmt.Sprintf("--initial-cluster=m0=%s,m1=%s,m2=http://127.0.0.1:1", c.members[0].peer, m.peer))
		},
	} {
		for _, kinds := range [][]kind{{ours, reference}, {reference, ours}} {
			t.Run(fmt.Sprint(name, kinds), func(t *testing.T) {
				c := unstarted(t, kinds...)
				right := c.members[1].flags
				wrong(c, c.members[1])
				started := make(chan error, 2)
				for _, m := range c.members {
					go func() { started <- m.tryStart() }()
				}
				// The one that is dialled says so; a member of version 3.6 hears of it as well.
				time.Sleep(2 * time.Second)
				c.members[0].waitsFor(t, "cluster ID mismatch")
				c.members[1].waitsFor(t, "cluster ID mismatch")
				for _, m := range c.members {
					select {
					case <-m.exited:
						t.Fatalf("%s is gone:\n%s", m.kind, m.log)
					default:
					}
					if strings.Contains(m.log.String(), "ready to serve") {
						t.Fatalf("%s serves", m.kind)
					}
				}
				c.members[1].kill()
				<-started
				c.members[1].dataDir = t.TempDir()
				c.members[1].flags = right
				c.members[1].start()
				if err := <-started; err != nil {
					t.Fatal(err)
				}
				if _, err := c.dial().Put(timeout(t), "k", "v"); err != nil {
					t.Fatal(err)
				}
				c.agree()
			})
		}
	}
}

// ended waits for the end of a process and returns its code and the warnings that say why.
func (m *member) ended(t *testing.T) string {
	t.Helper()
	select {
	case <-m.exited:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s goes on:\n%s", m.kind, m.log)
	}
	told := []string{fmt.Sprint(m.process.ProcessState.ExitCode())}
	for _, line := range strings.Split(m.log.String(), "\n") {
		var fields struct{ Level, Msg, Error string }
		if json.Unmarshal([]byte(line), &fields) != nil {
			continue
		}
		if fields.Msg == "server error" || strings.HasPrefix(fields.Msg, "data-dir used by this member") {
			told = append(told, fmt.Sprintf("%s: %s %s", fields.Level, fields.Msg, fields.Error))
		}
	}
	return strings.Join(told, "\n")
}

// A member that is removed ends in the same words, while it runs and when it comes back.
func TestRemovedMember(t *testing.T) {
	told := beside(t, func(t *testing.T, k kind) []string {
		// The others are of the other program.
		other := map[kind]kind{ours: reference, reference: ours}[k]
		c := newCluster(t, other, k, other)
		time.Sleep(5500 * time.Millisecond)
		m := c.members[1]
		if _, err := c.dial(c.members[0], c.members[2]).MemberRemove(timeout(t), c.status(m).Header.MemberId); err != nil {
			t.Fatal(err)
		}
		running := m.ended(t)
		if err := m.tryStart(); err == nil {
			t.Logf("%s served for a moment", k)
		}
		again := m.ended(t)
		// The rest goes on.
		if _, err := c.dial(c.members[0], c.members[2]).Put(timeout(t), "k", "v"); err != nil {
			t.Fatal(err)
		}
		c.agree(c.members[0], c.members[2])
		return []string{running, again}
	})
	for i, when := range []string{"running", "started again"} {
		our, their := told[ours][i], told[reference][i]
		if i == 1 {
			// The reference's exit code depends on how far it came; ours must not.
			if !strings.HasPrefix(our, "0\n") {
				t.Errorf("%s: ours ends with\n%s", when, our)
			}
			_, our, _ = strings.Cut(our, "\n")
			_, their, _ = strings.Cut(their, "\n")
		}
		if our != their {
			t.Errorf("%s: ours ends with\n%s\nthe reference with\n%s", when, our, their)
		}
		if !strings.Contains(told[ours][i], "the member has been permanently removed from the cluster") {
			t.Errorf("%s: %s", when, told[ours][i])
		}
	}
}

// Changes of members that could cost the quorum are refused in the same words, and those that help
// are not.
func TestQuorumLosingChanges(t *testing.T) {
	told := beside(t, func(t *testing.T, k kind) []string {
		var answers []string
		c := newCluster(t, k, k, k)
		time.Sleep(5500 * time.Millisecond)
		answer := func(what string, err error) {
			text := "done"
			if err != nil {
				text = err.Error()
			}
			answers = append(answers, what+": "+text)
		}
		ids := map[*member]uint64{}
		for _, m := range c.members {
			ids[m] = c.status(m).Header.MemberId
		}
		nobody := func() []string { return []string{fmt.Sprintf("http://127.0.0.1:%d", freePort(t))} }
		leader := c.leader()
		cl := c.dial(leader)
		add := func(what string, urls []string) uint64 {
			r, err := cl.MemberAdd(timeout(t), urls)
			answer(what, err)
			if err != nil {
				return 0
			}
			return r.Member.ID
		}
		remove := func(what string, id uint64) {
			_, err := cl.MemberRemove(timeout(t), id)
			answer(what, err)
		}
		_, err := cl.MemberAdd(timeout(t), []string{leader.peer})
		answer("add a member twice", err)
		_, err = cl.MemberUpdate(timeout(t), 1, nobody())
		answer("update nobody", err)
		remove("remove nobody", 1)
		_, err = cl.MemberPromote(timeout(t), ids[leader])
		answer("promote a voter", err)
		_, err = cl.MemberPromote(timeout(t), 1)
		answer("promote nobody", err)
		fourth := add("add a fourth", nobody())
		fifth := add("add a fifth while the fourth is not there", nobody())
		var others []*member
		for _, m := range c.members {
			if m != leader {
				others = append(others, m)
			}
		}
		remove("remove one that runs while the fourth is not there", ids[others[0]])
		remove("remove the fifth", fifth)
		remove("remove the fourth", fourth)
		remove("remove the fourth again", fourth)
		others[0].kill()
		time.Sleep(6 * time.Second)
		remove("remove one that runs while another is away", ids[others[1]])
		add("add one while another is away", nobody())
		_, err = cl.MemberAddAsLearner(timeout(t), nobody())
		answer("add a learner while another is away", err)
		remove("remove the one that is away", ids[others[0]])
		// One of two: nobody can agree to anything any more.
		others[1].kill()
		short, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, err = cl.Put(short, "k", "v")
		if err == nil {
			t.Fatalf("%s: a write without a quorum", k)
		}
		return answers
	})
	if our, their := strings.Join(told[ours], "\n"), strings.Join(told[reference], "\n"); our != their {
		t.Errorf("ours answers\n%s\nthe reference\n%s", our, their)
	}
	t.Log(strings.Join(told[ours], "\n"))
}
