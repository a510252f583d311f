package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Every command and flag of the reference's tools, as their own help lists them, is there in ours
// with the same short form and default; what is not, or is there in ours alone, stands in a table
// of the docs.

// A flag of cobra's own layout (`-w, --write-out string   text (default "x")`) or of etcdctl's
// (`-w, --write-out="x"	text`).
var (
	ctlFlag   = regexp.MustCompile(`^ +(?:-(\w), )?--([a-z-]+)(?:=(.*?)|\[=(.*?)\])\t`)
	cobraFlag = regexp.MustCompile(`^ +(?:-(\w), )?--([a-z-]+)(?: (\w+))?  +(.*)$`)
	byDefault = regexp.MustCompile(`\(default ("[^"]*"|\S+)\)$`)
	ctlName   = regexp.MustCompile(`^  ([a-z][a-z -]*[a-z])\t`)
	cobraName = regexp.MustCompile(`^  ([a-z]+) +\S`)
)

// helpTree maps each command to its flags, and each flag to its short form and default.
func helpTree(t *testing.T, path string, command string, tree map[string]map[string]string) {
	out, err := exec.Command(path, append(strings.Fields(command), "--help")...).Output()
	must(t, err)
	flags := map[string]string{}
	section, isGroup := "", false
	for _, line := range strings.Split(string(out), "\n") {
		if line != "" && !strings.HasPrefix(line, " ") {
			section = line
			continue
		}
		switch section {
		case "COMMANDS:":
			if m := ctlName.FindStringSubmatch(line); m != nil && command == "" {
				helpTree(t, path, m[1], tree)
			}
		case "Available Commands:":
			if m := cobraName.FindStringSubmatch(line); m != nil {
				isGroup = true
				helpTree(t, path, strings.TrimSpace(command+" "+m[1]), tree)
			}
		case "OPTIONS:", "GLOBAL OPTIONS:":
			if m := ctlFlag.FindStringSubmatch(line); m != nil {
				flags[m[2]] = fmt.Sprintf("-%s %s%s", m[1], m[3], m[4])
			}
		case "Flags:", "Global Flags:":
			if m := cobraFlag.FindStringSubmatch(line); m != nil {
				flags[m[2]] = fmt.Sprintf("-%s %s", m[1], cobraDefault(m[3], m[4]))
			}
		}
	}
	// A command that only has others below is listed by one of the two layouts.
	if command == "" || !isGroup {
		tree[command] = flags
	}
}

// cobraDefault writes a default as etcdctl's help does; cobra leaves zero values out.
func cobraDefault(kind, text string) string {
	if m := byDefault.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	switch kind {
	case "string":
		return `""`
	case "":
		return "false"
	default:
		return "0"
	}
}

// The rows of the docs' table "Commands and flags that differ".
func documentedDifferences(t *testing.T, file string) []string {
	text, err := os.ReadFile(file)
	must(t, err)
	_, after, found := strings.Cut(string(text), "## Commands and flags that differ\n")
	if !found {
		t.Fatalf("%s has no table of commands and flags that differ", file)
	}
	section, _, _ := strings.Cut(after, "\n## ")
	var rows []string
	for _, line := range strings.Split(section, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) > 3 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			rows = append(rows, strings.Trim(strings.TrimSpace(cells[1]), "`")+": "+strings.TrimSpace(cells[2])+" | "+strings.TrimSpace(cells[3]))
		}
	}
	return sorted(rows)
}

func TestHelpTrees(t *testing.T) {
	for _, tool := range []string{"etcdctl", "etcdutl"} {
		t.Run(tool, func(t *testing.T) {
			theirs, own := map[string]map[string]string{}, map[string]map[string]string{}
			helpTree(t, program(t, tool), "", theirs)
			helpTree(t, "../../bin/"+tool, "", own)
			flags := 0
			for _, of := range theirs {
				flags += len(of)
			}
			// Every command has --help and --write-out, most have more.
			if len(theirs) < 8 || flags < 3*len(theirs) || theirs[""]["write-out"] != `-w "simple"` {
				t.Fatalf("the reference's help is not understood: %v", theirs)
			}
			var found []string
			row := func(name, there, here string) {
				if there != here {
					found = append(found, fmt.Sprintf("%s: %s | %s", name, there, here))
				}
			}
			for command := range union(theirs, own) {
				if theirs[command] == nil || own[command] == nil {
					row(strings.TrimSpace(tool+" "+command), there(theirs[command] != nil), there(own[command] != nil))
					continue
				}
				for flag := range union(theirs[command], own[command]) {
					name := strings.TrimSpace(tool+" "+command) + " --" + flag
					row(name, flagText(theirs[command], flag), flagText(own[command], flag))
				}
			}
			documented := documentedDifferences(t, "../../docs/"+tool+".md")
			if got := sorted(found); strings.Join(got, "\n") != strings.Join(documented, "\n") {
				t.Fatalf("found\n%s\ndocumented\n%s", strings.Join(got, "\n"), strings.Join(documented, "\n"))
			}
			t.Logf("%d commands, %d flags, %d differences", len(theirs), flags, len(found))
		})
	}
}

func there(isThere bool) string {
	if isThere {
		return "there"
	}
	return "-"
}

func flagText(flags map[string]string, name string) string {
	text, isThere := flags[name]
	if !isThere {
		return "-"
	}
	short, value, _ := strings.Cut(text, " ")
	if short == "-" {
		return value
	}
	return short + " " + value
}

func union[V any](a, b map[string]V) map[string]bool {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	return names
}
