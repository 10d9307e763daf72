package zkpaths

// FeaturePath holds the finalized features; its version is their epoch.
const FeaturePath = "/feature"

// Features is the content of /feature.
type Features struct {
	Version int // 1 or 2
	Enabled bool
	// Levels maps a feature to its finalized levels; Min is written by version
	// 1 only.
	Levels map[string]FeatureLevels
}

// FeatureLevels is the finalized range of one feature.
type FeatureLevels struct {
	Min *int16 `json:"min_version_level,omitempty"`
	Max int16  `json:"max_version_level"`
}

type featuresJSON struct {
	Features map[string]FeatureLevels `json:"features"`
	Version  int                      `json:"version"`
	Status   int                      `json:"status"`
}

// Encode writes f.Version.
func (f Features) Encode() []byte {
	v := featuresJSON{Features: f.Levels, Version: f.Version}
	if f.Enabled {
		v.Status = 1
	}
	if v.Features == nil {
		v.Features = map[string]FeatureLevels{}
	}
	return render(v)
}

// DecodeFeatures reads versions 1 and 2.
func DecodeFeatures(data []byte) (Features, error) {
	var v featuresJSON
	if err := parse("feature", data, &v); err != nil {
		return Features{}, err
	}
	if v.Version < 1 || v.Version > 2 || v.Status < 0 || v.Status > 1 {
		return Features{}, dataErrorf("feature", "version %d, status %d", v.Version, v.Status)
	}
	return Features{Version: v.Version, Enabled: v.Status == 1, Levels: v.Features}, nil
}
