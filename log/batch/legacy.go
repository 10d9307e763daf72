package batch

func parseLegacyHeader(b []byte, h Header) (Header, error) { return h, ErrCorrupt }
func checkLegacyCRC(b []byte) bool                         { return false }
