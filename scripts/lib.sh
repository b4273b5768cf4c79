# Functions that several scripts share: a private RabbitMQ, clients of other languages, processes that end with the script.
# It is sourced from the root of the repository, under `set -euo pipefail`.
# shellcheck shell=bash

readonly NODE_SAILOR=2.7.8 AMQPLIB=0.8.0
clients=$PWD/target/test-clients
runner_pid='' node_pid='' node_dir=''
# The broker's address, once start_rabbitmq has returned, and the environment of its programs.
rabbitmq_uri=''
rabbitmq_env=()

say() { printf 'scripts/%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

usage() {
  # The comment at the head of the script, without its marks.
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "scripts/${0##*/}"
}

# --- A private RabbitMQ ----------------------------------------------------------------------------------------------

# Prints the program that starts a node. Debian's /usr/sbin wrapper requires its own user and folders, so the
# wrapped script is used.
rabbitmq_server() {
  local candidate
  for candidate in /usr/lib/rabbitmq/bin/rabbitmq-server "$(command -v rabbitmq-server || true)"; do
    if [[ -x $candidate ]]; then echo "$candidate"; return; fi
  done
  return 1
}

install_rabbitmq() { # [VARIABLE]
  local alternative=''
  if [[ ${1-} ]]; then alternative=", or set $1 to a broker's address"; fi
  if [[ $(id -u) != 0 ]] || ! have apt-get; then
    die "RabbitMQ is missing. Install it (Debian and Ubuntu: apt-get install rabbitmq-server)$alternative."
  fi
  install_package rabbitmq-server
}

# Installs a package of Debian without starting its service.
install_package() { # PACKAGE
  say "installing $1"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # The package would start a service of the whole system: a policy of 101 forbids that.
  local policy=/usr/sbin/policy-rc.d made='' status=0
  if [[ ! -e $policy ]]; then printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; made=yes; fi
  apt-get install -qq -y --no-install-recommends "$1" >/dev/null || status=$?
  if [[ $made ]]; then rm -f $policy; fi
  [[ $status == 0 ]] || die "apt-get could not install $1, see above."
}

# Sets SAILOR_TEST_PROMTOOL to the path of promtool. Returns 1 without it.
find_promtool() {
  if ! have promtool && [[ ${CI-} && $(id -u) == 0 ]] && have apt-get; then install_package prometheus; fi
  have promtool || return 1
  SAILOR_TEST_PROMTOOL=$(command -v promtool)
  export SAILOR_TEST_PROMTOOL
}

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints a port below the range from which the kernel gives ports to outgoing connections.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 10000))
    if ! port_answers "$port"; then echo "$port"; return; fi
  done
  die 'no free port found between 20000 and 29999 on 127.0.0.1.'
}

# start_rabbitmq VARIABLE: starts a node and sets rabbitmq_uri. VARIABLE names the one that a caller sets to an address of
# their own, for the message that RabbitMQ is missing.
start_rabbitmq() {
  local server port dist_port
  server=$(rabbitmq_server) || { install_rabbitmq "$1"; server=$(rabbitmq_server); } || die 'rabbitmq-server was installed but is not found.'
  node_dir=$(mktemp -d "${TMPDIR:-/tmp}/sailor-rabbitmq.XXXXXX")
  : >"$node_dir/empty"
  echo '[].' >"$node_dir/enabled_plugins"
  port=$(free_port)
  dist_port=$(free_port)
  rabbitmq_env=(
    HOME="$node_dir"
    RABBITMQ_NODENAME="sailor-test-$$@localhost"
    RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$dist_port" ERL_EPMD_ADDRESS=127.0.0.1
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
    RABBITMQ_MNESIA_BASE="$node_dir/data" RABBITMQ_LOG_BASE="$node_dir/log" RABBITMQ_PID_FILE="$node_dir/pid"
    RABBITMQ_CONF_ENV_FILE="$node_dir/empty" RABBITMQ_CONFIG_FILE="$node_dir/none" RABBITMQ_ENABLED_PLUGINS_FILE="$node_dir/enabled_plugins"
  )
  # Job control gives the node a process group of its own, so that Ctrl-C reaches it only through this script. If it
  # crashes, it leaves its dump in its own folder.
  set -m
  (cd "$node_dir" && exec env "${rabbitmq_env[@]}" "$server") >"$node_dir/output" 2>&1 </dev/null &
  node_pid=$!
  set +m
  # A node listens only after it has started completely.
  for _ in {1..600}; do
    if port_answers "$port"; then
      rabbitmq_uri="amqp://guest:guest@127.0.0.1:$port"
      say "RabbitMQ is ready on port $port"
      return
    fi
    kill -0 "$node_pid" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 30 "$node_dir/output" >&2
  die 'RabbitMQ did not start within a minute, see its last lines above.'
}

# rabbitmqctl for the node.
ctl() {
  local server
  server=$(rabbitmq_server)
  env "${rabbitmq_env[@]}" "${server%/*}/rabbitmqctl" --quiet "$@" </dev/null
}

# Adds the users of the node that some tests log in as, with their names as passwords: what each may configure, write and
# read. The compose file of a new component has the user `flow`, with an exchange and queues.
add_rabbitmq_users() {
  local user definitions=$PWD/emulator/templates/component/deploy/compose/definitions.json
  ctl import_definitions "$definitions" >/dev/null || die "RabbitMQ has not taken $definitions, see above."
  local -A permissions=(
    [sailor-powerless]='^$ ^$ ^$'
    [sailor-locks-only]='^elasticio-sailor:oauth2: ^$ ^$'
    [sailor-log-reader]='^elasticio-sailor:finished: ^$ ^elasticio-sailor:finished:'
    [sailor-log-user]='^$ ^amq\.default$ ^elasticio-sailor:finished:'
  )
  for user in "${!permissions[@]}"; do
    # Not quoted: these are three arguments.
    { ctl add_user "$user" "$user" && ctl set_permissions "$user" ${permissions[$user]}; } >/dev/null ||
      die "RabbitMQ has not added the user $user, see above."
  done
}

# --- Clients of other languages ----------------------------------------------------------------------------------------

# install_once NAME COMMAND…: runs COMMAND unless it has succeeded before with the same words; its output shows only
# when it fails.
install_once() {
  local name=$1 stamp="$clients/$1.installed"
  shift
  if [[ -f $stamp && $(<"$stamp") == "$*" ]]; then return; fi
  mkdir -p "$clients"
  rm -f "$stamp"
  say "installing $name into target/test-clients"
  if ! "$@" >"$clients/$name.log" 2>&1 </dev/null; then tail -n 5 "$clients/$name.log" >&2; return 1; fi
  echo "$*" >"$stamp"
}

# Install scripts of packages are not run, and bunyan's optional native part is left out.
node_clients() { # VERSIONS…
  rm -rf "$clients/node"
  mkdir -p "$clients/node"
  npm install --prefix "$clients/node" --ignore-scripts --omit=optional --no-audit --no-fund "$@"
}

# Sets node_modules to the folder that has the Node sailor, installed if necessary. Fails where that is not possible.
install_node_sailor() {
  install_once node node_clients "elasticio-sailor-nodejs@$NODE_SAILOR" "amqplib@$AMQPLIB" || return 1
  node_modules=$clients/node/node_modules
}

# --- Processes ---------------------------------------------------------------------------------------------------------

# Runs a command that a signal to this script ends as well: in its own process group, awaited in the background, since
# bash runs no trap while a command is in the foreground.
run() {
  set -m
  "$@" </dev/null &
  runner_pid=$!
  set +m
  local status=0
  wait "$runner_pid" || status=$?
  runner_pid=''
  return "$status"
}

# Ends a process that was started with job control, and its children: with SIGTERM, and after ten seconds with SIGKILL.
end_group() {
  kill -TERM -- "-$1" 2>/dev/null || return 0
  for _ in {1..100}; do
    kill -0 -- "-$1" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL -- "-$1" 2>/dev/null || true
}

# Removes what a script has made besides: it may define this anew.
remove_more() { :; }

# Ends the processes that the script has started. Each script sets it as the trap for EXIT.
cleanup() {
  local status=$?
  trap - EXIT INT TERM HUP
  if [[ -n $runner_pid ]]; then end_group "$runner_pid"; fi
  if [[ -n $node_pid ]]; then end_group "$node_pid"; fi
  if [[ -n $node_dir ]]; then rm -rf "$node_dir"; fi
  remove_more
  exit "$status"
}

end_with_the_script() {
  trap cleanup EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

# --- Faults ------------------------------------------------------------------------------------------------------------

# build_faults PROFILE OURS: builds the program that orders faults, and the components; OURS names another build of the
# scripted one. Sets faults, ours and component to their paths, and server to RabbitMQ's.
build_faults() {
  local folder packages=(--package faults --bin faults --package reference-component --bin component)
  have cargo || die 'cargo is missing: https://rustup.rs installs it.'
  server=$(rabbitmq_server) || { install_rabbitmq; server=$(rabbitmq_server); } || die 'rabbitmq-server was installed but is not found.'
  if [[ ! $2 ]]; then packages+=(--package scripted --bin scripted); fi
  run cargo build --quiet --profile "$1" "${packages[@]}"
  folder=${CARGO_TARGET_DIR:-target}/${1/dev/debug}
  faults=$folder/faults component=$folder/component ours=${2:-$folder/scripted}
}

# The conditions of a run, for comparisons with other tables.
describe_faults() {
  local changed='' description
  if ! git diff --quiet HEAD 2>/dev/null; then changed=' with changes'; fi
  description=$(echo "${server%/*}"/../lib/rabbitmq_server-*)
  cat <<EOF
- $(date +%F), commit $(git describe --always 2>/dev/null || echo unknown)$changed
- RabbitMQ ${description##*-}, $(rustc --version | cut -d' ' -f1,2), Node $(have node && node --version || echo 'not there')
- $(nproc) processors, $(uname -sr), load before the run $(cut -d' ' -f1 /proc/loadavg)

EOF
}
