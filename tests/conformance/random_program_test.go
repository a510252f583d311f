package conformance

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/status"
)

// The same random program of operations, step by step, against ours and the reference: the same
// responses, the same watch events, the same hashes.
//
// CONFORMANCE_STEPS and CONFORMANCE_SEED choose another size and another program.

func setting(t testing.TB, name string, fallback int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return value
}

type programState struct {
	random   *rand.Rand
	revision int64
	compact  int64
	leases   []int64
	next     int64
}

func (s *programState) key() []byte {
	switch s.random.Intn(12) {
	case 0:
		return []byte{0}
	case 1:
		return []byte{0xff, byte(s.random.Intn(3))}
	default:
		return []byte(fmt.Sprintf("k%02d", s.random.Intn(24)))
	}
}

func (s *programState) rangeEnd() []byte {
	switch s.random.Intn(5) {
	case 0, 1:
		return nil
	case 2:
		return []byte{0}
	default:
		return s.key()
	}
}

func (s *programState) value() []byte {
	value := make([]byte, s.random.Intn(64))
	s.random.Read(value)
	return value
}

// at returns a revision: mostly one that exists, sometimes compacted, future or negative.
func (s *programState) at() int64 {
	switch s.random.Intn(8) {
	case 0:
		return s.revision + s.random.Int63n(3)
	case 1:
		return -1
	case 2, 3, 4:
		return 0
	default:
		return s.random.Int63n(s.revision + 1)
	}
}

func (s *programState) lease() int64 {
	if len(s.leases) == 0 || s.random.Intn(10) == 0 {
		return 1 + s.random.Int63n(3)
	}
	return s.leases[s.random.Intn(len(s.leases))]
}

func (s *programState) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{Key: s.key(), RangeEnd: s.rangeEnd(), Revision: s.at()}
	if s.random.Intn(2) == 0 {
		r.Limit = s.random.Int63n(6)
	}
	if s.random.Intn(3) == 0 {
		// A total order only: the reference leaves the order of ties open.
		r.SortOrder = pb.RangeRequest_SortOrder(s.random.Intn(3))
		r.SortTarget = []pb.RangeRequest_SortTarget{pb.RangeRequest_KEY, pb.RangeRequest_MOD}[s.random.Intn(2)]
	}
	if s.random.Intn(20) == 0 {
		r.SortOrder = 7
	}
	r.Serializable = s.random.Intn(4) == 0
	r.KeysOnly = s.random.Intn(5) == 0
	r.CountOnly = s.random.Intn(8) == 0
	if s.random.Intn(5) == 0 {
		r.MinModRevision = s.random.Int63n(s.revision + 2)
	}
	if s.random.Intn(5) == 0 {
		r.MaxModRevision = s.random.Int63n(s.revision + 2)
	}
	if s.random.Intn(5) == 0 {
		r.MinCreateRevision = s.random.Int63n(s.revision + 2)
	}
	if s.random.Intn(5) == 0 {
		r.MaxCreateRevision = s.random.Int63n(s.revision + 2)
	}
	return r
}

func (s *programState) putRequest() *pb.PutRequest {
	r := &pb.PutRequest{Key: s.key(), Value: s.value(), PrevKv: s.random.Intn(3) == 0}
	if s.random.Intn(4) == 0 {
		r.Lease = s.lease()
	}
	if s.random.Intn(8) == 0 {
		r.IgnoreValue = true
		if s.random.Intn(4) > 0 {
			r.Value = nil
		}
	}
	if s.random.Intn(8) == 0 {
		r.IgnoreLease = true
		if s.random.Intn(4) > 0 {
			r.Lease = 0
		}
	}
	return r
}

func (s *programState) deleteRequest() *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: s.key(), RangeEnd: s.rangeEnd(), PrevKv: s.random.Intn(2) == 0}
}

func (s *programState) compare() *pb.Compare {
	c := &pb.Compare{
		Result: pb.Compare_CompareResult(s.random.Intn(4)),
		Target: pb.Compare_CompareTarget(s.random.Intn(5)),
		Key:    s.key(),
	}
	if s.random.Intn(4) == 0 {
		c.RangeEnd = s.rangeEnd()
	}
	switch c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: s.random.Int63n(4)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: s.random.Int63n(s.revision + 1)}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: s.random.Int63n(s.revision + 1)}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: s.value()}
	default:
		c.TargetUnion = &pb.Compare_Lease{Lease: s.lease()}
	}
	return c
}

func (s *programState) op(depth int) *pb.RequestOp {
	switch n := s.random.Intn(8); {
	case n < 3:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: s.putRequest()}}
	case n < 5:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: s.rangeRequest()}}
	case n < 6 || depth == 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: s.deleteRequest()}}
	default:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: s.txn(depth - 1)}}
	}
}

func (s *programState) txn(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for i := s.random.Intn(3); i > 0; i-- {
		r.Compare = append(r.Compare, s.compare())
	}
	for i := s.random.Intn(4); i > 0; i-- {
		r.Success = append(r.Success, s.op(depth))
	}
	for i := s.random.Intn(4); i > 0; i-- {
		r.Failure = append(r.Failure, s.op(depth))
	}
	return r
}

// side is one server under the program, by its raw stubs.
type side struct {
	member *member
	kv     pb.KVClient
	lease  pb.LeaseClient
	watch  *watchRecorder
}

func newSide(t *testing.T, k kind) *side {
	m := newMember(t, k, t.TempDir(), "--unsafe-no-fsync")
	c := m.dial()
	conn := c.ActiveConnection()
	return &side{
		member: m,
		kv:     pb.NewKVClient(conn),
		lease:  pb.NewLeaseClient(conn),
		watch:  recordWatch(t, c),
	}
}

// outcome is a response or an error as text, without what differs by nature (ids and terms).
func outcome(response any, err error) string {
	if err != nil {
		st := status.Convert(err)
		return fmt.Sprintf("error %s %q", st.Code(), st.Message())
	}
	text := fmt.Sprintf("%+v", response)
	return headerIdentity.ReplaceAllString(text, "")
}

func TestRandomProgram(t *testing.T) {
	steps := int(setting(t, "CONFORMANCE_STEPS", 3000))
	seed := setting(t, "CONFORMANCE_SEED", 20260101)
	t.Logf("seed %d: CONFORMANCE_SEED=%d CONFORMANCE_STEPS=%d tests/conformance/run -run TestRandomProgram", seed, seed, steps)
	sides := []*side{newSide(t, reference), newSide(t, ours)}
	s := &programState{random: rand.New(rand.NewSource(seed)), revision: 1, next: 100}
	for step := 0; step < steps; step++ {
		name, request := s.step()
		var outcomes [2]string
		for i, sd := range sides {
			outcomes[i] = s.perform(sd, request, i == 0)
		}
		if outcomes[0] != outcomes[1] {
			t.Fatalf("step %d, %s %+v\nreference: %s\nours:      %s", step, name, request, outcomes[0], outcomes[1])
		}
		if step%500 == 499 {
			compareHashes(t, sides)
		}
	}
	compareHashes(t, sides)
	for _, sd := range sides {
		sd.watch.waitFor(t, s.revision)
	}
	a, b := sides[0].watch.events(), sides[1].watch.events()
	if a != b {
		t.Fatalf("watch events differ\nreference:\n%s\nours:\n%s", firstDifference(a, b), firstDifference(b, a))
	}
	for _, sd := range sides {
		sd.member.stop()
		sd.member.start()
	}
	compareHashes(t, sides)
	// A data directory is etcd's whoever wrote it: each program goes on with the other's.
	sides[0].member.swap(ours)
	sides[1].member.swap(reference)
	compareHashes(t, sides)
}

func compareHashes(t *testing.T, sides []*side) {
	t.Helper()
	a, b := sides[0].member.hashKV(0), sides[1].member.hashKV(0)
	if a != b {
		t.Fatalf("hashes differ\nreference: %s\nours:      %s", a, b)
	}
}

// step draws the next request.
func (s *programState) step() (string, any) {
	switch n := s.random.Intn(100); {
	case n < 35:
		return "put", s.putRequest()
	case n < 60:
		return "range", s.rangeRequest()
	case n < 70:
		return "delete", s.deleteRequest()
	case n < 90:
		return "txn", s.txn(2)
	case n < 93:
		s.next++
		return "grant", &pb.LeaseGrantRequest{ID: s.next, TTL: 1000 + s.random.Int63n(1000)}
	case n < 94:
		return "revoke", &pb.LeaseRevokeRequest{ID: s.lease()}
	case n < 96:
		return "timetolive", &pb.LeaseTimeToLiveRequest{ID: s.lease(), Keys: true}
	case n < 97:
		return "leases", &pb.LeaseLeasesRequest{}
	case n < 98:
		return "grant again", &pb.LeaseGrantRequest{ID: s.lease(), TTL: 5000}
	default:
		return "compact", &pb.CompactionRequest{Revision: s.random.Int63n(s.revision + 2), Physical: true}
	}
}

func (s *programState) perform(sd *side, request any, first bool) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	switch r := request.(type) {
	case *pb.PutRequest:
		p, err := sd.kv.Put(ctx, r)
		s.see(p.GetHeader())
		return outcome(p, err)
	case *pb.RangeRequest:
		p, err := sd.kv.Range(ctx, r)
		return outcome(p, err)
	case *pb.DeleteRangeRequest:
		p, err := sd.kv.DeleteRange(ctx, r)
		s.see(p.GetHeader())
		return outcome(p, err)
	case *pb.TxnRequest:
		p, err := sd.kv.Txn(ctx, r)
		s.see(p.GetHeader())
		return outcome(p, err)
	case *pb.CompactionRequest:
		p, err := sd.kv.Compact(ctx, r)
		return outcome(p, err)
	case *pb.LeaseGrantRequest:
		p, err := sd.lease.LeaseGrant(ctx, r)
		if err == nil && first {
			s.leases = append(s.leases, r.ID)
		}
		return outcome(p, err)
	case *pb.LeaseRevokeRequest:
		p, err := sd.lease.LeaseRevoke(ctx, r)
		s.see(p.GetHeader())
		return outcome(p, err)
	case *pb.LeaseTimeToLiveRequest:
		p, err := sd.lease.LeaseTimeToLive(ctx, r)
		if p != nil {
			p.TTL = min(p.TTL, 0) // what is left depends on the moment
			keys := make([]string, 0, len(p.Keys))
			for _, k := range p.Keys {
				keys = append(keys, string(k))
			}
			p.Keys = nil
			return outcome(p, err) + fmt.Sprintf(" keys %q", sorted(keys))
		}
		return outcome(p, err)
	case *pb.LeaseLeasesRequest:
		p, err := sd.lease.LeaseLeases(ctx, r)
		if err != nil {
			return outcome(p, err)
		}
		ids := make([]string, 0, len(p.Leases))
		for _, l := range p.Leases {
			ids = append(ids, fmt.Sprint(l.ID))
		}
		return strings.Join(sorted(ids), " ")
	default:
		panic(fmt.Sprintf("no way to perform %T", request))
	}
}

func (s *programState) see(h *pb.ResponseHeader) {
	if h != nil && h.Revision > s.revision {
		s.revision = h.Revision
	}
}

func eventText(e *mvccpb.Event) string {
	return fmt.Sprintf("%s %q=%q create=%d mod=%d version=%d lease=%d prev=%v\n", e.Type, e.Kv.Key, e.Kv.Value,
		e.Kv.CreateRevision, e.Kv.ModRevision, e.Kv.Version, e.Kv.Lease, e.PrevKv)
}
