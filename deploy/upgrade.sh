#!/usr/bin/env bash
# Apply changed settings or a new image without losing a request.
#
#   deploy/upgrade.sh                                  servers of the running project, one by one
#   deploy/upgrade.sh -f docker-compose.yml -f deploy/compose.secret.yml     options of Compose
#
# `docker compose up` stops all servers whose settings have changed before it starts the first new one. This
# script starts a new replica first, waits until it is healthy and the balancer sends it requests, and only then
# stops an old replica, which drains. The service `quantserve`, whose port can be bound only once, is replaced
# last. Needs the profile "scale". If a new server does not become ready, the script ends and the old servers
# continue to serve. UPGRADE_SECONDS (300) limits the time that a server may take.
set -euo pipefail
cd "$(dirname "$0")/.."
export COMPOSE_PROFILES="scale${COMPOSE_PROFILES:+,${COMPOSE_PROFILES}}"
options=("$@")
patience=${UPGRADE_SECONDS:-300}

compose() { docker compose "${options[@]}" "$@"; }
say() { echo "upgrade: $*"; }
give_up() {
  echo "upgrade: $*" >&2
  exit 1
}

# Print the number of servers to which the balancer sends requests, from its statistics.
serving() {
  compose exec --no-TTY balancer bash -c \
    'exec 3<>/dev/tcp/127.0.0.1/8404; printf "GET /;csv HTTP/1.0\r\n\r\n" >&3; cat <&3' 2>/dev/null \
    | awk -F, '$1 == "servers" && $2 != "BACKEND" && $18 ~ /^UP/ { n++ } END { print n + 0 }'
}

until_serving() { # number of servers
  for ((left = patience; left > 0; left--)); do
    [ "$(serving || true)" -ge "$1" ] && return
    sleep 1
  done
  give_up "the balancer uses $(serving) servers, expected $1; see http://127.0.0.1:8404"
}

until_healthy() { # container
  local health=""
  for ((left = patience; left > 0; left--)); do
    health=$(docker inspect --format '{{.State.Health.Status}}' "$1" 2>/dev/null || echo gone)
    [ "$health" = healthy ] && return
    sleep 1
  done
  docker logs --tail 5 "$1" >&2 || true
  return 1
}

# Create the missing container of a service with the current settings; print its id.
new_server() { # service, number of containers afterwards
  local before now
  before=$(compose ps --all --quiet "$1" | sort)
  compose up --detach --no-deps --no-recreate --no-build --quiet-pull --scale "$1=$2" "$1" \
    >/dev/null 2>&1 || give_up "docker compose up $1 failed: run it to see why"
  now=$(compose ps --all --quiet "$1" | sort)
  comm -13 <(echo "$before") <(echo "$now")
}

stop_server() { # container
  docker stop "$1" >/dev/null # within its stop_grace_period: becomes not ready, still serves, drains
  docker rm "$1" >/dev/null
}

mapfile -t replicas < <(compose ps --all --quiet replica)
mapfile -t first < <(compose ps --all --quiet quantserve)
count=${#replicas[@]}
total=$(serving) || total=0
for ((left = 30; left > 0 && total < count + 1; left--)); do # a busy server may miss a check
  sleep 1
  total=$(serving) || total=0
done
if [ "$count" -eq 0 ] || [ "${#first[@]}" -ne 1 ] || [ "$total" -lt 2 ]; then
  give_up "the balancer, quantserve and a replica must be running, found $total servers; start them with" \
    "docker compose --profile scale up --wait"
fi

for old in "${replicas[@]}"; do
  new=$(new_server replica $((count + 1)))
  if ! until_healthy "$new"; then
    docker rm --force "$new" >/dev/null
    give_up "a new replica did not become ready within $patience s and was removed;" \
      "the old servers continue to serve"
  fi
  until_serving $((total + 1))
  stop_server "$old"
  say "replaced replica ${old:0:12} with ${new:0:12}"
done

stop_server "${first[0]}"
new=$(new_server quantserve 1)
until_healthy "$new" || give_up "quantserve did not become ready within $patience s: see its log;" \
  "the replicas continue to serve"
until_serving "$total"
say "replaced quantserve ${first[0]:0:12} with ${new:0:12}"
