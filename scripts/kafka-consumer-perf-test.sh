#!/bin/sh
exec "${BARNABAS:-$(dirname "$0")/../barnabas}" consumer-perf-test "$@"
