#!/bin/sh
# Starts a server under observation, puts load on it, and fails if it leaks.
#
#   leak-gate.sh SERVER [ARGUMENT...]
#
# From the environment:
#   PROFILER  how to call profiler                          (sudo profiler; profiler, as root)
#   OLDER     the age that healthy memory never reaches     (30s)
#   FOR       length of the observation: 4 times OLDER or more (3m)
#   RUN_AS    the user that the server runs as              (you; if root: who called sudo, else nobody)
#   READY     a command that succeeds when the server takes load (true)
#   LOAD      a command that puts load on it, ended afterwards   (none: the server has its own)
#   KNOWN     a file of known leaks                         (none)
#   ABOVE     growth up to which a leak does not fail       (0B/h)
#   OUT       where the reports go: leak.json, .txt, .svg   (.)
#
# Exit codes are those of `profiler memleak --gate`: 0 clean, 1 a leak, or the server failed, 3 undecided.
set -eu
[ $# -gt 0 ] || { echo "usage: leak-gate.sh SERVER [ARGUMENT...]" >&2; exit 2; }
# What sudo runs is root's: we may neither signal it nor ask by a signal whether it runs. And sudo does not pass on signals
# that come from its own process group, so a session of its own sends them.
if [ "$(id -u)" -eq 0 ]; then
    : "${PROFILER:=profiler}" "${RUN_AS:=${SUDO_USER:-nobody}}"
    as_root=
else
    : "${PROFILER:=sudo profiler}" "${RUN_AS:=$(id -un)}"
    as_root='setsid sudo'
fi
: "${OLDER:=30s}" "${FOR:=3m}" "${READY:=true}" "${LOAD:=}"
: "${KNOWN:=}" "${ABOVE:=0B/h}" "${OUT:=.}"

profiler= load=
# However this ends, nothing of it goes on: the server ends with profiler, the load is a session of its own.
finish() {
    [ -z "$load" ] || kill -TERM "-$load" 2>/dev/null || :
    [ -z "$profiler" ] || $as_root sh -c "kill -TERM $profiler" 2>/dev/null || :
    wait
}
# Whether profiler is there and no zombie.
runs() {
    grep -q '^State:[[:space:]]*[^ZX]' "/proc/$profiler/status" 2>/dev/null
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# shellcheck disable=SC2086 # PROFILER is words
$PROFILER memleak --older "$OLDER" --for "$FOR" --user "$RUN_AS" --gate --gate-above "$ABOVE" ${KNOWN:+--known "$KNOWN"} \
    -o "$OUT/leak.json" -o "$OUT/leak.txt" -o "$OUT/leak.svg" -- "$@" &
profiler=$!

tries=0
until sh -c "$READY"; do
    runs || break    # its own words say why
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "leak-gate.sh: the server is not ready after a minute: $READY" >&2; exit 4; }
    sleep 0.2
done
if [ -n "$LOAD" ] && runs; then
    setsid sh -c "$LOAD" &
    load=$!
fi

code=0
wait "$profiler" || code=$?
profiler=
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$OUT/leak.txt" ]; then
    { echo '```'; cat "$OUT/leak.txt"; echo '```'; } >> "$GITHUB_STEP_SUMMARY"
fi
exit "$code"
