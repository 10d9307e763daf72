package conf

import (
	"slices"
	"strings"
)

// fromEnviron reads KAFKA_* variables as the images of Apache Kafka do
// (kafka.docker.KafkaDockerWrapper): the prefix goes, the rest in lower case
// with _ as a dot, __ as an underscore, ___ as a dash. Names of keys that have
// capitals are found all the same. What the images use for themselves, and what
// Docker and Kubernetes set for a service called kafka, is no key.
func fromEnviron(environ []string) []property {
	var out []property
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		rest, ok := strings.CutPrefix(name, "KAFKA_")
		if !ok || rest == "" || isImageVariable(rest) {
			continue
		}
		key := strings.NewReplacer("___", "-", "__", "_", "_", ".").Replace(strings.ToLower(rest))
		if k := table().byLower[key]; k != nil {
			key = k.Name
		} else if isServiceLink(rest, value) {
			continue
		}
		out = append(out, property{key: key, value: value})
	}
	slices.SortFunc(out, func(a, b property) int { return strings.Compare(a.key, b.key) })
	return out
}

// isImageVariable knows what the images keep for the JVM and for logging.
func isImageVariable(rest string) bool {
	switch rest {
	case "VERSION", "HOME", "HEAP_OPT", "HEAP_OPTS", "OPTS", "JMX_OPTS", "JMX_HOSTNAME", "JMX_PORT",
		"JVM_PERFORMANCE_OPTS", "GC_LOG_OPTS", "LOG4J_OPTS", "LOG4J_ROOT_LOGLEVEL", "LOG4J_LOGGERS",
		"TOOLS_LOG4J_LOGLEVEL", "CLASSPATH", "DEBUG":
		return true
	}
	return false
}

// isServiceLink knows the variables of Kubernetes and of Docker links:
// KAFKA_SERVICE_HOST, KAFKA_PORT=tcp://..., KAFKA_PORT_9092_TCP_ADDR.
func isServiceLink(rest, value string) bool {
	return strings.HasPrefix(rest, "SERVICE_") || strings.HasPrefix(rest, "PORT_") ||
		strings.Contains(rest, "_SERVICE_") || strings.Contains(rest, "_TCP") ||
		rest == "PORT" || strings.HasPrefix(value, "tcp://")
}
