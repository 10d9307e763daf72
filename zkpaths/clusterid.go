package zkpaths

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
)

// ClusterIDPath holds the id of the cluster, for ever.
const ClusterIDPath = "/cluster/id"

// NewClusterID makes a random (version 4) UUID in Kafka's form: 22 characters
// of URL-safe base64.
func NewClusterID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// EncodeClusterID writes the znode. The version is a string, as Kafka has it.
func EncodeClusterID(id string) []byte {
	return render(struct {
		Version string `json:"version"`
		ID      string `json:"id"`
	}{"1", id})
}

// DecodeClusterID reads the znode.
func DecodeClusterID(data []byte) (string, error) {
	var v struct {
		Version json.RawMessage `json:"version"`
		ID      string          `json:"id"`
	}
	if err := parse("cluster id", data, &v); err != nil {
		return "", err
	}
	if v.ID == "" {
		return "", dataError("cluster id", errors.New("no id"))
	}
	return v.ID, nil
}
