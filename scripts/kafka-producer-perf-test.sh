#!/bin/sh
exec "${BARNABAS:-$(dirname "$0")/../barnabas}" producer-perf-test "$@"
