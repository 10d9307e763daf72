package tools

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// dash stands where a column has no value.
const dash = "-"

func orDash(n int64) string {
	if n < 0 {
		return dash
	}
	return strconv.FormatInt(n, 10)
}

func textOrDash(s string) string {
	if s == "" {
		return dash
	}
	return s
}

// widest is the longest of some texts, at least low.
func widest(low int, texts ...string) int {
	for _, s := range texts {
		low = max(low, len(s))
	}
	return low
}

// formatOffsets prints as ConsumerGroupCommand.printOffsets: a blank line, a
// header, a line per partition. ages adds a column of ours, the last one, so that
// scripts find the others where they are.
func formatOffsets(w io.Writer, group string, rows []offsetRow, ages bool) {
	g, t, c, h, id := widest(15, group), 15, 15, 15, 15
	for _, r := range rows {
		t, c, h, id = widest(t, r.topic), widest(c, r.consumerID), widest(h, r.host), widest(id, r.client)
	}
	before := fmt.Sprintf("\n%%-%ds %%-%ds %%-10s %%-15s %%-15s %%-15s ", g, t)
	after := fmt.Sprintf("%%-%ds %%-%ds ", c, h)
	last := func(client, age string) {
		if ages {
			fmt.Fprintf(w, "%-*s %s", id, client, age)
		} else {
			fmt.Fprint(w, client)
		}
	}
	fmt.Fprintf(w, before+after, "GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST")
	last("CLIENT-ID", "LAG-SECONDS")
	for _, r := range rows {
		lag := dash
		if r.committed >= 0 && r.end >= 0 {
			lag = strconv.FormatInt(r.end-r.committed, 10)
		}
		age := dash
		if r.age != noAge {
			age = strconv.FormatFloat(r.age.Seconds(), 'f', 1, 64)
		}
		fmt.Fprintf(w, before+after, group, textOrDash(r.topic), orDash(int64(r.partition)), orDash(r.committed), orDash(r.end), lag,
			textOrDash(r.consumerID), textOrDash(r.host))
		last(textOrDash(r.client), age)
	}
	fmt.Fprintln(w)
}

// formatMembers prints as ConsumerGroupCommand.printMembers.
func formatMembers(w io.Writer, g kadm.DescribedGroup, verbose bool) {
	group, id, instance, host, client := widest(15, g.Group), 15, 17, 15, 15
	static := false
	for _, m := range g.Members {
		id, host, client = widest(id, m.MemberID), widest(host, m.ClientHost), widest(client, m.ClientID)
		if m.InstanceID != nil && *m.InstanceID != "" {
			static = true
			instance = widest(instance, *m.InstanceID)
		}
	}
	row := func(groupText, idText, instanceText, hostText, clientText, partitions, assignment string) {
		fmt.Fprintf(w, "%-*s %-*s ", group, groupText, id, idText)
		if static {
			fmt.Fprintf(w, "%-*s ", instance, instanceText)
		}
		fmt.Fprintf(w, "%-*s %-*s %-15s ", host, hostText, client, clientText, partitions)
		if verbose {
			fmt.Fprint(w, assignment)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	row("GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "ASSIGNMENT")
	for _, m := range g.Members {
		name := ""
		if m.InstanceID != nil {
			name = *m.InstanceID
		}
		assigned := assignedTo(m)
		row(g.Group, m.MemberID, name, m.ClientHost, m.ClientID, strconv.Itoa(len(assigned)), assignmentText(assigned))
	}
}

// assignmentText is topic(0,1), other(2).
func assignmentText(assigned []offsetRow) string {
	byTopic := map[string][]string{}
	for _, r := range assigned {
		byTopic[r.topic] = append(byTopic[r.topic], strconv.Itoa(int(r.partition)))
	}
	var parts []string
	for _, topic := range sortedKeys(byTopic) {
		parts = append(parts, topic+"("+strings.Join(byTopic[topic], ",")+")")
	}
	return textOrDash(strings.Join(parts, ", "))
}

// formatGroupState prints as ConsumerGroupCommand.printStates.
func formatGroupState(w io.Writer, g kadm.DescribedGroup) {
	coordinator := fmt.Sprintf("%s:%d  (%d)", g.Coordinator.Host, g.Coordinator.Port, g.Coordinator.NodeID)
	wide := widest(25, coordinator)
	line := fmt.Sprintf("\n%%-%ds %%-25s %%-20s %%-15s %%s", wide)
	fmt.Fprintf(w, line, "GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS")
	fmt.Fprintf(w, line, g.Group, coordinator, g.Protocol, g.State, strconv.Itoa(len(g.Members)))
	fmt.Fprintln(w)
}

// formatGroupList prints names, or names with types and states.
func formatGroupList(w io.Writer, groups []kadm.ListedGroup, states, types bool) {
	if !states && !types {
		for _, g := range groups {
			fmt.Fprintln(w, g.Group)
		}
		return
	}
	wide := 15
	for _, g := range groups {
		wide = widest(wide, g.Group)
	}
	row := func(name, kind, state string) {
		fmt.Fprintf(w, "%-*s", wide+10, name)
		if types {
			fmt.Fprintf(w, " %-20s", kind)
		}
		if states {
			fmt.Fprintf(w, " %-20s", state)
		}
		fmt.Fprintln(w)
	}
	row("GROUP", "TYPE", "STATE")
	for _, g := range groups {
		row(g.Group, "Classic", g.State)
	}
}
