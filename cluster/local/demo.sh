#!/usr/bin/env bash
# From nothing to an answered request on this machine; works inside runs/demo only and starts it afresh.
#   make demo
set -euo pipefail
cd "$(dirname "$0")/../.."
# Nothing of the surroundings decides where results go, or which Ray is used.
export MANTA_HOME=$PWD
unset RAY_ADDRESS

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

server=
stop_server() {
    [ -z "$server" ] || { kill -TERM "$server" 2>/dev/null && wait "$server" || true; }
}
trap stop_server EXIT

rm -rf runs/demo
mkdir -p runs/demo

say "1/4 pack 1,797 handwritten digits into shards"
run python jobs/pack.py source=digits out=runs/demo/dataset split.test=0.2

say "2/4 fine-tune with two data-parallel workers"
run python jobs/finetune.py jobs/presets/digits.yaml data.root=runs/demo/dataset \
    run.storage=runs/demo run.name=run run.num_workers=2

say "3/4 evaluate the bundle on the test split"
run python jobs/evaluate.py bundle=runs/demo/run/bundle data.root=runs/demo/dataset out=runs/demo/evaluation \
    run.num_workers=0

say "4/4 serve the bundle and send it an image"
members=$(tar -tf runs/demo/dataset/test/test-000000.tar)
picture=$(grep -m1 '\.png$' <<<"$members")
tar -xOf runs/demo/dataset/test/test-000000.tar "$picture" >runs/demo/digit.png
label=$(tar -xOf runs/demo/dataset/test/test-000000.tar "${picture%.png}.cls")
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '$ python -m serving bundle=runs/demo/run/bundle http.port=%s\n' "$port"
python -m serving bundle=runs/demo/run/bundle http.port="$port" >runs/demo/serving.log 2>&1 &
server=$!
for _ in $(seq 600); do
    if grep -q '^ready ' runs/demo/serving.log || ! kill -0 "$server" 2>/dev/null; then break; fi
    sleep 0.5
done
grep -q '^ready ' runs/demo/serving.log || { cat runs/demo/serving.log >&2; exit 1; }
grep '^ready ' runs/demo/serving.log
printf '$ curl --data-binary @runs/demo/digit.png "http://127.0.0.1:%s/predict?top_k=3"\n' "$port"
python - "$port" <<'PYTHON'
import sys, urllib.request

url = f"http://127.0.0.1:{sys.argv[1]}/predict?top_k=3"
body = open("runs/demo/digit.png", "rb").read()
request = urllib.request.Request(url, data=body, headers={"Content-Type": "image/png"})
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(direct.open(request, timeout=60).read().decode())
PYTHON
stop_server
server=

say "done: the image is a $label"
cat <<EOF
  report   $PWD/runs/demo/run/report/index.html
  bundle   $PWD/runs/demo/run/bundle
  results  $PWD/runs/demo/run/result.json
  next     .venv/bin/python -m serving bundle=runs/demo/run/bundle
           then open http://127.0.0.1:8000/docs
EOF
