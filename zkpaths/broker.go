package zkpaths

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"barnabas/internal/kafka"
)

const (
	// BrokerIDs has a child for each live broker.
	BrokerIDs = "/brokers/ids"
	// BrokerSeqID counts, by its version, the ids that were generated.
	BrokerSeqID = "/brokers/seqid"
)

// BrokerPath is the registration of a broker: ephemeral, its czxid is the
// broker's epoch.
func BrokerPath(id kafka.BrokerID) string { return child(BrokerIDs, strconv.Itoa(int(id))) }

// ParseBrokerID reads a child of BrokerIDs.
func ParseBrokerID(name string) (kafka.BrokerID, bool) {
	n, err := strconv.ParseUint(name, 10, 31)
	return kafka.BrokerID(n), err == nil && strconv.FormatUint(n, 10) == name
}

// RegistrationVersion is what is written with an inter-broker protocol of 2.7
// or later.
const RegistrationVersion = 5

// Endpoint is one advertised listener.
type Endpoint struct {
	Listener string // name, upper case
	Host     string
	Port     int32
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL
}

// String is LISTENER://host:port.
func (e Endpoint) String() string { return e.Listener + "://" + e.Addr() }

// Addr is host:port, IPv6 in brackets.
func (e Endpoint) Addr() string { return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) }

// ParseEndpoint reads what String prints, without a protocol.
func ParseEndpoint(s string) (Endpoint, error) {
	name, rest, ok := strings.Cut(s, "://")
	i := strings.LastIndexByte(rest, ':')
	if !ok || name == "" || i < 0 {
		return Endpoint{}, fmt.Errorf("endpoint %q is not LISTENER://host:port", clip([]byte(s)))
	}
	host := rest[:i]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(inner, "]"); !ok {
			return Endpoint{}, fmt.Errorf("endpoint %q: unclosed bracket", clip([]byte(s)))
		}
	}
	port, err := strconv.ParseInt(rest[i+1:], 10, 32)
	if err != nil || port < -1 || port > 65535 {
		return Endpoint{}, fmt.Errorf("endpoint %q: bad port", clip([]byte(s)))
	}
	return Endpoint{Listener: strings.ToUpper(name), Host: host, Port: int32(port)}, nil
}

// FeatureRange is what a broker supports of a feature.
type FeatureRange struct {
	Min int16 `json:"min_version"`
	Max int16 `json:"max_version"`
}

// Marker stands in the registrations of Barnabas only; Apache Kafka ignores it.
type Marker struct {
	Version string `json:"version"`
	// FastDeath allows others to declare this broker dead by evidence, before
	// its session ends.
	FastDeath bool `json:"fast_death,omitempty"`
	// Crashed says that the machine went down under at least one log directory:
	// records that were not synced may be missing.
	Crashed bool `json:"crashed,omitempty"`
	// Process is another one for each start of a process; "": it does not say. It
	// tells a broker that was restarted from one that was away.
	Process string `json:"process,omitempty"`
}

// Registration is the content of a broker's znode.
type Registration struct {
	Version   int // 0 stands for RegistrationVersion when encoded
	Endpoints []Endpoint
	// Host and Port are of the first PLAINTEXT endpoint, "" and -1 without one;
	// Encode works them out.
	Host      string
	Port      int32
	JMXPort   int32 // -1: none
	Timestamp int64 // epoch ms
	Rack      string
	Features  map[string]FeatureRange
	Marker    *Marker // nil: not one of ours
}

type registrationJSON struct {
	Version   int                     `json:"version"`
	Host      *string                 `json:"host"`
	Port      int32                   `json:"port"`
	JMXPort   *int32                  `json:"jmx_port"`
	Timestamp text                    `json:"timestamp"`
	Endpoints []string                `json:"endpoints,omitempty"`
	Rack      string                  `json:"rack,omitempty"`
	Protocols map[string]string       `json:"listener_security_protocol_map,omitempty"`
	Features  map[string]FeatureRange `json:"features,omitempty"`
	Marker    *Marker                 `json:"barnabas,omitempty"`
}

// registrationV5 always has features, even {}.
type registrationV5 struct {
	registrationJSON
	Features map[string]FeatureRange `json:"features"`
}

// Encode writes the JSON of r.Version.
func (r *Registration) Encode() []byte {
	v := registrationJSON{Version: r.Version, Port: -1, JMXPort: &r.JMXPort, Timestamp: text(r.Timestamp), Marker: r.Marker}
	if v.Version == 0 {
		v.Version = RegistrationVersion
	}
	for _, e := range r.Endpoints {
		if e.Protocol == "PLAINTEXT" && v.Host == nil {
			v.Host, v.Port = &e.Host, e.Port
		}
		if v.Version >= 2 {
			v.Endpoints = append(v.Endpoints, e.String())
		}
		if v.Version >= 4 {
			if v.Protocols == nil {
				v.Protocols = make(map[string]string)
			}
			v.Protocols[e.Listener] = e.Protocol
		}
	}
	if v.Version >= 3 {
		v.Rack = r.Rack
	}
	if v.Version < 5 {
		return render(v)
	}
	v5 := registrationV5{v, r.Features}
	if v5.Features == nil {
		v5.Features = map[string]FeatureRange{}
	}
	return render(v5)
}

// maxEndpoints bounds the listeners of one broker.
const maxEndpoints = 256

// DecodeRegistration reads all versions.
func DecodeRegistration(data []byte) (*Registration, error) {
	const what = "broker registration"
	var v registrationJSON
	if err := parse(what, data, &v); err != nil {
		return nil, err
	}
	if v.Version < 1 {
		return nil, dataErrorf(what, "version %d", v.Version)
	}
	r := &Registration{
		Version: v.Version, Port: v.Port, JMXPort: -1, Timestamp: int64(v.Timestamp),
		Rack: v.Rack, Features: v.Features, Marker: v.Marker,
	}
	if v.Host != nil {
		r.Host = *v.Host
	}
	if v.JMXPort != nil {
		r.JMXPort = *v.JMXPort
	}
	if v.Version == 1 {
		if v.Host == nil {
			return nil, dataError(what, errors.New("version 1 without host"))
		}
		r.Endpoints = []Endpoint{{"PLAINTEXT", r.Host, r.Port, "PLAINTEXT"}}
		return r, nil
	}
	if len(v.Endpoints) > maxEndpoints {
		return nil, dataErrorf(what, "%d endpoints", len(v.Endpoints))
	}
	for _, s := range v.Endpoints {
		e, err := ParseEndpoint(s)
		if err != nil {
			return nil, dataError(what, err)
		}
		if e.Protocol = v.Protocols[e.Listener]; e.Protocol == "" {
			if v.Protocols != nil {
				return nil, dataErrorf(what, "no security protocol for listener %s", e.Listener)
			}
			e.Protocol = e.Listener // before listener names there were only protocols
		}
		r.Endpoints = append(r.Endpoints, e)
	}
	return r, nil
}
