# shellcheck shell=bash
# Steps of a check on a machine that is lent for minutes: sourced by gpu-check.sh, tested by steps-test.sh.
#
# A step has seconds, and parts that are processes: each has a limit of its own within the step's, so that
# whatever hangs takes only its own time, and whatever spoils a process (after an illegal address every later
# call of CUDA fails there) spoils no other part. As a step ends, its line is printed and everything found so
# far is in the results' folder: however the run ends, that is kept.
#
#   begin_steps FOLDER SECONDS         what comes out goes to FOLDER; all of it ends within SECONDS
#   begin_step NAME SECONDS            false where no time is left for it
#   part KIND NAME LIMIT COMMAND...    runs a part; true if it passed
#   leave_out NAME WHY                 a part that can't run here
#   figure NAME JSON                   a figure that no part prints
#   end_step
#   end_steps                          false if a part failed or was cut off
#
# KIND says what the command prints: `text`; `json`, one object; `lines`, an object a line; `tests`, as
# cargo's test binaries do; `says:WORD`, that word if it passed, whatever its status. FOLDER has summary.txt,
# figures.jsonl (a line a part: step, name, result, seconds and what was found) and gpu-check.tar.gz, which
# holds those two and what every part printed.

# What is kept of one output: failing tests may print whole tensors.
KEPT_BYTES=1000000
# Between SIGTERM and SIGKILL, and then until a process counts as one that nothing ends.
GRACE_S=3
DEAD_S=8

begin_steps() {
    OUT=$1
    DEADLINE=$((SECONDS + $2))
    SCRATCH=$(mktemp -d)
    WORK=$SCRATCH/gpu-check
    mkdir -p "$OUT" "$WORK" || exit 1
    : > "$WORK/summary.txt"
    : > "$WORK/figures.jsonl"
    CHILD=
    STEP=
    ANY_FAILED=0
    # By their names: of each part the one that failed first, and the others.
    FIRST_FAILED=() OTHERS_FAILED=()
    mkfifo "$SCRATCH/never" && exec {NEVER}<> "$SCRATCH/never"
    # A process that was forked and is killed before it is the command that it shall be has these traps, too.
    OWNER=$BASHPID
    trap 'case $BASHPID in "$OWNER") rm -rf "$SCRATCH" ;; esac' EXIT
    # They only take note: a trap that takes longer than the timeout of the `read` that it interrupts ends the shell.
    STOPPED=
    trap 'case $BASHPID in "$OWNER") STOPPED=130 ;; esac' INT
    trap 'case $BASHPID in "$OWNER") STOPPED=143 ;; esac' TERM
}

# Ends the running part and keeps what there is.
stop() {
    [ -n "$CHILD" ] && kill "$CHILD" 2> /dev/null
    if [ -n "$STEP" ]; then
        part_result "(the run was stopped)" "cut off" 0 ""
        end_step
    fi
    exit "$1"
}

say() {
    printf '%s\n' "$1" | tee -a "$WORK/summary.txt"
}

# A JSON string.
quote() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    printf '"%s"' "${text//[[:cntrl:]]/ }"
}

# A JSON list of strings.
quote_all() {
    local item list=
    for item in "$@"; do
        list+="${list:+,}$(quote "$item")"
    done
    printf '[%s]' "$list"
}

milliseconds() {
    printf '%s' $((${EPOCHREALTIME/[.,]/} / 1000))
}

begin_step() {
    STEP=$1
    STEP_START=$SECONDS
    STEP_END=$((SECONDS + $2))
    ((STEP_END > DEADLINE)) && STEP_END=$DEADLINE
    PASSED=0 TESTS=0 FAILED=() CUT_OFF=() LEFT_OUT=()
    if ((DEADLINE - SECONDS < 3)); then
        leave_out "all of it" "no time is left"
        return 1
    fi
}

seconds_left() {
    printf '%s' $((STEP_END - SECONDS))
}

leave_out() {
    LEFT_OUT+=("$1: $2")
    figure_line "$1" "\"result\":\"left out\",\"why\":$(quote "$2")"
}

figure() {
    figure_line "$1" "\"data\":$2"
}

figure_line() {
    printf '{"step":%s,"name":%s,%s}\n' "$(quote "$STEP")" "$(quote "$1")" "$2" >> "$WORK/figures.jsonl"
}

# part_result NAME RESULT MILLISECONDS FIELDS: into the figures and the step's counts.
part_result() {
    local seconds
    printf -v seconds '%d.%03d' $(($3 / 1000)) $(($3 % 1000))
    figure_line "$1" "\"result\":\"$2\",\"seconds\":$seconds${4:+,$4}"
    case $2 in
        passed) PASSED=$((PASSED + 1)) ;;
        FAILED) FAILED+=("$1") ;;
        *) CUT_OFF+=("$1") ;;
    esac
}

# Runs the command under its limit; its status, or 124 where it was cut off.
limited() {
    local limit=$1 out=$2 err=$3 end
    shift 3
    # A process that waits for a driver in the kernel can't be killed: then nobody waits for it here.
    end=$(($(milliseconds) + 1000 * (limit + GRACE_S + DEAD_S)))
    timeout -k "$GRACE_S" "$limit" "$@" < /dev/null > "$out" 2> "$err" &
    CHILD=$!
    while kill -0 "$CHILD" 2> /dev/null; do
        if (($(milliseconds) > end)); then
            CHILD=
            return 124
        fi
        # Waits without a process: nobody writes there.
        read -r -t 0.05 -u "$NEVER"
        [ -z "$STOPPED" ] || stop "$STOPPED"
    done
    # The shell itself would report signals on its standard error.
    { wait "$CHILD"; } 2> /dev/null
    set -- $?
    CHILD=
    [ -z "$STOPPED" ] || stop "$STOPPED"
    return "$1"
}

# As it could be typed, near enough.
command_line() {
    local word line=''
    for word in "$@"; do
        [[ $word == *[!a-zA-Z0-9._/:=^,-]* || -z $word ]] && word="'$word'"
        line+="${line:+ }$word"
    done
    printf '%s' "$line"
}

# The beginning and the end of a file that is too long.
shorten() {
    if [ -f "$1" ] && (($(wc -c < "$1") > KEPT_BYTES)); then
        { head -c $((KEPT_BYTES / 2)) "$1"; printf '\n[...]\n'; tail -c $((KEPT_BYTES / 2)) "$1"; } > "$1.short"
        mv "$1.short" "$1"
    fi
}

part() {
    local kind=$1 name=$2 limit=$3 left start took status result why='' fields file
    shift 3
    left=$(seconds_left)
    if ((left < 1)); then
        leave_out "$name" "no time was left in the step"
        return 1
    fi
    ((limit > left)) && limit=$left
    file="$WORK/$STEP-$(tr -cs 'a-zA-Z0-9\n' '-' <<< "$name")"
    start=$(milliseconds)
    limited "$limit" "$file.out" "$file.err" "$@"
    status=$?
    took=$(($(milliseconds) - start))
    result=passed
    if ((status == 124 || status == 137 && took >= 1000 * limit)); then
        result="cut off"
        why="it didn't end in $limit s"
    elif ((status != 0)); then
        result=FAILED
        why="exit status $status"
        ((status > 128)) && why="signal $((status - 128))"
    fi
    fields="\"command\":$(quote "$(command_line "$@")")"
    case $kind in
        json | lines) read_json "$kind" "$file.out" ;;
        tests) read_tests "$file.out" "$@" ;;
        says:*) [ "$result" = "cut off" ] || read_word "${kind#says:}" "$file.out" ;;
    esac
    shorten "$file.out"
    shorten "$file.err"
    [ -s "$file.err" ] || rm -f "$file.err"
    if [ "$result" != passed ]; then
        say "  $result: $STEP, $name: $why"
        said "$kind" "$file" | cut -c 1-300 | sed 's/^/    /' | tee -a "$WORK/summary.txt"
    fi
    part_result "$name" "$result" "$took" "$fields${why:+,\"why\":$(quote "$why")}"
    [ "$result" = passed ]
}

# Adds what was printed to `fields`; of a command that failed, too, if it is whole.
read_json() {
    local text
    if [ "$1" = json ]; then
        text=$(tr -d '\n\r' < "$2")
        [[ $text == \{*\} ]] && fields+=",\"data\":$text"
    else
        text=$(grep '^{.*}$' "$2" | paste -sd, -)
        [ -n "$text" ] && fields+=",\"rows\":[$text]"
    fi
    if [ "$result" = passed ] && [[ $fields != *,\"data\":* && $fields != *,\"rows\":* ]]; then
        result=FAILED
        why="it printed no figures"
    fi
}

# The lines of a failed part that say most: of tests, what the first ones panicked with.
said() {
    case $1 in
        tests) grep -h -A 1 "panicked at" "$2.out" | grep -v '^--$' | head -n 6 ;;
        json | lines) tail -n 3 "$2.err" 2> /dev/null ;;
        *) tail -q -n 3 "$2.out" "$2.err" 2> /dev/null ;;
    esac
}

read_word() {
    if grep -qF -- "$1" "$2"; then
        result=passed why=''
    else
        result=FAILED
        why="it didn't say $1, ${why:-exit status 0}"
    fi
}

# Names of failed tests, in the order in which they failed, and of those that hadn't ended when the process did.
read_tests() {
    local out=$1 passed failed unfinished failed_here
    shift
    passed=$(grep -c '^test .* \.\.\. ok$' "$out")
    TESTS=$((TESTS + passed))
    mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$out")
    # With --list a test binary names what it would run.
    mapfile -t unfinished < <(comm -13 \
        <(sed -n 's/^test \([^ ]*\).* \.\.\. \(ok\|FAILED\|ignored.*\)$/\1/p' "$out" | sort) \
        <(timeout 5 "$@" --list 2> /dev/null | sed -n 's/^\(.*\): test$/\1/p' | sort))
    if ((passed + ${#failed[@]} + ${#unfinished[@]} == 0)); then
        result=FAILED
        why="no test has such a name"
    fi
    if ((${#failed[@]})); then
        why+=", failed: ${failed[*]:0:8}"
        ((${#failed[@]} > 8)) && why+=" and $((${#failed[@]} - 8)) more"
    fi
    if ((${#unfinished[@]})); then
        why+=", unfinished: ${unfinished[*]:0:8}"
        [ "$result" = passed ] && result=FAILED
    fi
    failed_here=("${failed[@]}" "${unfinished[@]}")
    FIRST_FAILED+=("${failed_here[@]:0:1}")
    OTHERS_FAILED+=("${failed_here[@]:1}")
    why=${why#, }
    fields+=",\"tests\":$passed,\"failed\":$(quote_all "${failed[@]}")"
    fields+=",\"unfinished\":$(quote_all "${unfinished[@]}")"
}

# "3 FAILED (a, b, c)".
counted() {
    local what=$1 text
    shift
    (($#)) || return
    printf -v text '%s, ' "$@"
    printf ', %s %s (%s)' $# "$what" "${text%, }"
}

end_step() {
    local result=passed what
    what="$PASSED passed"
    ((TESTS)) && what+=" with $TESTS tests"
    what+=$(counted FAILED "${FAILED[@]}")$(counted "cut off" "${CUT_OFF[@]}")
    what+=$(counted "left out" "${LEFT_OUT[@]}")
    ((${#LEFT_OUT[@]} && PASSED == 0)) && result="left out"
    ((${#CUT_OFF[@]})) && result="cut off"
    ((${#FAILED[@]})) && result=FAILED
    ((${#CUT_OFF[@]} + ${#FAILED[@]})) && ANY_FAILED=1
    say "$(printf '%-9s %-8s %3d s  %s' "$STEP" "$result" $((SECONDS - STEP_START)) "$what")"
    figure_line "" "\"result\":\"$result\",\"seconds\":$((SECONDS - STEP_START)),\"why\":$(quote "$what")"
    STEP=
    keep
}

# Puts what there is where it is kept, each file whole at any time.
keep() {
    local file
    for file in summary.txt figures.jsonl; do
        cp "$WORK/$file" "$OUT/.$file.part" && mv "$OUT/.$file.part" "$OUT/$file"
    done
    tar -czf "$OUT/.gpu-check.tar.gz.part" -C "$SCRATCH" gpu-check &&
        mv "$OUT/.gpu-check.tar.gz.part" "$OUT/gpu-check.tar.gz"
}

end_steps() {
    return "$ANY_FAILED"
}
