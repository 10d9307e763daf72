package zkpaths

import (
	"errors"
	"strconv"
	"strings"

	"barnabas/internal/kafka"
)

const (
	// ControllerPath is ephemeral: whose session it is decides.
	ControllerPath = "/controller"
	// ControllerEpochPath counts elections; its znode version fences.
	ControllerEpochPath = "/controller_epoch"
	// InitialControllerEpoch is what the znode is created with.
	InitialControllerEpoch kafka.ControllerEpoch = 0
)

// Controller is the content of /controller.
type Controller struct {
	BrokerID  kafka.BrokerID
	Timestamp int64 // epoch ms
	// KRaftEpoch is -1, or the epoch of a KRaft controller that took over.
	KRaftEpoch int32
}

type controllerJSON struct {
	Version    int             `json:"version"`
	BrokerID   *kafka.BrokerID `json:"brokerid"`
	Timestamp  text            `json:"timestamp"`
	KRaftEpoch *int32          `json:"kraftControllerEpoch,omitempty"`
}

// Encode writes version 2.
func (c Controller) Encode() []byte {
	return render(controllerJSON{2, &c.BrokerID, text(c.Timestamp), &c.KRaftEpoch})
}

// DecodeController reads all versions.
func DecodeController(data []byte) (Controller, error) {
	var v controllerJSON
	if err := parse("controller", data, &v); err != nil {
		return Controller{}, err
	}
	if v.BrokerID == nil {
		return Controller{}, dataError("controller", errors.New("no brokerid"))
	}
	c := Controller{BrokerID: *v.BrokerID, Timestamp: int64(v.Timestamp), KRaftEpoch: -1}
	if v.KRaftEpoch != nil {
		c.KRaftEpoch = *v.KRaftEpoch
	}
	return c, nil
}

// EncodeControllerEpoch writes the epoch in decimal.
func EncodeControllerEpoch(e kafka.ControllerEpoch) []byte {
	return strconv.AppendInt(nil, int64(e), 10)
}

// DecodeControllerEpoch reads it.
func DecodeControllerEpoch(data []byte) (kafka.ControllerEpoch, error) {
	if len(data) > 32 {
		return 0, dataErrorf("controller epoch", "%q is not a number", clip(data))
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 31)
	if err != nil || n > MaxEpoch {
		return 0, dataErrorf("controller epoch", "%q is not a number up to %d", data, MaxEpoch)
	}
	return kafka.ControllerEpoch(n), nil
}
