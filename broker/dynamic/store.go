package dynamic

import (
	"context"
	"errors"
	"fmt"

	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// ErrNoTopic is a topic that ZooKeeper does not have.
var ErrNoTopic = errors.New("dynamic: no such topic")

// ErrStored is a config znode that holds what can't be read.
var ErrStored = errors.New("dynamic: the stored configs can't be read")

// Store changes configs where Apache Kafka keeps them: the entity's znode and a
// notification in /config/changes, here in one transaction. Any broker writes;
// the controller takes topics' configs into the change log, and each broker
// follows the znodes of broker configs. It is safe for concurrent use.
type Store struct{ zk *session.Client }

// NewStore makes a Store.
func NewStore(zk *session.Client) *Store { return &Store{zk} }

// AlterTopic replaces a topic's overrides by what alter makes of them; dry only
// asks alter. alter may be called again, with what is stored then, and must give
// the same for what it has already made. Errors are alter's own, ErrNoTopic,
// ErrStored, or ZooKeeper's.
func (s *Store) AlterTopic(ctx context.Context, topic string, dry bool, alter func(now map[string]string) (map[string]string, error)) error {
	// The topic is checked, so that a deletion leaves no overrides behind for the
	// next topic of this name.
	exists := session.CheckOp(zkpaths.TopicPath(topic), -1)
	err := s.alter(ctx, zkpaths.ConfigChange{Type: zkpaths.ConfigTopics, Entity: topic}, []session.Op{exists}, dry, alter)
	if m, ok := errors.AsType[*session.MultiError](err); ok && m.Op.Path == exists.Path {
		return ErrNoTopic
	}
	return err
}

// AlterBroker is AlterTopic for a broker's configs, or, with kafka.NoBroker, for
// the default of all brokers.
func (s *Store) AlterBroker(ctx context.Context, id kafka.BrokerID, dry bool, alter func(now map[string]string) (map[string]string, error)) error {
	entity := zkpaths.DefaultEntity
	if id != kafka.NoBroker {
		entity = fmt.Sprint(id)
	}
	return s.alter(ctx, zkpaths.ConfigChange{Type: zkpaths.ConfigBrokers, Entity: entity}, nil, dry, alter)
}

// tries bounds how often a change is made again because somebody else wrote, or
// because nobody knows what became of it.
const tries = 10

func (s *Store) alter(ctx context.Context, of zkpaths.ConfigChange, conditions []session.Op, dry bool, alter func(map[string]string) (map[string]string, error)) error {
	for try := 1; ; try++ {
		err := s.alterOnce(ctx, of, conditions, dry, alter)
		if m, ok := errors.AsType[*session.MultiError](err); ok && len(conditions) > 0 && m.Index < len(conditions) {
			return err
		}
		switch {
		case try == tries || ctx.Err() != nil || errors.Is(err, session.ErrPoison):
			return err
		case errors.Is(err, session.ErrNoNode):
			if err := s.makeParents(ctx, of); err != nil {
				return err
			}
		case errors.Is(err, session.ErrBadVersion), errors.Is(err, session.ErrNodeExists),
			errors.Is(err, session.ErrConnectionLost), errors.Is(err, session.ErrExpired):
		default:
			return err
		}
	}
}

func (s *Store) alterOnce(ctx context.Context, of zkpaths.ConfigChange, conditions []session.Op, dry bool, alter func(map[string]string) (map[string]string, error)) error {
	data, st, err := s.zk.Get(ctx, of.Path())
	absent := errors.Is(err, session.ErrNoNode)
	if err != nil && !absent {
		return err
	}
	now := map[string]string{}
	if !absent {
		if now, err = zkpaths.DecodeConfig(data); err != nil {
			return fmt.Errorf("%w: znode %s: %w", ErrStored, of.Path(), err)
		}
	}
	next, err := alter(now)
	if err != nil || dry {
		return err
	}
	put := session.SetOp(of.Path(), zkpaths.EncodeConfig(next), st.Version)
	if absent {
		put = session.CreateOp(of.Path(), put.Data, session.Persistent)
	}
	ops := append(conditions[:len(conditions):len(conditions)], put,
		session.CreateOp(zkpaths.ConfigChangePath, of.Encode(), session.PersistentSequential))
	_, err = s.zk.Multi(ctx, ops...)
	return err
}

// makeParents makes what a hand has deleted of the start-up znodes.
func (s *Store) makeParents(ctx context.Context, of zkpaths.ConfigChange) error {
	for _, path := range []string{zkpaths.ConfigRoot(of.Type), zkpaths.ConfigChanges} {
		if _, err := s.zk.CreateAll(ctx, path, nil, session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
			return err
		}
	}
	return nil
}
