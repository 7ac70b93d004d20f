#!/bin/sh
# Starts a server under observation, puts load on it, and fails if it leaks.
#
#   leak-gate.sh SERVER [ARGUMENT...]
#
# From the environment:
#   PROFILER  how to call profiler                          (sudo profiler; profiler, as root)
#   OLDER     the age that healthy memory never reaches     (30s)
#   FOR       length of the observation: 4 times OLDER or more (3m)
#   RUN_AS    the user that the server runs as              (who called sudo, else nobody)
#   READY     a command that succeeds when the server takes load (true)
#   LOAD      a command that puts load on it, ended afterwards   (none: the server has its own)
#   KNOWN     a file of known leaks                         (none)
#   ABOVE     growth up to which a leak does not fail       (0B/h)
#   OUT       where the reports go: leak.json, .txt, .svg   (.)
#
# Exit codes are those of `profiler memleak --gate`: 0 clean, 1 a leak, or the server failed, 3 undecided.
set -eu
[ $# -gt 0 ] || { echo "usage: leak-gate.sh SERVER [ARGUMENT...]" >&2; exit 2; }
if [ "$(id -u)" -eq 0 ]; then become=; else become='sudo '; fi
: "${PROFILER:=${become}profiler}" "${OLDER:=30s}" "${FOR:=3m}" "${READY:=true}" "${LOAD:=}"
: "${KNOWN:=}" "${ABOVE:=0B/h}" "${OUT:=.}" "${RUN_AS:=${SUDO_USER:-nobody}}"

profiler= load=
# However this ends, nothing of it goes on: the server ends with profiler, the load is a session of its own.
finish() {
    for end in ${load:+"-$load"} ${profiler:+"$profiler"}; do
        kill -TERM "$end" 2>/dev/null || :
    done
    wait
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# shellcheck disable=SC2086 # PROFILER is words
$PROFILER memleak --older "$OLDER" --for "$FOR" --user "$RUN_AS" --gate --gate-above "$ABOVE" ${KNOWN:+--known "$KNOWN"} \
    -o "$OUT/leak.json" -o "$OUT/leak.txt" -o "$OUT/leak.svg" -- "$@" &
profiler=$!

tries=0
until sh -c "$READY"; do
    kill -0 "$profiler" 2>/dev/null || break    # its own words say why
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "leak-gate.sh: the server is not ready after a minute: $READY" >&2; exit 4; }
    sleep 0.2
done
if [ -n "$LOAD" ] && kill -0 "$profiler" 2>/dev/null; then
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
