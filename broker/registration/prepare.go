package registration

import (
	"context"
	"errors"
	"fmt"

	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// Prepare creates the znodes that each broker creates at its start, and the
// parent of our change log. Mostly they are there, and reads at one time find that: a
// write is a round trip of its own, and the ensemble logs also one that fails.
func Prepare(ctx context.Context, c *session.Client) error {
	paths := append(zkpaths.StartupPaths(), zkpaths.MetadataChanges)
	var absent []string
	var failed error
	c.GetAll(ctx, paths, func(i int, _ []byte, _ session.Stat, err error) {
		if errors.Is(err, session.ErrNoNode) {
			absent = append(absent, paths[i])
		} else if err != nil {
			failed = err
		}
	})
	if failed != nil {
		return fmt.Errorf("registration: start-up paths: %w", failed)
	}
	for _, p := range absent {
		if _, err := c.CreateAll(ctx, p, nil, session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
			return fmt.Errorf("registration: start-up paths: %w", err)
		}
	}
	return nil
}

// ErrClusterID is wrapped when log directories and ZooKeeper belong to
// different clusters.
var ErrClusterID = errors.New("registration: cluster id")

// ClusterID reads the cluster's id and checks that it is the stored one, from
// meta.properties; "" means that no log directory has one. The id is made if
// ZooKeeper has none, but never beside a stored one: then the znodes are lost,
// or it is the wrong ensemble or chroot.
func ClusterID(ctx context.Context, c *session.Client, stored string) (string, error) {
	for {
		data, _, err := c.Get(ctx, zkpaths.ClusterIDPath)
		switch {
		case err == nil:
			id, err := zkpaths.DecodeClusterID(data)
			if err != nil {
				return "", fmt.Errorf("%w: %s: %w", ErrClusterID, zkpaths.ClusterIDPath, err)
			}
			if stored != "" && stored != id {
				return "", fmt.Errorf("%w: ZooKeeper (%v, chroot %q) is of cluster %s, but meta.properties in the log directories says cluster.id=%s. Check zookeeper.connect and log.dirs; if the data are not needed, start with empty log directories",
					ErrClusterID, c.Servers(), c.Chroot(), id, stored)
			}
			return id, nil
		case !errors.Is(err, session.ErrNoNode):
			return "", fmt.Errorf("registration: cluster id: %w", err)
		case stored != "":
			return "", fmt.Errorf("%w: ZooKeeper (%v, chroot %q) has no cluster, but meta.properties in the log directories says cluster.id=%s. Check zookeeper.connect; if the znodes were lost, restore them, or keep the data's id with: zkCli.sh create %s/cluster '' ; create %s%s '%s'",
				ErrClusterID, c.Servers(), c.Chroot(), stored, c.Chroot(), c.Chroot(), zkpaths.ClusterIDPath, zkpaths.EncodeClusterID(stored))
		}
		id := zkpaths.NewClusterID()
		_, err = c.CreateAll(ctx, zkpaths.ClusterIDPath, zkpaths.EncodeClusterID(id), session.Persistent)
		if err != nil && !errors.Is(err, session.ErrNodeExists) && !errors.Is(err, session.ErrConnectionLost) {
			return "", fmt.Errorf("registration: making the cluster id: %w", err)
		}
	}
}

// GenerateBrokerID gives an id above reservedMax (reserved.broker.max.id) that
// no broker was given before.
func GenerateBrokerID(ctx context.Context, c *session.Client, reservedMax int32) (kafka.BrokerID, error) {
	st, err := c.Set(ctx, zkpaths.BrokerSeqID, []byte{}, -1)
	if errors.Is(err, session.ErrNoNode) {
		if _, err = c.CreateAll(ctx, zkpaths.BrokerSeqID, nil, session.Persistent); err == nil || errors.Is(err, session.ErrNodeExists) {
			st, err = c.Set(ctx, zkpaths.BrokerSeqID, []byte{}, -1)
		}
	}
	if err != nil {
		return kafka.NoBroker, fmt.Errorf("registration: generating a broker id: %w", err)
	}
	id := int64(reservedMax) + int64(st.Version)
	if id != int64(kafka.BrokerID(id)) {
		return kafka.NoBroker, fmt.Errorf("registration: no broker id is left above %d", reservedMax)
	}
	return kafka.BrokerID(id), nil
}
