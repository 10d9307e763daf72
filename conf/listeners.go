package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// String is NAME://host:port, with brackets round an IPv6 address.
func (l Listener) String() string {
	host := l.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s://%s:%d", l.Name, host, l.Port)
}

// listeners reads where to listen and what to tell, and applies the rules of
// SocketServer's end points (KafkaConfig.validateValues, CoreUtils.listenerListToEndPoints).
func (b *builder) listeners(o *Listeners) {
	o.ProtocolMap = b.protocolMap()
	var ok, okAdvertised bool
	o.Bind, ok = b.endpoints(b.str("listeners"), o.ProtocolMap, true)
	o.Advertised, okAdvertised = o.Bind, ok
	if b.has("advertised.listeners") {
		o.Advertised, okAdvertised = b.endpoints(b.str("advertised.listeners"), o.ProtocolMap, false)
	}
	o.InterBroker = strings.ToUpper(b.str("inter.broker.listener.name"))
	_, named := b.given["inter.broker.listener.name"]
	_, protocol := b.given["security.inter.broker.protocol"]
	if named && protocol {
		b.contradiction("Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.")
		return
	}
	if !named {
		o.InterBroker = b.str("security.inter.broker.protocol")
	} else if _, mapped := o.ProtocolMap[o.InterBroker]; !mapped {
		b.contradiction("Listener with name %s defined in inter.broker.listener.name not found in listener.security.protocol.map.", o.InterBroker)
		return
	}
	if ok && okAdvertised {
		b.checkListeners(o)
		b.checkControlPlane(o)
	}
}

func (b *builder) checkListeners(o *Listeners) {
	bound, advertised := names(o.Bind), names(o.Advertised)
	switch {
	case len(o.Advertised) == 0:
		b.contradiction("There must be at least one broker advertised listener.")
		return
	case !slices.Contains(advertised, o.InterBroker):
		b.contradiction("inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based on currently configured listeners are %s", strings.Join(advertised, ","))
	}
	for _, n := range advertised {
		if !slices.Contains(bound, n) {
			b.contradiction("advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found %s. The valid options based on the current configuration are %s",
				strings.Join(advertised, ","), strings.Join(bound, ","))
			break
		}
	}
	for _, l := range o.Advertised {
		if l.Host == "0.0.0.0" {
			b.contradiction("advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address; set advertised.listeners=%s://<the name that clients know this host by>:%d", l.Name, l.Port)
		}
	}
	for _, l := range o.Bind {
		if l.Protocol != Plaintext {
			b.contradiction("listener %s is to speak %s, which is not built yet; without it this broker would be less secure than it was told to be", l.Name, l.Protocol)
		}
	}
}

func (b *builder) checkControlPlane(o *Listeners) {
	name := strings.ToUpper(b.str("control.plane.listener.name"))
	if name == "" {
		return
	}
	o.ControlPlane = name
	_, mapped := o.ProtocolMap[name]
	switch {
	case !mapped:
		b.contradiction("Listener with %s defined in control.plane.listener.name not found in listener.security.protocol.map.", name)
	case name == o.InterBroker:
		b.contradiction("control.plane.listener.name, when defined, should have a different value from the inter broker listener name. Currently they both have the value ListenerName(%s)", name)
	case !slices.Contains(names(o.Advertised), name):
		b.contradiction("control.plane.listener.name must be a listener name defined in advertised.listeners. The valid options based on currently configured listeners are %s", strings.Join(names(o.Advertised), ","))
	}
}

// protocolMap reads NAME:PROTOCOL,NAME:PROTOCOL.
func (b *builder) protocolMap() map[string]Protocol {
	out := map[string]Protocol{}
	for _, e := range splitList(b.str("listener.security.protocol.map")) {
		i := strings.LastIndexByte(e, ':')
		if i < 0 {
			b.contradiction("Error parsing configuration property 'listener.security.protocol.map': %q is not NAME:PROTOCOL", e)
			continue
		}
		name, text := trim(e[:i]), trim(e[i+1:])
		switch p := Protocol(strings.ToUpper(text)); p {
		case Plaintext, SSL, SASLPlaintext, SASLSSL:
			out[strings.ToUpper(name)] = p
		default:
			b.contradiction("Invalid security protocol `%s` defined in listener.security.protocol.map", text)
		}
	}
	return out
}

// endpoints reads a list of listeners. Of those to bind, ports may not collide.
func (b *builder) endpoints(text string, protocols map[string]Protocol, bind bool) (out []Listener, ok bool) {
	for _, e := range splitList(text) {
		if e == "" {
			continue
		}
		l, reason := parseListener(e)
		if reason == "" {
			if p, mapped := protocols[l.Name]; mapped {
				l.Protocol = p
			} else {
				reason = "No security protocol defined for listener " + l.Name
			}
		}
		if reason != "" {
			b.contradiction("Error creating broker listeners from '%s': %s", text, reason)
			return nil, false
		}
		out = append(out, l)
	}
	for i, l := range out {
		if slices.Contains(names(out[:i]), l.Name) {
			b.contradiction("Each listener must have a different name, listeners: %s", text)
			return nil, false
		}
	}
	if reason := portCollision(out); bind && reason != "" {
		b.contradiction("%s, listeners: %s, port: %d", reason, text, collidingPort(out))
		return nil, false
	}
	return out, true
}

// parseListener reads NAME://HOST:PORT (kafka.cluster.EndPoint).
func parseListener(e string) (l Listener, reason string) {
	reason = "Unable to parse " + e + " to a broker endpoint"
	name, rest, ok := strings.Cut(e, "://")
	colon := strings.LastIndexByte(rest, ':')
	if !ok || name == "" || colon < 0 {
		return l, reason
	}
	host := rest[:colon]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	port, err := strconv.ParseInt(rest[colon+1:], 10, 32)
	if err != nil || !validHost(host) || strings.ContainsAny(name, "/:") {
		return l, reason
	}
	if port < 0 || port > 65535 { // Kafka finds out when it binds
		return l, fmt.Sprintf("port %d of %s is not in 0 to 65535", port, e)
	}
	return Listener{Name: strings.ToUpper(name), Host: host, Port: int(port)}, ""
}

// validHost reports whether all characters may stand in a listener's host.
func validHost(host string) bool {
	for i := range len(host) {
		c := host[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-%._:", c) >= 0) {
			return false
		}
	}
	return true
}

// collidingPort is the first port that stands twice, 0 if none.
func collidingPort(all []Listener) int {
	for i, l := range all {
		if l.Port != 0 && slices.ContainsFunc(all[:i], func(o Listener) bool { return o.Port == l.Port }) {
			return l.Port
		}
	}
	return 0
}

// portCollision says why listeners cannot share a port: only two may, one on an
// IPv4 and one on an IPv6 address.
func portCollision(all []Listener) string {
	port := collidingPort(all)
	if port == 0 {
		return ""
	}
	var v4, v6, other int
	for _, l := range all {
		if l.Port != port {
			continue
		}
		switch ip, err := netip.ParseAddr(l.Host); {
		case err != nil:
			other++
		case ip.Is4():
			v4++
		default:
			v6++
		}
	}
	switch {
	case v4 == 1 && v6 == 1 && other == 0:
		return ""
	case other == 0:
		return "If you have two listeners on the same port then one needs to be IPv4 and the other IPv6"
	case v4+v6 > 0:
		return "Each listener must have a different port unless exactly one listener has an IPv4 address and the other IPv6 address"
	}
	return "Each listener must have a different port"
}

func names(all []Listener) []string {
	out := make([]string, len(all))
	for i, l := range all {
		out[i] = l.Name
	}
	return out
}
