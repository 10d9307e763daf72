// Package registered turns registrations, as zkpaths reads them, into brokers of a
// cluster.Image: for who loads the image, and for the controller, which compares them
// with it. It does no I/O.
package registered

import (
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
)

// Broker is a registration as the image holds it. czxid and mzxid are the znode's.
func Broker(id kafka.BrokerID, reg *zkpaths.Registration, czxid, mzxid int64) *cluster.Broker {
	b := &cluster.Broker{ID: id, Epoch: kafka.BrokerEpoch(czxid), Rack: reg.Rack, Zxid: mzxid}
	for _, e := range reg.Endpoints {
		b.Endpoints = append(b.Endpoints, cluster.Endpoint(e))
	}
	for name, f := range reg.Features {
		if b.Features == nil {
			b.Features = map[string]cluster.Feature{}
		}
		b.Features[name] = cluster.Feature{Min: f.Min, Max: f.Max}
	}
	if reg.Marker != nil {
		b.Version, b.Crashed, b.FastDeath, b.Process = reg.Marker.Version, reg.Marker.Crashed, reg.Marker.FastDeath, reg.Marker.Process
	}
	return b
}
