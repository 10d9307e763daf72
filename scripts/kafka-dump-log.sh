#!/bin/sh
exec "${BARNABAS:-$(dirname "$0")/../barnabas}" dump-log "$@"
