#!/usr/bin/env bash
# What only a GPU can settle, in one call of at most nine minutes on a machine with one GPU, some sixteen
# cores and no cargo: right first, then fast, then why. Needs a bundle (scripts/bundle.sh) in the tree.
#
# Usage: scripts/gpu-check.sh [cuda | cuda:N | emulated] [--out DIR] [--only STEP]... [--second] [--list]
#   --out DIR     where results go (gpu-check): summary.txt, figures.jsonl and gpu-check.tar.gz, which holds
#                 everything; all three are rewritten after each step. scripts/gpu-results.py makes tables
#   --only STEP   this step alone; may be given again
#   --second      the steps of a second call, for when the first one found nothing wrong
#   --list        print the steps and do nothing
#   PYTHON        a Python with torch and torchvision, for the peer (python3)
#
# Each step has its seconds, each part of it a process and a limit (steps.sh), so that nothing that hangs or
# crashes takes the rest along. With `emulated` every step goes through, small, without a GPU; what needs one
# is named as left out. Fails if any part fails or is cut off.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/steps.sh disable=SC2329
. scripts/steps.sh

FIRST=(devices graphs kernels failed overhead layers inject torch ncu sanitizer)
SECOND=(devices backward shapes training)
# The most that each may take; together they end within the limit, and most take less.
declare -A SECONDS_OF=(
    [devices]=40 [graphs]=30 [kernels]=90 [failed]=60 [overhead]=60 [layers]=80 [inject]=60 [torch]=60
    [ncu]=80 [sanitizer]=120 [backward]=150 [shapes]=230 [training]=150
)
# On the emulator, where a step takes other times.
declare -A EMULATED_SECONDS_OF=(
    [devices]=10 [filters]=50 [graphs]=60 [kernels]=120 [failed]=20 [overhead]=30 [layers]=30 [inject]=40 [torch]=40
    [ncu]=5 [sanitizer]=5 [backward]=60 [shapes]=90 [training]=5
)
declare -A SETTLES=(
    [devices]="that the driver is there and kernels load, and how long that takes"
    [graphs]="graphs and tensor cores, which have no twin in plain C++"
    [kernels]="every other kernel, network and campaign against the CPU, to the bit where bits are promised"
    [failed]="tests that failed, each alone; what still fails then, under memcheck"
    [overhead]="images a second, and the cost of being armed"
    [layers]="ResNet-50's operations, and their share of the ceilings"
    [inject]="injections a second, and records as the CPU's"
    [torch]="PyTorch's times for the same networks and layers"
    [ncu]="what holds chosen kernels up"
    [sanitizer]="that memory and barriers are used as CUDA allows"
    [backward]="backward passes of three networks' operations"
    [shapes]="every operation of the published networks beside PyTorch's, forward and backward"
    [training]="a study on the GPU, and its table beside the CPU's"
)
# Tests in groups, a process each: name, limit and filters.
FIRST_GROUPS=(
    "graphs|20|graphs::"
    "tensor cores|20|tensor_cores::"
    "faults in tensor cores|20|tensor_core_faults::"
)
GROUPS_OF_KERNELS=(
    "kernels|40|kernels::"
    "depthwise|10|depthwise::"
    "attention|10|attention::"
    "faults in attention|15|attention_faults::"
    "faults in memory|10|faults::memory:: faults::words::"
    "tiles of convolutions|15|conv2d_tiles::"
    "faults in NaN|10|faults::nan::"
    "handles|10|handles::"
    "optimizers|10|optimizers::"
    "operations against PyTorch|10|pytorch_ops::"
    "networks|25|kernel_networks::"
    "pools and norms|10|norms_and_pools:: pointwise::"
    "texts|10|text::towers"
    "campaigns and training|20|campaign::graphs_change campaign::queued:: campaign::kinds::sites_inside \
exhaustive::kernels_give tape::an_emulated_training_step"
    "benchmarks|15|bench::"
)
RANDOM_SHAPES=random_shapes::
# Of these groups: tests of the CPU alone, or of nothing that runs. They prove nothing here.
CPU_TESTS=(
    attention::changes_stay_within_reach
    attention::gradients_do_not_depend_on_threads
    attention::tables_of_coordinates_are_swins
    attention::what_does_not_fit_is_refused
    attention_faults::attention_says_where_it_can_be_hit
    bench::a_failure_of_the_device_ends_the_trying
    bench::overhead_tells_what_failed
    bench::shapes_cover_every_network_once
    bench::the_command_fails_behind_its_rows
    bench::the_command_lists_times_and_refuses
    depthwise::depthwise_layers_have_no_shared_tiles
    faults::memory::a_shared_layers_weights_are_hit_for_an_image_alone
    faults::memory::fused_plans_refuse_faults_in_memory
    faults::memory::impossible_faults_in_memory_are_refused
    faults::memory::training_plans_refuse_faults_in_memory
    faults::memory::where_a_stray_store_lands_is_known_before_it_is_run
    kernels::every_kernel_has_arguments_that_were_held_against_the_cuda_source
    kernels::every_operation_has_kernels
    optimizers::an_optimizer_of_other_weights_is_refused
    pointwise::masks_refuse_impossible_probabilities
    pytorch_ops::operations_equal_pytorch_on_the_cpu
    text::towers::the_three_sizes_equal_transformers
)
# What takes the emulator long, and what CI runs on it anyway: left out with `emulated`.
SLOW_TESTS=(
    bench::kernels_are_checked_timed_and_set_beside_a_peer
    bench::values_for_all_images_are_timed_as_one
    campaign::graphs_change_nothing_and_leave_nothing_to_do
    graphs::a_forward_pass_as_a_graph_has_the_same_bits_in_other_families
    kernel_networks::focalnet_is_the_cpu_s
    kernel_networks::mobilenet_is_the_cpu_s
    kernel_networks::swin_v2_is_the_cpu_s
    kernels::gradients_of_several_readers_are_added
    random_shapes::random_convolutions
    random_shapes::random_norms_and_softmax
    tape::an_emulated_training_step_equals_the_cpus
    tensor_core_faults::faults_inside_tensor_core_products_reach_exactly_their_set
    tensor_cores::tensor_cores_are_within_their_formats_bounds
)

refuse() {
    echo "gpu-check: $1" >&2
    exit 2
}

device='' out=gpu-check only=() second=0 list=0
while (($#)); do
    case $1 in
        --out | --only)
            (($# > 1)) || refuse "$1 needs a value"
            if [ "$1" = --out ]; then out=$2; else only+=("$2"); fi
            shift
            ;;
        --second) second=1 ;;
        --list) list=1 ;;
        -h | --help)
            sed -n '2,/^set /{ /^set /d; s/^# \{0,1\}//; p; }' "scripts/${0##*/}"
            exit 0
            ;;
        -*) refuse "there is no option $1" ;;
        cuda | cuda:[0-9] | cuda:[0-9][0-9] | emulated)
            [ -z "$device" ] || refuse "one device, not $device and $1"
            device=$1
            ;;
        *) refuse "'$1' is no device: cuda, cuda:N or emulated" ;;
    esac
    shift
done
device=${device:-cuda}
emulated=0 limit_s=540
if [ "$device" = emulated ]; then
    emulated=1
    # What it proves is of the tests, not of a GPU.
    FIRST=(devices filters "${FIRST[@]:1}")
    SETTLES[filters]="that tests run where they are sent, and those left out don't"
fi

seconds_of() {
    if ((emulated)); then echo "${EMULATED_SECONDS_OF[$1]}"; else echo "${SECONDS_OF[$1]}"; fi
}
if ((list)); then
    for steps in "${FIRST[*]}" "${SECOND[*]:1}"; do
        for step in $steps; do
            printf '%-10s %4s s  %s\n' "$step" "$(seconds_of "$step")" "${SETTLES[$step]}"
        done
        [ "$steps" = "${FIRST[*]}" ] && echo "with --second:"
    done
    exit 0
fi
for step in "${only[@]}"; do
    [ -n "$step" ] && [ -n "${SETTLES[$step]:-}" ] || refuse "there is no step '$step'; --list names them"
done
if ((${#only[@]})); then
    ((second)) && refuse "--only names steps of either call; leave --second out"
    steps=(devices)
    for step in "${only[@]}"; do
        [[ " ${steps[*]} " == *" $step "* ]] || steps+=("$step")
    done
elif ((second)); then
    steps=("${SECOND[@]}")
else
    steps=("${FIRST[@]}")
fi

python=${PYTHON:-python3}
[ -f bundle/bundle.tar.xz ] || refuse "there is no bundle; run scripts/bundle.sh"
# The names of tests and the benchmarks' flags are this tree's.
[ "$(cat bundle/sources 2> /dev/null)" = "$(bash scripts/bundle.sh --sources)" ] ||
    refuse "the bundle is of other sources; run scripts/bundle.sh again"
# The bundle stays as small as it is. Python has its own unpacker where xz isn't installed.
BIN=target/bundle
unpack() {
    tar -xJf bundle/bundle.tar.xz -C "$BIN" 2> /dev/null ||
        "$python" -c 'import sys, tarfile
tarfile.open("bundle/bundle.tar.xz").extractall(sys.argv[1])' "$BIN"
}
mkdir -p "$BIN" || refuse "$BIN can't be made"
unpack || refuse "bundle/bundle.tar.xz can't be unpacked; is xz here, or $python?"
# Where libcublas may lie beside a CUDA toolkit or NVIDIA's wheels (cu13: since CUDA 13).
for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" \
    $("$python" -c 'import nvidia; print(*nvidia.__path__)' 2> /dev/null |
        tr ' ' '\n' | sed 's|$|/cublas/lib|; p; s|cublas/lib|cu13/lib|'); do
    [ -d "$folder" ] && export LD_LIBRARY_PATH="$folder:${LD_LIBRARY_PATH:-}"
done
# Where a toolkit has its tools, if they aren't on the path.
for folder in "${CUDA_HOME:-/usr/local/cuda}/bin" /opt/nvidia/nsight-compute/*; do
    [ -d "$folder" ] && PATH=$PATH:$folder
done
# The tests look for their fixtures here, not where they were built.
export CARGO_MANIFEST_DIR=$PWD FLIPSIDE_TEST_DEVICE=$device PYTHONUNBUFFERED=1

# tests NAME LIMIT FILTER...
tests() {
    local name=$1 limit=$2
    shift 2
    part tests "$name" "$limit" "$BIN/tests" "$@" "${SKIP[@]}"
}

# test_groups GROUP...
test_groups() {
    local group name limit filters
    for group in "$@"; do
        IFS='|' read -r name limit filters <<< "$group"
        # shellcheck disable=SC2086
        tests "$name" "$limit" $filters
    done
}

# flipside NAME LIMIT ARGUMENTS...: a benchmark on the device.
flipside() {
    local name=$1 limit=$2
    shift 2
    part json "$name" "$limit" "$BIN/flipside" "$@" --device "$device" --json --quiet
}

is_here() {
    command -v "$1" > /dev/null
}

skipped=("${CPU_TESTS[@]}") SKIP=()
((emulated)) && skipped+=("${SLOW_TESTS[@]}")
for name in "${skipped[@]}"; do
    SKIP+=(--skip "$name")
done

step_devices() {
    local gpu='' named=$device line='' state opening
    [ "$device" = cuda ] && named=cuda:0
    # On a machine that is new the first one waits for the driver, and for the kernels to be unpacked; the
    # second is what every process waits for.
    part text "first opening" 25 "$BIN/flipside" devices
    part text "second opening" 10 "$BIN/flipside" devices
    for opening in second first; do
        [ -n "$line" ] || line=$(grep -E "^($device|$named) " "$WORK/devices-$opening-opening.out" 2> /dev/null | head -1)
    done
    read -r _ state _ <<< "$line"
    [ "$state" = ready ] && READY=1
    if ((emulated)); then
        leave_out nvidia-smi "no GPU is looked for"
    elif part text nvidia-smi 8 nvidia-smi; then
        gpu=$(timeout 5 nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | paste -sd ';')
    fi
    say "${gpu:-no GPU}, $(nproc) cores, commit $(cut -c 1-12 bundle/commit)"
    say "  $line"
    figure machine "{\"device\":$(quote "$device"),\"gpu\":$(quote "$gpu"),\"cores\":$(nproc),\
\"says\":$(quote "$line"),\"date\":$(quote "$(date -u +%Y-%m-%d)"),\"commit\":$(quote "$(cat bundle/commit)")}"
}

# A test that passes on a device that there isn't hasn't used it, and is no proof on a GPU.
step_filters() {
    local group filters=("$RANDOM_SHAPES") skip=() name
    for group in "${FIRST_GROUPS[@]}" "${GROUPS_OF_KERNELS[@]}"; do
        # shellcheck disable=SC2206
        filters+=(${group##*|})
    done
    for name in "${CPU_TESTS[@]}"; do
        skip+=(--skip "$name")
    done
    # All that there are fail, and none passes.
    local count
    count=$(timeout 5 "$BIN/tests" "${filters[@]}" "${skip[@]}" --list 2> /dev/null | grep -c ': test$')
    # shellcheck disable=SC2016
    part text "each uses its device" 25 bash -c 'FLIPSIDE_TEST_DEVICE=none "${@:2}" > "$0"
        grep "^test .* [.][.][.] ok$" "$0" && exit 1
        [ "$1" -gt 0 ] && [ "$(grep -c "^test .* [.][.][.] FAILED$" "$0")" = "$1" ]' "$WORK/filters-none.txt" "$count" \
        "$BIN/tests" "${filters[@]}" "${skip[@]}"
    part tests "those left out use none" 25 env FLIPSIDE_TEST_DEVICE=none "$BIN/tests" --exact "${CPU_TESTS[@]}"
    local missing=()
    timeout 5 "$BIN/tests" --list 2> /dev/null | sed -n 's/: test$//p' > "$WORK/tests.txt"
    for name in "${CPU_TESTS[@]}" "${SLOW_TESTS[@]}"; do
        grep -qxF "$name" "$WORK/tests.txt" || missing+=("$name")
    done
    # One that has another name by now isn't left out any more.
    part text "names of those left out" 2 test "" = "${missing[*]}"
}

step_graphs() {
    test_groups "${FIRST_GROUPS[@]}"
}

step_kernels() {
    test_groups "${GROUPS_OF_KERNELS[@]}"
    local random_s=40 left
    left=$(seconds_left)
    ((emulated)) && random_s=0
    ((random_s > left - 5)) && random_s=$((left > 5 ? left - 5 : 0))
    FLIPSIDE_RANDOM_SECONDS=$random_s tests "random shapes" 60 "$RANDOM_SHAPES"
}

# A process that CUDA fails once fails ever after, so that most of what failed may have come after the one
# that did: alone, a test speaks for itself. Under memcheck status 9 is its finding, 101 the test's own.
step_failed() {
    local again=() name
    local failed=("${FIRST_FAILED[@]}" "${OTHERS_FAILED[@]}")
    ((${#failed[@]})) || { leave_out "all of it" "no test failed"; return; }
    for name in "${failed[@]:0:8}"; do
        part tests "$name" 8 "$BIN/tests" --exact "$name" --test-threads 1 || again+=("$name")
    done
    ((${#failed[@]} > 8)) && leave_out "$((${#failed[@]} - 8)) more tests" "eight are run alone"
    for name in "${again[@]:0:3}"; do
        if ((emulated)) || ! is_here compute-sanitizer; then
            leave_out "memcheck of $name" "no compute-sanitizer"
        else
            part text "memcheck of $name" 25 compute-sanitizer --tool memcheck --error-exitcode 9 \
                "$BIN/tests" --exact "$name" --test-threads 1
        fi
    done
}

# overhead MODEL COMPUTE BATCH ARGUMENTS...
overhead() {
    flipside "$1 $2 $3" 20 bench overhead --model "$1" --compute "$2" --batch "$3" "${@:4}"
}

step_overhead() {
    local model compute batch missing=()
    if ((emulated)); then
        for compute in exact tf32 bf16; do
            overhead resnet_small "$compute" 2 --layer fc --quick
        done
        return
    fi
    # With single layers at each of their sites; elsewhere the last layer's, which takes no time.
    overhead resnet50 exact 8
    for compute in exact tf32 bf16; do
        for batch in 64 8 1; do
            [ "$compute $batch" = "exact 8" ] || overhead resnet50 "$compute" "$batch" --layer fc
        done
    done
    overhead swin_v2_t exact 32
    overhead mobilenet_v2 exact 32
    local -A last=([mobilenet_v2]=classifier.1 [swin_v2_t]=head)
    for compute in exact tf32 bf16; do
        for model in mobilenet_v2 swin_v2_t; do
            for batch in 64 8 1; do
                if (($(seconds_left) < 2)); then
                    missing+=("$model $compute $batch")
                else
                    overhead "$model" "$compute" "$batch" --layer "${last[$model]}"
                fi
            done
        done
    done
    ((${#missing[@]} == 0)) || leave_out "${missing[*]}" "no time was left in the step"
}

step_layers() {
    local network=(--model resnet50)
    ((emulated)) && network=(--model resnet_small --quick)
    flipside "exact" 50 bench kernels "${network[@]}"
    flipside "tf32" 25 bench kernels "${network[@]}" --compute tf32 --filter conv2d
    flipside "bf16" 25 bench kernels "${network[@]}" --compute bf16 --filter conv2d
}

# campaign NAME LIMIT ARGUMENTS...
campaign() {
    local model=resnet50
    ((emulated)) && model=resnet_small
    flipside "$1" "$2" bench inject --model "$model" --rounds 1 --alone 0 "${@:3}"
}

sha256_of() {
    sed -n 's/.*"records_sha256": *"\([^"]*\)".*/\1/p' "$WORK/inject-$1.out" 2> /dev/null
}

step_inject() {
    local images=32 model=resnet50 few=(--images 4 --injections 4)
    if ((emulated)); then
        images=4 model=resnet_small
        few+=(--image-size 16)
    fi
    campaign "few on the device" 12 "${few[@]}"
    part json "few on the CPU" 15 "$BIN/flipside" bench inject --model "$model" --rounds 1 --alone 0 \
        "${few[@]}" --device cpu --json --quiet
    local here there
    here=$(sha256_of few-on-the-device)
    there=$(sha256_of few-on-the-CPU)
    if [ -n "$here" ] && [ -n "$there" ]; then
        part text "records as the CPU's" 2 test "$here" = "$there"
    else
        leave_out "records as the CPU's" "there is no records_sha256 of both"
    fi
    campaign "output, one an image and layer" 15 --images "$images" --injections "$images"
    if ((emulated)); then
        campaign "weight" 15 --site weight --images 2 --injections 2
        return
    fi
    campaign "output, sixteen an image and layer" 30 --images "$images" --injections $((16 * images))
    campaign "weight" 20 --site weight --images 8 --injections 2
}

# Whether Python has these modules, without the seconds that loading them takes.
has_modules() {
    "$python" -c 'import importlib.util, sys
sys.exit(any(importlib.util.find_spec(name) is None for name in sys.argv[1:]))' "$@" 2> /dev/null
}

step_torch() {
    local networks=(--seconds 22) layers=(--seconds 14 --limit 20) network=(--model resnet50) peer=$device
    if ((emulated)); then
        peer=cpu
        networks=(--quick --model mobilenet_v2 --batch 1 --image-size 64 --seconds 10)
        layers=(--quick --limit 3)
        network=(--model resnet_small --quick --batch 2)
    fi
    if has_modules torch torchvision; then
        part lines networks 32 "$python" benches/networks_vs_torch.py --device "$peer" "${networks[@]}"
    else
        leave_out networks "$python has no torch and torchvision"
    fi
    if has_modules torch; then
        times_of_torch layers 25 "$peer" "${layers[@]}" -- "${network[@]}" --filter conv2d
    else
        leave_out layers "$python has no torch"
    fi
}

# times_of_torch NAME LIMIT PEER ARGUMENTS... -- LIST'S ARGUMENTS...: into the figures and PEERS.
times_of_torch() {
    local name=$1 limit=$2 peer=$3 arguments=()
    shift 3
    while [ "$1" != -- ]; do
        arguments+=("$1")
        shift
    done
    shift
    PEERS="$WORK/$STEP-peers.json"
    part text "list" 10 "$BIN/flipside" bench kernels "$@" --device "$device" --list --json
    mv "$WORK/$STEP-list.out" "$WORK/$STEP-list.json" 2> /dev/null
    part text "$name" "$limit" "$python" benches/kernels_vs_torch.py "$WORK/$STEP-list.json" "$PEERS" \
        --device "$peer" "${arguments[@]}"
    # Even of a run that was cut off.
    [ -s "$PEERS" ] && figure "times" "$(tr -d '\n' < "$PEERS")"
}

# profile NAME KERNEL ARGUMENTS...: a launch of a kernel whose name matches, the second one, since the first
# is the check of a small batch. Once it is measured, the program isn't needed any more.
profile() {
    local name=$1 kernel=$2
    shift 2
    part says:Duration "$name" 15 ncu --clock-control none --section SpeedOfLight --section Occupancy \
        --section WarpStateStats --section MemoryWorkloadAnalysis --kernel-name "regex:$kernel" \
        --launch-skip 1 --launch-count 1 --kill yes --page details --csv \
        "$BIN/flipside" "$@" --device "$device" --quiet
}

# The same of an operation of the benchmark, at the networks' size.
profile_op() {
    local name=$1 kernel=$2 model=$3 filter=$4 size=224
    shift 4
    [ "$model" = swin_v2_t ] && size=256
    profile "$name" "$kernel" bench kernels --model "$model" --filter "$filter" --quick \
        --image-size "$size" --batch 32 "$@"
}

step_ncu() {
    if ((emulated)) || ! is_here ncu; then
        leave_out "all of it" "no GPU or no ncu"
        return
    fi
    profile_op "exact 128×128" ^conv2d_forward_f32 resnet50 "conv2d 128×28×28 → 128×28×28, 3×3"
    profile_op "exact 128×64" ^conv2d_forward_f32 resnet50 "conv2d 64×56×56 → 64×56×56, 3×3"
    profile_op "exact 64×64" ^conv2d_forward_f32 resnet50 "conv2d 512×7×7 → 512×7×7, 3×3"
    profile_op "tf32 128×128" ^conv2d_forward_tf32 resnet50 "conv2d 128×28×28 → 128×28×28, 3×3" --compute tf32
    profile_op "bf16 128×128" ^conv2d_forward_bf16 resnet50 "conv2d 128×28×28 → 128×28×28, 3×3" --compute bf16
    profile_op attention ^attention_forward_f32 swin_v2_t "attention"
    profile_op "depthwise 3×3" ^depthwise_forward_f32_3 mobilenet_v2 "depthwise"
    profile_op add ^add_forward_f32 resnet50 "add 256×56×56"
    profile_op "layer norm" ^layer_norm_forward_f32 swin_v2_t "layer_norm 96×64×64"
    profile AdamW ^adamw_step_f32 study --quick --seeds 1 --model resnet18 --opt adamw
}

step_sanitizer() {
    local tool
    if ((emulated)) || ! is_here compute-sanitizer; then
        leave_out "all of it" "no GPU or no compute-sanitizer"
        return
    fi
    # The last step takes all that is left of the run: a sanitizer instruments every kernel that is loaded,
    # which may take longer than the test. Faults in NaN reach exact, depthwise, attention and tensor-core
    # kernels, clean and armed, on the smallest maps.
    for tool in memcheck racecheck synccheck; do
        part text "$tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "$BIN/tests" --test-threads 1 \
            faults::nan::
    done
}

step_backward() {
    local model models=(resnet50 mobilenet_v2 swin_v2_t) quick=()
    ((emulated)) && models=(resnet_small) quick=(--quick)
    for model in "${models[@]}"; do
        flipside "$model" 60 bench kernels --model "$model" --backward "${quick[@]}"
    done
}

step_shapes() {
    local peer=$device limit=(--seconds 100) models=()
    ((emulated)) && peer=cpu limit=(--quick --limit 3) models=(--model resnet_small --quick --batch 2)
    PEERS=
    if has_modules torch; then
        times_of_torch "PyTorch" 110 "$peer" --backward "${limit[@]}" -- "${models[@]}"
    else
        leave_out PyTorch "$python has no torch"
    fi
    flipside kernels 120 bench kernels "${models[@]}" --backward ${PEERS:+--peers "$PEERS"}
}

step_training() {
    if ((emulated)); then
        leave_out "all of it" "it takes the emulator too long"
        return
    fi
    part text "on the device" 90 "$BIN/flipside" study --seeds 1 --device "$device" --quiet
    part text "on the CPU" 60 "$BIN/flipside" study --seeds 1 --device cpu --quiet
}

READY=0
mkdir -p "$out" || refuse "$out can't be made"
begin_steps "$out" $((limit_s - SECONDS))
for step in "${steps[@]}"; do
    if begin_step "$step" "$(seconds_of "$step")"; then
        if [ "$READY" = 1 ] || [ "$step" = devices ] || [ "$step" = torch ]; then
            "step_$step"
        else
            leave_out "all of it" "device $device isn't ready"
        fi
    fi
    end_step
done
end_steps
status=$?
((READY)) || status=1
echo "everything is in $out/gpu-check.tar.gz; tables: scripts/gpu-results.py $out"
exit "$status"
