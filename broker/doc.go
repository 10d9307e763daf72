// Package broker assembles a broker from its rooms, starts them in order, and
// stops them in the reverse one. It has no rule of its own: where two rooms
// meet, it hands one of them a function or an adapter of the other.
//
// The order of a start: log directories are locked and recovered; listeners are
// bound, so that a taken port is known; ZooKeeper; cluster id and broker id; the
// image of the cluster is loaded; requests are served; the broker registers,
// takes part in the election of a controller, and leads what is newer than its
// registration.
package broker
