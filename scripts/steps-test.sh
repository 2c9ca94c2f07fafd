#!/usr/bin/env bash
# Whether steps.sh does what it says: parts that pass, fail, print nothing, hang and can't be ended by
# SIGTERM, tests that fail and crash, a step and a run whose time is over, a run that is stopped. Takes
# some fifteen seconds.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
wrong=0
# expect TEXT FILE: a line of the file holds the text.
expect() {
    grep -qF -- "$1" "$2" || { echo "steps-test: $2 lacks: $1" >&2; wrong=1; }
}

cat > "$folder/tests" <<'END'
#!/usr/bin/env bash
case $* in
    *--list*) printf '%s: test\n' a::one a::two a::three ;;
    crash) printf 'test a::one ... ok\ntest a::two ... FAILED\n'; kill -SEGV $$ ;;
    none) exit 0 ;;
    *) printf 'test a::%s ... ok\n' one two; echo 'test a::three - should panic ... ok' ;;
esac
END
printf '#!/usr/bin/env bash\nexit 0\n' > "$folder/no-tests"
chmod +x "$folder/tests" "$folder/no-tests"

run() (
    . ./steps.sh
    # shellcheck disable=SC2034
    GRACE_S=1 DEAD_S=2
    begin_steps "$folder/out" 14
    begin_step first 5
    part json works 2 printf '{\n "a": "1 × \\" \\\\"\n}\n'
    part lines rows 2 printf '{"b": 1}\nwords\n{"c": 2}\n'
    part json nothing 2 true
    part text fails 2 sh -c 'echo "a \"reason\"" >&2; exit 3'
    part text plain 2 sh -c 'echo nothing to see; exit 3'
    part says:Duration profiled 2 sh -c 'echo "Duration 3 ns"; exit 9'
    part says:Duration unprofiled 2 echo nothing
    leave_out elsewhere "no GPU"
    end_step
    begin_step tests 5
    part tests fine 2 "$folder/tests" all
    part tests broken 2 "$folder/tests" crash
    part tests none 2 "$folder/no-tests"
    end_step
    begin_step hangs 3
    part text sleeps 1 sleep 60
    # Only SIGKILL ends it, a second later.
    part text stubborn 1 bash -c 'trap "" TERM; while :; do sleep 0.1; done'
    part text late 1 true
    end_step
    begin_step after 5
    part text still-runs 1 true
    end_step
    begin_step long 60
    part text all-the-rest 60 sleep 60
    end_step
    begin_step last 5 && part text never 1 true
    end_step
    end_steps
)
run > "$folder/said"
status=$?
[ "$status" = 1 ] || { echo "steps-test: exit status $status" >&2; wrong=1; }
cat "$folder/said"
for file in "$folder/said" "$folder/out/summary.txt"; do
    expect '3 passed, 4 FAILED (nothing, fails, plain, unprofiled), 1 left out (elsewhere: no GPU)' "$file"
    expect 'FAILED: first, fails: exit status 3' "$file"
    expect '    a "reason"' "$file"
    expect "unprofiled: it didn't say Duration, exit status 0" "$file"
    expect '1 passed with 4 tests, 2 FAILED (broken, none)' "$file"
    expect 'broken: signal 11, failed: a::two, unfinished: a::three' "$file"
    expect '2 cut off (sleeps, stubborn), 1 left out (late: no time was left in the step)' "$file"
    expect "cut off: hangs, sleeps: it didn't end in 1 s" "$file"
    expect '1 cut off (all-the-rest)' "$file"
    expect '1 left out (all of it: no time is left)' "$file"
done
expect "\"command\":\"sh -c 'echo nothing to see; exit 3'\"" "$folder/out/figures.jsonl"
grep -q '^after  *passed' "$folder/said" || { echo "steps-test: nothing runs after a hang" >&2; wrong=1; }
((SECONDS <= 25)) || { echo "steps-test: took $SECONDS s" >&2; wrong=1; }
mkdir "$folder/archive"
tar -xzf "$folder/out/gpu-check.tar.gz" -C "$folder/archive" || wrong=1
cmp "$folder/archive/gpu-check/figures.jsonl" "$folder/out/figures.jsonl" || wrong=1
expect 'a "reason"' "$folder/archive/gpu-check/first-fails.err"
figures=$folder/out/figures.jsonl
expect '"data":{ "a": "1 × \" \\"}' "$figures"
expect '"rows":[{"b": 1},{"c": 2}]' "$figures"
expect '"failed":["a::two"],"unfinished":["a::three"]' "$figures"
if command -v python3 > /dev/null; then
    python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1])]' "$figures" || wrong=1
fi
[ "$(find "$folder/out" -type f | wc -l)" = 3 ] || { echo "steps-test: other files in the folder" >&2; wrong=1; }

# Stopped from outside.
stopped() {
    . ./steps.sh
    begin_steps "$folder/stopped" 30
    begin_step one 10
    part text sleeps 10 sleep 47.11
    end_step
}
stopped > /dev/null &
sleep 0.5
kill $!
wait $!
[ "$?" = 143 ] || { echo "steps-test: a stopped run's status" >&2; wrong=1; }
expect '(the run was stopped)' "$folder/stopped/summary.txt"
pgrep -f 'sleep 47.11' > /dev/null && { echo "steps-test: its process is still there" >&2; wrong=1; }
exit "$wrong"
