package registration

import (
	"context"
	"errors"
	"fmt"

	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// stale returns nil if the registration is provably that of a dead process of
// ours.
func (r *Registrar) stale(ctx context.Context, data []byte, st session.Stat) error {
	reg, err := zkpaths.DecodeRegistration(data)
	if err != nil { // created, but its data never set: another's transaction is never seen half
		return &waitError{"an unknown host", err}
	}
	var quiet error
	for _, e := range reg.Endpoints {
		switch r.probe(ctx, e) {
		case present:
			return fmt.Errorf("%w: broker %d is registered by %s, which answers there. Stop it, or give this broker another broker.id", ErrIDInUse, r.o.BrokerID, e.Addr())
		case silent:
			quiet = fmt.Errorf("%s neither answers nor refuses", e.Addr())
		}
	}
	switch {
	case st.EphemeralOwner == 0:
		return fmt.Errorf("%w: %s is not ephemeral; somebody made it by hand, and must delete it", ErrIDInUse, zkpaths.BrokerPath(r.o.BrokerID))
	case quiet != nil:
		return &waitError{hostOf(reg), quiet}
	case len(reg.Endpoints) == 0:
		return &waitError{hostOf(reg), errors.New("it names no endpoint")}
	}
	if err := r.recorded(st.EphemeralOwner); err != nil {
		return &waitError{hostOf(reg), err}
	}
	return nil
}

// replace deletes the registration that st describes, with the /controller of
// the same session, and creates ours, in one transaction.
func (r *Registrar) replace(ctx context.Context, id int64, st session.Stat) error {
	path := zkpaths.BrokerPath(r.o.BrokerID)
	ops := []session.Op{session.DeleteOp(path, st.Version)}
	if st.EphemeralOwner != id {
		more, err := r.controllerOf(ctx, st.EphemeralOwner)
		if err != nil {
			return err
		}
		ops = append(ops, more...)
		r.log.Info("replacing the registration of our dead process", "session", fmt.Sprintf("%#x", uint64(st.EphemeralOwner)), "controllerToo", len(more) > 0)
	}
	err := r.commit(ctx, id, st.EphemeralOwner, append(ops, r.creation(path)...))
	if errors.Is(err, session.ErrNoNode) || errors.Is(err, session.ErrBadVersion) || errors.Is(err, session.ErrNodeExists) {
		return errRetry
	}
	return err
}

// controllerOf gives the operations that remove /controller if owner holds it.
// Its version is always 0, so the check of the epoch, read before, is what keeps
// a successor's alive.
func (r *Registrar) controllerOf(ctx context.Context, owner int64) ([]session.Op, error) {
	epoch, ok, err := r.o.Client.Exists(ctx, zkpaths.ControllerEpochPath)
	if err != nil || !ok {
		return nil, err
	}
	st, ok, err := r.o.Client.Exists(ctx, zkpaths.ControllerPath)
	if err != nil || !ok || st.EphemeralOwner != owner {
		return nil, err
	}
	return []session.Op{session.CheckOp(zkpaths.ControllerEpochPath, epoch.Version), session.DeleteOp(zkpaths.ControllerPath, st.Version)}, nil
}
