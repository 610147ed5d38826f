#!/usr/bin/env bash
# Healthy or not, for `docker run`: what listens on the endpoint's port has the word; where nothing does, this node
# of Ray. Ports: MANTA_HTTP_PORT (8000) and MANTA_AGENT_PORT (52365).
set -uo pipefail

ask() { wget --quiet --tries=1 --timeout=2 --no-proxy --output-document=- "http://127.0.0.1:$1"; }

ask "${MANTA_HTTP_PORT:-8000}/v2/health/ready" >/dev/null
case $? in
    0) exit 0 ;;
    4) ask "${MANTA_AGENT_PORT:-52365}/api/local_raylet_healthz" | grep --quiet success ;;
    *) exit 1 ;;
esac
