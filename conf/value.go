package conf

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rule is what a value must fulfil besides its type.
type rule struct {
	// allowed says it in words, for errors and for server.toml: "1 or more".
	allowed string
	// check returns Kafka's reason why v cannot be, or "". v is what parse
	// returned; nil passes everything.
	check func(v any) string
}

// atLeast allows numbers from low on (ConfigDef.Range.atLeast).
func atLeast(low int64) rule {
	return rule{fmt.Sprintf("%d or more", low), func(v any) string {
		if number(v) < float64(low) {
			return fmt.Sprintf("Value must be at least %d", low)
		}
		return ""
	}}
}

// between allows numbers from low to high, both included.
func between(low, high int64) rule {
	return rule{fmt.Sprintf("%d to %d", low, high), func(v any) string {
		switch n := number(v); {
		case n < float64(low):
			return fmt.Sprintf("Value must be at least %d", low)
		case n > float64(high):
			return fmt.Sprintf("Value must be no more than %d", high)
		}
		return ""
	}}
}

// gzipLevel allows 1 to 9 and -1.
func gzipLevel() rule {
	return rule{"1 to 9, or -1", func(v any) string {
		if n := number(v); n != -1 && (n < 1 || n > 9) {
			return "Value must be between 1 and 9 or equal to -1"
		}
		return ""
	}}
}

func oneOf(words ...string) rule {
	list := strings.Join(words, ", ")
	return rule{"one of " + list, func(v any) string {
		if !slices.Contains(words, v.(string)) {
			return "String must be one of: " + list
		}
		return ""
	}}
}

// listOf allows lists of these words only; Kafka names the first wrong one.
func listOf(words ...string) rule {
	list := strings.Join(words, ", ")
	return rule{"any of " + list, func(v any) string {
		for _, w := range v.([]string) {
			if !slices.Contains(words, w) {
				return "String must be one of: " + list
			}
		}
		return ""
	}}
}

func nonEmpty() rule {
	return rule{"not empty", func(v any) string {
		if v.(string) == "" {
			return "String must be non-empty"
		}
		return ""
	}}
}

// version allows the metadata versions of releases up to 3.9, short ("3.9",
// "3.9.1") or with their step ("2.7-IV2").
func version() rule {
	return rule{"a release from 0.8.0 to 3.9", func(v any) string {
		if s := v.(string); !knownRelease(s) {
			return "Version " + s + " is not a valid version"
		}
		return ""
	}}
}

// knownRelease follows MetadataVersion.fromVersionString: of a release before 1.0
// three numbers count, of others two, and what follows is ignored.
func knownRelease(s string) bool {
	parts := strings.Split(s, ".")
	keep := 2
	if parts[0] == "0" {
		keep = 3
	}
	if len(parts) > keep {
		parts = parts[:keep]
	}
	release, step, hasStep := strings.Cut(strings.Join(parts, "."), "-IV")
	// The highest -IVn of each release; the oldest have none.
	highest, ok := map[string]int{
		"0.8.0": -1, "0.8.1": -1, "0.8.2": -1, "0.9.0": -1, "0.10.0": 1, "0.10.1": 2, "0.10.2": 0, "0.11.0": 2,
		"1.0": 0, "1.1": 0, "2.0": 1, "2.1": 2, "2.2": 1, "2.3": 1, "2.4": 1, "2.5": 0, "2.6": 0, "2.7": 2, "2.8": 1,
		"3.0": 1, "3.1": 0, "3.2": 0, "3.3": 3, "3.4": 0, "3.5": 2, "3.6": 2, "3.7": 4, "3.8": 0, "3.9": 0,
	}[release]
	if !ok || !hasStep {
		return ok
	}
	n, err := strconv.Atoi(step)
	return err == nil && n >= 0 && n <= highest
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// throttled allows "*", or partition:broker pairs.
func throttled() rule {
	return rule{"*, or partition:broker,partition:broker", func(v any) string {
		list := v.([]string)
		if len(list) == 1 && list[0] == "*" {
			return ""
		}
		for _, e := range list {
			p, b, ok := strings.Cut(e, ":")
			if !ok || !digits(p) || !digits(b) {
				return "must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
			}
		}
		return ""
	}}
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func number(v any) float64 {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	return v.(float64)
}

// parse converts a value as ConfigDef.parseType does: bool, int64, float64,
// string or []string. reason is Kafka's when it cannot.
func parse(t Type, s string) (v any, reason string) {
	s = trim(s)
	switch t {
	case Boolean:
		switch strings.ToLower(s) {
		case "true":
			return true, ""
		case "false":
			return false, ""
		}
		return nil, "Expected value to be either true or false"
	case Int, Short, Long:
		bits := map[Type]int{Int: 32, Short: 16, Long: 64}[t]
		n, err := strconv.ParseInt(s, 10, bits)
		if err != nil {
			return nil, "Not a number of type " + t.String()
		}
		return n, ""
	case Double:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) {
			return nil, "Not a number of type " + t.String()
		}
		return f, ""
	case List:
		return splitList(s), ""
	}
	return s, ""
}

// trim cuts what String.trim cuts in Java: all up to and including the blank.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}

// splitList splits at commas and drops blanks round them; "a,,b" keeps its
// empty element, "" is the empty list.
func splitList(s string) []string {
	if s == "" {
		return nil
	}
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = trim(parts[i])
	}
	return parts
}

// format prints a value as ConfigDef.convertToString does.
func format(v any) string {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return formatDouble(v)
	case []string:
		return strings.Join(v, ",")
	}
	return v.(string)
}

// formatDouble prints as java.lang.Double.toString: always with a fraction, and
// with an exponent below 10^-3 and from 10^7 on.
func formatDouble(f float64) string {
	switch abs := math.Abs(f); {
	case math.IsInf(f, 0):
		return strings.Replace(strconv.FormatFloat(f, 'g', -1, 64), "Inf", "Infinity", 1)[btoi(f > 0):]
	case f == 0 || abs >= 1e-3 && abs < 1e7:
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exp, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	sign := ""
	if exp[0] == '-' {
		sign = "-"
	}
	return mantissa + "E" + sign + strings.TrimLeft(exp[1:], "0")
}

// millis is a number of milliseconds, cut to what time.Duration can hold.
func millis(n int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	switch {
	case n > most:
		return math.MaxInt64
	case n < -most:
		return math.MinInt64
	}
	return time.Duration(n) * time.Millisecond
}
