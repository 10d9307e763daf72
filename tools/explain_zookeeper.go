package tools

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"barnabas/cluster"
	"barnabas/cluster/journal"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// explainFromZooKeeper explains from what the znodes say, for a cluster of which
// no broker answers.
func explainFromZooKeeper(ctx context.Context, connect, subject string) (*journal.Explanation, error) {
	zk, err := session.Open(ctx, session.Options{Connect: connect, ConnectTimeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	defer zk.Close()
	r := &zooReader{ctx: ctx, zk: zk, edit: cluster.NewEdit(cluster.Empty()), reasons: journal.New()}
	topics := []string{}
	if tp, err := kafka.ParseTopicPartition(subject); err == nil {
		topics = append(topics, tp.Topic)
	} else if strings.HasPrefix(subject, "broker ") {
		if topics, _, err = zk.Children(ctx, zkpaths.Topics); err != nil {
			return nil, err
		}
	}
	for _, step := range []func() error{r.controller, r.brokers, func() error { return r.topics(topics) }, r.log} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	im, _ := r.edit.Publish()
	e, err := journal.Explain(im, r.reasons, subject, r.settings)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), journal.ErrSubject.Error()+": "))
	}
	e.Now = time.Now().UnixMilli()
	return e, nil
}

// zooReader makes an image of what is to be explained.
type zooReader struct {
	ctx     context.Context
	zk      *session.Client
	edit    *cluster.Edit
	reasons *journal.Journal
}

// read gives a znode; absent ones are no error.
func (r *zooReader) read(path string) (data []byte, st session.Stat, there bool, err error) {
	data, st, err = r.zk.Get(r.ctx, path)
	if errors.Is(err, session.ErrNoNode) {
		return nil, st, false, nil
	}
	return data, st, err == nil, err
}

func (r *zooReader) controller() error {
	data, _, there, err := r.read(zkpaths.ControllerEpochPath)
	if err != nil || !there {
		return err
	}
	epoch, err := zkpaths.DecodeControllerEpoch(data)
	if err != nil {
		return err
	}
	id := kafka.NoBroker
	if data, _, there, err = r.read(zkpaths.ControllerPath); err != nil {
		return err
	}
	if there {
		c, err := zkpaths.DecodeController(data)
		if err != nil {
			return err
		}
		id = c.BrokerID
	}
	r.edit.ReadController(id, epoch)
	return nil
}

func (r *zooReader) brokers() error {
	names, _, err := r.zk.Children(r.ctx, zkpaths.BrokerIDs)
	if err != nil && !errors.Is(err, session.ErrNoNode) {
		return err
	}
	for _, name := range names {
		id, ok := zkpaths.ParseBrokerID(name)
		if !ok {
			continue
		}
		data, st, there, err := r.read(zkpaths.BrokerPath(id))
		if err != nil {
			return err
		}
		reg, derr := zkpaths.DecodeRegistration(data)
		if !there || derr != nil {
			continue
		}
		b := &cluster.Broker{ID: id, Epoch: kafka.BrokerEpoch(st.Czxid), Told: st.Mzxid, Zxid: st.Mzxid, Rack: reg.Rack}
		for _, e := range reg.Endpoints {
			b.Endpoints = append(b.Endpoints, cluster.Endpoint(e))
		}
		if reg.Marker != nil {
			b.Version, b.Crashed = reg.Marker.Version, reg.Marker.Crashed
		}
		r.edit.ReadBroker(b)
	}
	return nil
}

func (r *zooReader) topics(names []string) error {
	for _, name := range names {
		data, st, there, err := r.read(zkpaths.TopicPath(name))
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		a, err := zkpaths.DecodeAssignment(data)
		if err != nil {
			return fmt.Errorf("topic %s: %w", name, err)
		}
		t := cluster.TopicRead{Name: name, ID: a.ID, Assignment: map[int32]cluster.Assignment{}, Zxid: st.Mzxid, Version: st.Version}
		var tps []kafka.TopicPartition
		var paths []string
		for p, replicas := range a.Partitions {
			t.Assignment[p] = cluster.Assignment{Replicas: replicas, Adding: a.Adding[p], Removing: a.Removing[p]}
			tp := kafka.TopicPartition{Topic: name, Partition: p}
			tps, paths = append(tps, tp), append(paths, zkpaths.StatePath(tp))
		}
		r.edit.ReadTopic(t)
		if data, st, there, err = r.read(zkpaths.TopicConfigPath(name)); err != nil {
			return err
		}
		if values, derr := zkpaths.DecodeConfig(data); there && derr == nil {
			r.edit.ReadConfig(name, values, st.Mzxid, st.Version)
		}
		r.zk.GetAll(r.ctx, paths, func(i int, data []byte, st session.Stat, gerr error) {
			if gerr != nil {
				if !errors.Is(gerr, session.ErrNoNode) {
					err = gerr
				}
				return
			}
			if s, derr := zkpaths.DecodeState(data); derr == nil {
				r.edit.ReadState(tps[i], cluster.EntryState{Partition: tps[i].Partition, Leader: s.Leader, LeaderEpoch: s.LeaderEpoch, ISR: s.ISR,
					ControllerEpoch: s.ControllerEpoch, Recovering: s.Recovering, ZnodeVersion: st.Version}, st.Czxid, st.Mzxid)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// log reads the reasons of the entries that are kept.
func (r *zooReader) log() error {
	names, st, err := r.zk.Children(r.ctx, zkpaths.MetadataChanges)
	if errors.Is(err, session.ErrNoNode) {
		return errors.New("there is no /metadata_changes at this ZooKeeper: no broker of Barnabas was ever started there. Does the path equal that of zookeeper.connect?")
	}
	if err != nil {
		return err
	}
	slices.Sort(names)
	const most, window = 5000, 100
	if len(names) > most {
		names = names[len(names)-most:]
	}
	for part := range slices.Chunk(names, window) {
		paths := make([]string, len(part))
		for i, n := range part {
			paths[i] = zkpaths.MetadataChanges + "/" + n
		}
		entries, made := make([]*cluster.Entry, len(part)), make([]int64, len(part))
		r.zk.GetAll(r.ctx, paths, func(i int, data []byte, st session.Stat, gerr error) {
			if gerr == nil {
				entries[i], _ = cluster.DecodeEntry(data)
				made[i] = st.Ctime
			}
		})
		for i, e := range entries {
			if n, ok := zkpaths.ParseMetadataChange(part[i]); ok && e != nil {
				r.reasons.Note(st.Czxid, n, made[i], e)
			}
		}
	}
	return r.ctx.Err()
}

// settings are the topic's configs above the brokers' dynamic defaults; what the
// files of brokers say can't be seen from here.
func (r *zooReader) settings(overrides map[string]string) journal.Settings {
	static, _, err := conf.FromMap(map[string]string{"zookeeper.connect": "unused:1"})
	if err != nil {
		return journal.Settings{MinISR: 1}
	}
	if data, _, there, err := r.read(zkpaths.ConfigPath(zkpaths.ConfigBrokers, zkpaths.DefaultEntity)); err == nil && there {
		if values, err := zkpaths.DecodeConfig(data); err == nil {
			static, _ = static.WithDynamic(nil, values)
		}
	}
	t, _ := static.TopicLenient(overrides)
	return journal.Settings{MinISR: t.MinISR, Unclean: t.UncleanElection}
}
