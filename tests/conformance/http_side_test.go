package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"
)

// rawAnswer sends bytes on a connection of its own and tells what came until it was closed, or for
// a while.
func rawAnswer(t testing.TB, url, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// Headers that say something; the rest is the libraries' way of saying it.
var comparedHeaders = regexp.MustCompile(`(?i)^(access-control-|allow:|content-type: (application/json|text/plain)|location:|x-content-type-options:|x-etcd-)`)

// said is a raw answer without what may differ: order and date, blanks of JSON, the pages that
// net/http adds to refusals of its own and to redirects.
func said(answer string) string {
	// Of several answers the first; the rest shows that the connection went on.
	first, rest, isMore := strings.Cut(answer[min(1, len(answer)):], "HTTP/1.1 ")
	if isMore {
		return said(answer[:1]+first) + "\nthen " + said("HTTP/1.1 "+rest)
	}
	head, body, found := strings.Cut(answer, "\r\n\r\n")
	if !found {
		return answer
	}
	lines := strings.Split(head, "\r\n")
	status := strings.Join(strings.SplitN(lines[0], " ", 3)[1:2], " ")
	kept := []string{}
	for _, line := range lines[1:] {
		if comparedHeaders.MatchString(line) {
			name, value, _ := strings.Cut(line, ":")
			kept = append(kept, strings.ToLower(name)+":"+value)
		}
	}
	sort.Strings(kept)
	var object map[string]any
	if json.Unmarshal([]byte(body), &object) == nil {
		text, _ := json.Marshal(object)
		body = string(text)
	}
	if status == "400" && !strings.HasPrefix(body, "{") || status == "307" || status == "431" {
		body = ""
	}
	if (status == "400" || status == "431") && body == "" {
		kept = nil
	}
	return fmt.Sprintf("%s\n%s\n%s", status, strings.Join(kept, "\n"), body)
}

func rawGet(target, host, more string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", target, host, more)
}

func postJSON(target, host, body, more string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s",
		target, host, len(body), more, body)
}

// The HTTP side of a client port answers byte by byte requests as the reference does, with and
// without rules about hosts and origins.
func TestHTTPSide(t *testing.T) {
	origin := func(of string) string { return "Origin: " + of + "\r\n" }
	const websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	requests := map[string]string{
		"known host":          rawGet("/version", "good.example", ""),
		"known host, port":    rawGet("/version", "good.example:2379", ""),
		"known host, case":    rawGet("/version", "Good.Example", ""),
		"listed address":      rawGet("/version", "[::1]:2379", ""),
		"unknown host":        rawGet("/version", "evil.example:80", ""),
		"quoted host":         rawGet("/version", `evil"x`, ""),
		"no host":             rawGet("/version", "", ""),
		"too many ports":      rawGet("/version", "good.example:1:2", ""),
		"whole URL":           rawGet("http://evil.example/version", "good.example", ""),
		"whole URL, known":    rawGet("http://good.example:5/version", "evil.example", ""),
		"two hosts":           rawGet("/version", "good.example", "Host: good.example\r\n"),
		"known origin":        rawGet("/version", "good.example", origin("http://app.example:80")),
		"unknown origin":      rawGet("/version", "good.example", origin("http://evil.example")),
		"origin, not found":   rawGet("/nothing", "good.example", origin("http://app.example:80")),
		"origin, gateway":     postJSON("/v3/kv/range", "good.example", "{}", origin("http://app.example:80")),
		"origin, host":        postJSON("/v3/kv/range", "evil.example", "{}", origin("http://app.example:80")),
		"preflight":           "OPTIONS /v3/kv/put HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\nOrigin: http://app.example:80\r\n\r\n",
		"preflight, unknown":  "OPTIONS /v3/kv/put HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\nOrigin: http://evil.example\r\n\r\n",
		"preflight, host":     "OPTIONS /v3/kv/put HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
		"no path":             rawGet("*", "good.example", ""),
		"no URL":              rawGet("http://[", "good.example", ""),
		"escape":              rawGet("/%76ersion", "good.example", ""),
		"bad escape":          rawGet("/%zz", "good.example", ""),
		"bad escape, gateway": postJSON("/v3/%zz", "good.example", "{}", ""),
		"fragment":            rawGet("/version#x", "good.example", ""),
		"bad query":           rawGet("/version?%zz", "good.example", ""),
		"slashes":             rawGet("//version", "good.example", ""),
		"dots":                rawGet("/a/../version?x=y", "good.example", ""),
		"head":                "HEAD /health HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n",
		"delete":              "DELETE /health HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n",
		"two lengths":         "POST /v3/kv/range HTTP/1.1\r\nHost: good.example\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"negative length":     "POST /v3/kv/range HTTP/1.1\r\nHost: good.example\r\nContent-Length: -1\r\n\r\n{}",
		"compressed":          postJSON("/v3/kv/range", "good.example", "{}", "Content-Encoding: gzip\r\n"),
		"headers of 60 KiB":   rawGet("/version", "good.example", "X: "+strings.Repeat("x", 60_000)+"\r\n"),
		"headers of 2 MiB":    rawGet("/version", "good.example", "X: "+strings.Repeat("x", 2_000_000)+"\r\n"),
		"2500 headers":        rawGet("/version", "good.example", strings.Repeat("A: b\r\n", 2500)),
		"bad header":          rawGet("/version", "good.example", "X Y: z\r\n"),
		"websocket elsewhere": strings.Replace(rawGet("/version", "good.example", ""), "Connection: close\r\n", websocket, 1) + rawGet("/nothing", "evil.example", ""),
		"no such version":     "GET /version HTTP/2.0\r\nHost: good.example\r\nConnection: close\r\n\r\n",
	}
	flags := map[string][]string{
		"no rules": nil,
		"rules":    {"--cors=http://app.example:80", "--host-whitelist=good.example,::1"},
	}
	for name, more := range flags {
		theirs := newMember(t, reference, t.TempDir(), more...)
		own := newMember(t, ours, t.TempDir(), more...)
		theirs.settle("good.example")
		own.settle("good.example")
		for what, request := range requests {
			want, got := said(rawAnswer(t, theirs.client, request)), said(rawAnswer(t, own.client, request))
			if what == "no such version" && want == "" || what == "no URL" && strings.HasPrefix(got, "421") {
				// The reference says nothing where ours says why, and refuses what is no URL before
				// it looks at the host.
				continue
			}
			if want != got {
				t.Errorf("%s, %s:\n reference %q\n      ours %q", name, what, want, got)
			}
		}
	}
}

// With ports of their own, gRPC and HTTP are each served on theirs alone.
func TestHTTPSideSplit(t *testing.T) {
	var answers [2][]string
	for i, k := range []kind{reference, ours} {
		url := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
		m := newMember(t, k, t.TempDir(), "--listen-client-http-urls="+url)
		const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		isSettings := func(url string) string {
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, preface)
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			head := make([]byte, 9)
			_, err = io.ReadFull(conn, head)
			return fmt.Sprintf("HTTP/2: %v", err == nil && head[3] == 4)
		}
		isHTTP := func(url string) string {
			return fmt.Sprintf("HTTP/1.1: %v", strings.HasPrefix(rawAnswer(t, url, rawGet("/version", "x", "")), "HTTP/1.1 200"))
		}
		answers[i] = []string{isSettings(m.client), isSettings(url), isHTTP(m.client), isHTTP(url),
			said(rawAnswer(t, url, postJSON("/v3/kv/range", "x", "{}", "")))}
	}
	if fmt.Sprint(answers[0]) != fmt.Sprint(answers[1]) {
		t.Errorf("\n reference %q\n      ours %q", answers[0], answers[1])
	}
}
