package tools

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// resetFlags choose where a group is to go on.
type resetFlags struct {
	toEarliest, toLatest, toCurrent bool
	toOffset, shiftBy               int64
	toDatetime, byDuration, file    string
	changed                         func(flag string) bool
}

var resetPlans = []string{"to-earliest", "to-latest", "to-current", "to-offset", "shift-by", "to-datetime", "by-duration", "from-file"}

func (r *resetFlags) register(p *pflag.FlagSet) {
	p.BoolVar(&r.toEarliest, "to-earliest", false, "with --reset-offsets: to the oldest record")
	p.BoolVar(&r.toLatest, "to-latest", false, "with --reset-offsets: behind the newest record")
	p.BoolVar(&r.toCurrent, "to-current", false, "with --reset-offsets: to what is committed; behind the newest record where nothing is")
	p.Int64Var(&r.toOffset, "to-offset", 0, "with --reset-offsets: to this offset, or the nearest that there is")
	p.Int64Var(&r.shiftBy, "shift-by", 0, "with --reset-offsets: by so many records, back if negative, from what is committed")
	p.StringVar(&r.toDatetime, "to-datetime", "", "with --reset-offsets: to the first record since YYYY-MM-DDTHH:mm:SS.sss, in UTC unless followed by a zone as +01:00")
	p.StringVar(&r.byDuration, "by-duration", "", "with --reset-offsets: to the first record of the last PnDTnHnMnS, as P1DT30M")
	p.StringVar(&r.file, "from-file", "", "with --reset-offsets: to what a CSV file of --export says")
}

// checkReset refuses contradictions.
func (f *groupsFlags) checkReset() error {
	var plans []string
	for _, name := range resetPlans {
		if f.plan.changed(name) {
			plans = append(plans, name)
		}
	}
	switch {
	case len(plans) == 0:
		return usagef("Option [reset-offsets] requires one of the following scenarios: [%s]", strings.Join(resetPlans, "], ["))
	case len(plans) > 1:
		return usagef("Option [%s] can't be used with [%s]: a reset has one plan", plans[0], plans[1])
	case f.dryRun && f.execute:
		return usagef("Option [reset-offsets] only accepts one of [execute] and [dry-run]")
	case f.allTopics && len(f.topics) > 0:
		return usagef("Option [all-topics] can't be used with option [topic]")
	case !f.allTopics && len(f.topics) == 0 && f.plan.file == "":
		return usagef("One of the reset scopes should be defined: --all-topics, --topic.")
	}
	if f.plan.toDatetime != "" {
		if _, err := parseDatetime(f.plan.toDatetime); err != nil {
			return usageError{err}
		}
	}
	if f.plan.byDuration != "" {
		if _, err := parseJavaDuration(f.plan.byDuration); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// resetOffsets carries --reset-offsets out, or shows what it would do.
func (t *tool) resetOffsets(ctx context.Context, cl *kgo.Client, f *groupsFlags) error {
	if !f.dryRun && !f.execute {
		fmt.Fprintln(t.err, "WARN: No action will be performed as the --execute option is missing.")
	}
	var fromFile map[string]kadm.Offsets
	if f.plan.file != "" {
		var err error
		if fromFile, err = f.readPlan(); err != nil {
			return err
		}
	}
	admin := kadm.NewClient(cl)
	names, err := f.scope(ctx, admin)
	if err != nil || len(names) == 0 {
		return err
	}
	described, err := admin.DescribeGroups(ctx, names...)
	if err != nil {
		return explain(err)
	}
	refused := false
	plans := map[string]kadm.Offsets{}
	for _, name := range names {
		g := described[name]
		if g.Err != nil {
			return fmt.Errorf("group %s: %w", name, explain(g.Err))
		}
		if g.State != "Empty" && g.State != "Dead" {
			fmt.Fprintf(t.err, "\nError: Assignments can only be reset if the group '%s' is inactive, but the current state is %s.\n", name, g.State)
			refused, plans[name] = true, kadm.Offsets{}
			continue
		}
		r := resetter{t: t, admin: admin, f: f, group: name}
		plan, err := r.plan(ctx, fromFile)
		if err != nil {
			return fmt.Errorf("group %s: %w", name, err)
		}
		if f.execute && len(plan) > 0 {
			if err := commit(ctx, admin, name, plan); err != nil {
				return err
			}
		}
		plans[name] = plan
	}
	if f.export {
		if err := writePlans(t.out, plans, len(f.groups) == 1); err != nil {
			return err
		}
	} else {
		formatReset(t.out, plans)
	}
	if refused {
		return reportedError{errors.New("a group has members")}
	}
	return nil
}

func commit(ctx context.Context, admin *kadm.Client, group string, plan kadm.Offsets) error {
	done, err := admin.CommitOffsets(ctx, group, plan)
	if err != nil {
		return fmt.Errorf("group %s: %w", group, explain(err))
	}
	for _, o := range done.Sorted() {
		if o.Err != nil {
			return fmt.Errorf("group %s, %s-%d: %w", group, o.Topic, o.Partition, explain(o.Err))
		}
	}
	return nil
}

// resetter finds the new offsets of one group.
type resetter struct {
	t     *tool
	admin *kadm.Client
	f     *groupsFlags
	group string
}

func (r *resetter) plan(ctx context.Context, fromFile map[string]kadm.Offsets) (kadm.Offsets, error) {
	f := r.f
	if f.plan.file != "" {
		plan, found := fromFile[r.group]
		if !found {
			fmt.Fprintf(r.t.err, "\nError: No reset plan for group %s found in %s\n", r.group, f.plan.file)
			return kadm.Offsets{}, nil
		}
		return r.within(ctx, plan)
	}
	var committed kadm.OffsetResponses
	if f.allTopics || f.plan.changed("shift-by") || f.plan.toCurrent {
		var err error
		if committed, err = r.admin.FetchOffsets(ctx, r.group); err != nil {
			return nil, explain(err)
		}
	}
	set, err := r.scope(ctx, committed)
	if err != nil || len(set) == 0 {
		return kadm.Offsets{}, err
	}
	switch {
	case f.plan.changed("to-offset"):
		return r.within(ctx, fill(set, func(string, int32) int64 { return f.plan.toOffset }))
	case f.plan.changed("shift-by"):
		plan := kadm.Offsets{}
		for _, tp := range set.IntoList() {
			for _, p := range tp.Partitions {
				o, found := committed.Lookup(tp.Topic, p)
				if !found {
					return nil, fmt.Errorf("Cannot shift offset for partition %s-%d since there is no current committed offset", tp.Topic, p) //nolint:staticcheck // Kafka's words
				}
				plan.Add(kadm.Offset{Topic: tp.Topic, Partition: p, At: o.At + f.plan.shiftBy, LeaderEpoch: -1})
			}
		}
		return r.within(ctx, plan)
	case f.plan.toCurrent:
		return r.toCurrent(ctx, set, committed)
	}
	return r.listed(ctx, set)
}

// scope is the partitions to set.
func (r *resetter) scope(ctx context.Context, committed kadm.OffsetResponses) (kadm.TopicsSet, error) {
	if r.f.allTopics {
		set := kadm.TopicsSet{}
		for _, o := range committed.Sorted() {
			set.Add(o.Topic, o.Partition)
		}
		return set, nil
	}
	set, unknown, err := partitionsNamed(ctx, r.admin, r.f.topics)
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("the topic %s does not exist", unknown[0])
	}
	return set, err
}

// listed asks brokers for the new offsets.
func (r *resetter) listed(ctx context.Context, set kadm.TopicsSet) (kadm.Offsets, error) {
	var at kadm.ListedOffsets
	var err error
	p := &r.f.plan
	switch {
	case p.toEarliest:
		at, err = r.admin.ListStartOffsets(ctx, set.Topics()...)
	case p.toLatest:
		at, err = r.admin.ListEndOffsets(ctx, set.Topics()...)
	default:
		var since time.Time
		if p.toDatetime != "" {
			since, err = parseDatetime(p.toDatetime)
		} else {
			var d time.Duration
			d, err = parseJavaDuration(p.byDuration)
			since = time.Now().Add(-d)
		}
		if err != nil {
			return nil, usageError{err}
		}
		at, err = r.admin.ListOffsetsAfterMilli(ctx, since.UnixMilli(), set.Topics()...)
	}
	if err != nil {
		return nil, explain(err)
	}
	if err := r.known(set, at); err != nil {
		return nil, err
	}
	return fill(set, func(topic string, partition int32) int64 {
		o := at[topic][partition]
		if o.Timestamp == -1 && !p.toEarliest && !p.toLatest {
			fmt.Fprintf(r.t.err, "\nWarn: Partition %d from topic %s is empty. Falling back to latest known offset.\n", partition, topic)
		}
		return o.Offset
	}), nil
}

// known checks that offsets were found for all partitions.
func (r *resetter) known(set kadm.TopicsSet, at kadm.ListedOffsets) error {
	for _, tp := range set.IntoList() {
		for _, p := range tp.Partitions {
			o, found := at.Lookup(tp.Topic, p)
			switch {
			case !found:
				return fmt.Errorf("%s-%d does not exist", tp.Topic, p)
			case o.Err != nil:
				return fmt.Errorf("%s-%d: %w", tp.Topic, p, explain(o.Err))
			}
		}
	}
	return nil
}

// toCurrent keeps what is committed, and takes the end of the other partitions.
func (r *resetter) toCurrent(ctx context.Context, set kadm.TopicsSet, committed kadm.OffsetResponses) (kadm.Offsets, error) {
	ends, err := r.admin.ListEndOffsets(ctx, set.Topics()...)
	if err != nil {
		return nil, explain(err)
	}
	if err := r.known(set, ends); err != nil {
		return nil, err
	}
	plan := kadm.Offsets{}
	for _, tp := range set.IntoList() {
		for _, p := range tp.Partitions {
			o, found := committed.Lookup(tp.Topic, p)
			if !found {
				o.Offset = kadm.Offset{Topic: tp.Topic, Partition: p, At: ends[tp.Topic][p].Offset, LeaderEpoch: -1}
			}
			plan.Add(o.Offset)
		}
	}
	return plan, nil
}

// within moves offsets into what the partitions hold, and says so.
func (r *resetter) within(ctx context.Context, plan kadm.Offsets) (kadm.Offsets, error) {
	set := plan.TopicsSet()
	starts, err := r.admin.ListStartOffsets(ctx, set.Topics()...)
	if err != nil {
		return nil, explain(err)
	}
	ends, err := r.admin.ListEndOffsets(ctx, set.Topics()...)
	if err != nil {
		return nil, explain(err)
	}
	if err := cmp.Or(r.known(set, starts), r.known(set, ends)); err != nil {
		return nil, err
	}
	out := kadm.Offsets{}
	for _, o := range plan.Sorted() {
		start, end := starts[o.Topic][o.Partition].Offset, ends[o.Topic][o.Partition].Offset
		switch {
		case o.At < start:
			fmt.Fprintf(r.t.err, "New offset (%d) is lower than earliest offset for topic partition %s-%d. Value will be set to %d\n", o.At, o.Topic, o.Partition, start)
			o.At = start
		case o.At > end:
			fmt.Fprintf(r.t.err, "New offset (%d) is higher than latest offset for topic partition %s-%d. Value will be set to %d\n", o.At, o.Topic, o.Partition, end)
			o.At = end
		}
		out.Add(o)
	}
	return out, nil
}

func fill(set kadm.TopicsSet, at func(topic string, partition int32) int64) kadm.Offsets {
	out := kadm.Offsets{}
	for _, tp := range set.IntoList() {
		for _, p := range tp.Partitions {
			out.Add(kadm.Offset{Topic: tp.Topic, Partition: p, At: at(tp.Topic, p), LeaderEpoch: -1})
		}
	}
	return out
}

// writePlans writes --export's CSV: topic,partition,offset of one group, with the
// group before it of several. A blank line ends it, as Kafka's.
func writePlans(w io.Writer, plans map[string]kadm.Offsets, single bool) error {
	c := csv.NewWriter(w)
	for _, group := range sortedKeys(plans) {
		for _, o := range plans[group].Sorted() {
			row := []string{group, o.Topic, strconv.Itoa(int(o.Partition)), strconv.FormatInt(o.At, 10)}
			if single {
				row = row[1:]
			}
			if err := c.Write(row); err != nil {
				return err
			}
		}
	}
	c.Flush()
	if c.Error() == nil {
		fmt.Fprintln(w)
	}
	return c.Error()
}

// readPlan reads --from-file.
func (f *groupsFlags) readPlan() (map[string]kadm.Offsets, error) {
	file, err := os.Open(f.plan.file)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c := csv.NewReader(file)
	c.FieldsPerRecord, c.TrimLeadingSpace = -1, true
	out := map[string]kadm.Offsets{}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.plan.file, err)
		}
		line, _ := c.FieldPos(0)
		o, group, err := f.planned(row)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", f.plan.file, line, err)
		}
		if out[group] == nil {
			out[group] = kadm.Offsets{}
		}
		plan := out[group]
		plan.Add(o)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no offsets; a line is topic,partition,offset or group,topic,partition,offset", f.plan.file)
	}
	return out, nil
}

// planned reads one line of a plan.
func (f *groupsFlags) planned(row []string) (o kadm.Offset, group string, err error) {
	switch {
	case len(row) == 4:
		group, row = row[0], row[1:]
	case len(row) == 3 && len(f.groups) == 1 && !f.allGroups:
		group = f.groups[0]
	case len(row) == 3:
		return o, "", errors.New("for several groups a line is group,topic,partition,offset")
	default:
		return o, "", fmt.Errorf("%d fields; a line is topic,partition,offset or group,topic,partition,offset", len(row))
	}
	p, err := parsePartition(row[1])
	if err != nil {
		return o, "", fmt.Errorf("%q is no partition", row[1])
	}
	at, err := strconv.ParseInt(strings.TrimSpace(row[2]), 10, 64)
	if err != nil || at < 0 {
		return o, "", fmt.Errorf("%q is no offset", row[2])
	}
	return kadm.Offset{Topic: strings.TrimSpace(row[0]), Partition: p, At: at, LeaderEpoch: -1}, group, nil
}

func parsePartition(s string) (int32, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return int32(n), err
}

// datetimes are the layouts of --to-datetime, all with a zone.
var datetimes = []string{"2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05.000Z0700", "2006-01-02T15:04:05.000Z07"}

// parseDatetime reads YYYY-MM-DDTHH:mm:SS.sss, in UTC unless a zone follows
// (Utils.getDateTime of Kafka's clients).
func parseDatetime(s string) (time.Time, error) {
	if _, clock, ok := strings.Cut(s, "T"); ok && !strings.ContainsAny(clock, "+-Z") {
		s += "Z"
	}
	for _, layout := range datetimes {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time as 2026-01-31T08:00:00.000 or 2026-01-31T08:00:00.000+01:00", s)
}

// units of Java's durations, in order; T stands before the hours.
var durationUnits = []struct {
	letter byte
	unit   time.Duration
}{{'D', 24 * time.Hour}, {'H', time.Hour}, {'M', time.Minute}, {'S', time.Second}}

// maxDuration, about 50 years, keeps the sum of four parts within bounds.
const maxDuration = 50 * 365 * 24 * time.Hour

// parseJavaDuration reads PnDTnHnMnS as java.time.Duration does: parts may be
// left out, seconds may have a fraction, all may have signs.
func parseJavaDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no duration as P7D, PT30M or P1DT12H30M5S", text)
	s := strings.ToUpper(text)
	sign := time.Duration(1)
	if rest, negative := strings.CutPrefix(s, "-"); negative {
		s, sign = rest, -1
	}
	s, ok := strings.CutPrefix(strings.TrimPrefix(s, "+"), "P")
	if !ok {
		return 0, bad
	}
	days, clock, hasClock := strings.Cut(s, "T")
	if hasClock && clock == "" || days == "" && !hasClock {
		return 0, bad
	}
	var sum time.Duration
	for i, u := range durationUnits {
		part := &clock
		if i == 0 {
			part = &days
		}
		n, rest, found := strings.Cut(*part, string(u.letter))
		if !found {
			continue
		}
		v, err := strconv.ParseFloat(strings.Replace(n, ",", ".", 1), 64)
		if err != nil || u.letter != 'S' && v != float64(int64(v)) || math.Abs(v)*float64(u.unit) > float64(maxDuration) {
			return 0, bad
		}
		sum += time.Duration(v * float64(u.unit))
		*part = rest
	}
	if days != "" || clock != "" {
		return 0, bad
	}
	return sign * sum, nil
}

// formatReset prints as ConsumerGroupCommand.printOffsetsToReset.
func formatReset(w io.Writer, plans map[string]kadm.Offsets) {
	line := "\n%-30s %-30s %-10s %-15s"
	if len(plans) > 0 {
		fmt.Fprintf(w, line, "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET")
	}
	for _, group := range sortedKeys(plans) {
		for _, o := range plans[group].Sorted() {
			fmt.Fprintf(w, line, group, o.Topic, strconv.Itoa(int(o.Partition)), strconv.FormatInt(o.At, 10))
		}
	}
	if len(plans) > 0 {
		fmt.Fprintln(w)
	}
}

// formatDeletedOffsets prints as ConsumerGroupCommand.deleteOffsets.
func formatDeletedOffsets(w io.Writer, rows []deletedOffset) {
	line := "\n%-30s %-15s %-15s"
	fmt.Fprintf(w, line, "TOPIC", "PARTITION", "STATUS")
	for _, r := range rows {
		status := "Successful"
		if r.err != nil {
			status = "Error: " + explain(r.err).Error()
		}
		fmt.Fprintf(w, line, r.topic, orDash(int64(r.partition)), status)
	}
	fmt.Fprintln(w)
}
