#!/bin/sh
PATH="$(dirname "$0")/..:$PATH"; exec barnabas reassign-partitions "$@"
