//! The emulator: right kernels give the right bits in every order, wrong ones give errors.

use bytemuck::{cast_slice, cast_slice_mut};
use flipside::device::args::{
    TestEarlyReturnArgs, TestFillArgs, TestReduceArgs, TestSgemmArgs, TestWarpArgs, TestWrongArgs,
};
use flipside::device::{Buffer, Device, EmulatorOptions, KernelArgs, ThreadOrder};
use flipside::{Error, Result};

/// The orders that every kernel test runs under.
pub const ORDERS: [ThreadOrder; 3] =
    [ThreadOrder::Forward, ThreadOrder::Reverse, ThreadOrder::Shuffle(11)];

pub fn ordered(order: ThreadOrder, parallel: bool) -> Device {
    Device::emulated_with(EmulatorOptions { order, parallel, mutant: None })
}

pub fn upload<T: bytemuck::Pod>(device: &Device, values: &[T]) -> Buffer {
    let mut buffer = device.alloc(size_of_val(values)).unwrap();
    buffer.write(0, cast_slice(values)).unwrap();
    buffer
}

pub fn download<T: bytemuck::Pod>(buffer: &Buffer) -> Vec<T> {
    let mut values = vec![T::zeroed(); buffer.bytes() / size_of::<T>()];
    buffer.read(0, cast_slice_mut(&mut values)).unwrap();
    values
}

/// Launches a kernel on buffers of a test.
pub fn launch<A: KernelArgs>(
    device: &Device,
    kernel: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    args: &A,
) -> Result<()> {
    // SAFETY: the buffers outlive the launch, and are as large as the test's kernel takes them to be.
    unsafe { device.launch(kernel, (grid, block), args) }
}

/// Numbers whose sums round: the fractions of a multiplicative walk, in [-1, 1).
pub fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
    .take(count)
    .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The text of a failed launch of a kernel of wrong.cu with `threads` threads.
fn wrong(kernel: &'static str, threads: u32) -> String {
    let device = Device::emulated();
    let y = device.alloc(1024).unwrap();
    let args = TestWrongArgs { y: y.address(), which: 0, count: 256 };
    match launch(&device, kernel, [3, 1, 1], [threads, 1, 1], &args) {
        Err(Error::Kernel { kernel: named, detail }) => {
            assert_eq!(named, kernel);
            detail
        }
        other => panic!("{kernel}: {other:?}"),
    }
}

/// The number of the line of wrong.cu that reads `text` the `nth` time, from 1.
fn line(text: &str, nth: usize) -> usize {
    let source = include_str!("../kernels/emulator/testing/wrong.cu");
    let found = source.lines().enumerate().filter(|(_, line)| line.contains(text)).nth(nth);
    found.expect("the line stands in wrong.cu").0 + 1
}

#[test]
fn a_reduction_gives_the_bits_of_a_scalar_loop() {
    let x = numbers(5 * 256 - 37, 1);
    // The tree that the shuffles walk, written as loops over one block.
    let warp_sum = |values: &mut [f32; 32]| {
        for step in [16, 8, 4, 2, 1] {
            for lane in 0..step {
                values[lane] += values[lane + step];
            }
        }
        values[0]
    };
    let expected: Vec<f32> = (0..5)
        .map(|block| {
            let mut sums = [0.0; 32];
            for (warp, sum) in sums.iter_mut().enumerate().take(8) {
                let at = |lane| x.get(block * 256 + warp * 32 + lane).copied().unwrap_or(0.0);
                *sum = warp_sum(&mut std::array::from_fn(at));
            }
            warp_sum(&mut sums)
        })
        .collect();
    for order in ORDERS {
        for parallel in [false, true] {
            let device = ordered(order, parallel);
            let x = upload(&device, &x);
            let sums = device.alloc(5 * 4).unwrap();
            let args = TestReduceArgs {
                x: x.address(),
                sums: sums.address(),
                count: x.bytes() as u64 / 4,
            };
            launch(&device, "test_reduce_f32", [5, 1, 1], [256, 1, 1], &args).unwrap();
            assert_eq!(bits(&download(&sums)), bits(&expected), "{order:?}, parallel {parallel}");
        }
    }
}

#[test]
fn collectives_give_what_cuda_says() {
    let every_third = (0..32).filter(|lane| lane % 3 == 0).fold(0u32, |mask, l| mask | 1 << l);
    let expected: Vec<[u32; 8]> = (0..32u32)
        .map(|lane| {
            let in_half = |lane: u32| if lane < 16 { lane ^ 1 } else { lane ^ 2 };
            [
                15,
                if lane >= 2 { lane - 2 } else { lane },
                if lane % 8 < 5 { lane + 3 } else { lane },
                lane ^ 9,
                every_third,
                if lane < 16 { in_half(lane) } else { in_half(lane) + in_half(lane ^ 4) },
                1,
                11,
            ]
        })
        .collect();
    for order in ORDERS {
        let device = ordered(order, false);
        let y = device.alloc(32 * 8 * 4).unwrap();
        let args = TestWarpArgs { y: y.address() };
        launch(&device, "test_collectives", [1, 1, 1], [32, 1, 1], &args).unwrap();
        assert_eq!(download::<[u32; 8]>(&y), expected, "{order:?}");
    }
}

#[test]
fn threads_may_return_before_a_barrier() {
    for order in ORDERS {
        for stay in [1u32, 31, 32, 100, 700] {
            let device = ordered(order, false);
            let y = device.alloc(stay as usize * 4).unwrap();
            let args = TestEarlyReturnArgs { y: y.address(), stay };
            launch(&device, "test_early_return", [1, 1, 1], [700, 1, 1], &args).unwrap();
            let expected: Vec<u32> = (0..stay)
                .map(|i| {
                    let votes = 32.min(stay - i / 32 * 32);
                    (i + 1) % stay * 7 + (votes << 16)
                })
                .collect();
            assert_eq!(download::<u32>(&y), expected, "{order:?}, {stay} stay");
        }
    }
}

#[test]
fn every_thread_of_a_grid_has_its_own_indices() {
    for (order, parallel) in [(ORDERS[0], true), (ORDERS[1], false), (ORDERS[2], false)] {
        let device = ordered(order, parallel);
        let y = device.alloc(4 * 8 * 6 * (3 * 5 * 7) * 4).unwrap();
        let args = TestFillArgs { y: y.address() };
        launch(&device, "test_fill", [3, 5, 7], [4, 8, 6], &args).unwrap();
        let filled = download::<u32>(&y);
        assert!(filled.iter().zip(0u32..).all(|(&value, i)| value == i ^ 0x5a5a_5a5a));
    }
}

#[test]
fn a_blocked_sgemm_gives_the_bits_of_a_scalar_loop() {
    let (m, n, k) = (140, 130, 70);
    let (a, b) = (numbers(m * k, 2), numbers(k * n, 3));
    let mut expected = vec![0.0f32; m * n];
    for i in 0..m {
        for j in 0..n {
            let terms = (0..k).map(|l| (a[i * k + l], b[l * n + j]));
            expected[i * n + j] = terms.fold(0.0, |sum, (x, y)| x.mul_add(y, sum));
        }
    }
    for order in ORDERS {
        let device = ordered(order, true);
        let (a, b) = (upload(&device, &a), upload(&device, &b));
        let c = device.alloc(m * n * 4).unwrap();
        let args = TestSgemmArgs {
            a: a.address(),
            b: b.address(),
            c: c.address(),
            m: m as u32,
            n: n as u32,
            k: k as u32,
        };
        launch(&device, "test_sgemm_f32", [2, 2, 1], [256, 1, 1], &args).unwrap();
        assert_eq!(bits(&download(&c)), bits(&expected), "{order:?}");
    }
}

#[test]
fn a_missing_barrier_gives_other_bits_in_another_order() {
    let run = |order| -> Vec<u32> {
        let device = ordered(order, false);
        let y = device.alloc(256 * 4).unwrap();
        let args = TestWrongArgs { y: y.address(), which: 0, count: 0 };
        launch(&device, "test_missing_barrier", [1, 1, 1], [256, 1, 1], &args).unwrap();
        download(&y)
    };
    let [forward, reverse, shuffled] = ORDERS.map(run);
    assert_ne!(forward, reverse);
    assert_ne!(forward, shuffled);
    assert_ne!(reverse, shuffled);
    assert_eq!(shuffled, run(ORDERS[2]), "a seed gives one order");
}

#[test]
fn shared_memory_starts_as_nan() {
    let device = Device::emulated();
    let y = device.alloc(256 * 4).unwrap();
    let args = TestWrongArgs { y: y.address(), which: 0, count: 0 };
    launch(&device, "test_shared_unwritten", [2, 1, 1], [256, 1, 1], &args).unwrap();
    assert!(download::<f32>(&y).iter().all(|value| value.is_nan()));
}

#[test]
fn a_deadlock_names_threads_and_lines() {
    let detail = wrong("test_deadlock", 64);
    let barrier = line("__syncthreads();", 0);
    let shuffle = line("__shfl_xor_sync", 0);
    for part in [
        "block (0,0,0): the block cannot go on".to_string(),
        format!(
            "threads 0 to 15 wait at __syncthreads (kernels/emulator/testing/wrong.cu:{barrier})"
        ),
        format!(
            "threads 16 to 31 wait at __shfl_xor_sync (kernels/emulator/testing/wrong.cu:{shuffle})"
        ),
        "for lanes 0000ffff of warp 0".to_string(),
    ] {
        assert!(detail.contains(&part), "`{part}` is missing in: {detail}");
    }
}

#[test]
fn collectives_that_do_not_match_are_errors() {
    let detail = wrong("test_mixed_collectives", 64);
    assert!(detail.contains("thread 0 at __ballot_sync"), "{detail}");
    assert!(detail.contains("thread 1 at __shfl_xor_sync"), "{detail}");
    assert!(detail.contains(&format!("wrong.cu:{}", line("__ballot_sync", 0))), "{detail}");

    let detail = wrong("test_mask_without_self", 32);
    assert!(detail.contains("thread 16 is lane 16 and calls __syncwarp"), "{detail}");
    assert!(detail.contains("mask (0000ffff) that leaves it out"), "{detail}");

    let detail = wrong("test_two_barriers", 64);
    assert!(detail.contains("different barriers: thread 0 at"), "{detail}");
    assert!(detail.contains(&format!("wrong.cu:{}", line("__syncthreads();", 1))), "{detail}");
    assert!(detail.contains(&format!("wrong.cu:{}", line("__syncthreads();", 2))), "{detail}");
}

#[test]
fn a_failed_launch_leaves_the_device_usable() {
    for _ in 0..20 {
        wrong("test_deadlock", 256);
        wrong("test_mixed_collectives", 96);
        a_blocked_sgemm_gives_the_bits_of_a_scalar_loop();
    }
}

// Under AddressSanitizer the write itself ends the test run.
#[test]
#[cfg_attr(sanitized, ignore)]
fn a_write_past_shared_memory_is_an_error() {
    let detail = wrong("test_shared_overrun", 256);
    assert!(detail.contains("0 bytes past the end of its shared memory (1024 bytes)"), "{detail}");
}

#[test]
fn launches_out_of_bounds_are_refused() {
    let device = Device::emulated();
    let args = TestWrongArgs { y: 0, which: 0, count: 0 };
    let refused = |kernel, grid, block| -> String {
        launch(&device, kernel, grid, block, &args).unwrap_err().to_string()
    };
    let one = [1, 1, 1];
    assert!(refused("test_deadlock", one, [257, 1, 1]).contains("a block of 257×1×1 threads"));
    assert!(refused("test_deadlock", one, [1, 0, 1]).contains("a block of 1×0×1 threads"));
    assert!(refused("test_deadlock", one, [u32::MAX; 3]).contains("it runs with 1 to 256"));
    assert!(refused("test_deadlock", [0, 1, 1], one).contains("a grid of 0×1×1"));
    assert!(refused("test_deadlock", [1, 65536, 1], one).contains("a grid of 1×65536×1"));
    assert!(refused("test_deadlock", [1 << 31, 1, 1], one).contains("a grid of"));
    assert!(refused("test_huge_shared", one, one).contains("101380 bytes of shared memory"));
    assert!(refused("no_such_kernel", one, one).contains("no file in kernels/ defines it"));
    let text = refused("test_fill", one, one);
    assert!(
        text.contains("it takes TestFillArgs (8 bytes), not TestWrongArgs (16 bytes)"),
        "{text}"
    );
    let error = launch(&Device::cpu(), "test_deadlock", one, one, &args).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }));
}

#[test]
fn devices_are_named_as_they_are_parsed() {
    for name in ["cpu", "emulated"] {
        let device = Device::parse(name).unwrap();
        assert_eq!(device.kind().to_string(), name);
        assert!(device.host_memory());
        assert_eq!(device.is_cpu(), name == "cpu");
    }
    for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
        assert!(matches!(Device::parse(name), Err(Error::Usage { .. })), "{name}");
    }
    // There may be no GPU: then the error says what is missing, and nothing panics.
    if let Err(error) = Device::parse("cuda:123") {
        assert!(error.to_string().starts_with("device cuda:123: "), "{error}");
    }
    let reports = flipside::device::report();
    assert!(reports.iter().any(|report| report.name == "emulated" && report.available));
    assert!(reports.iter().any(|report| report.name.starts_with("cuda")));
}

#[test]
fn buffers_are_zeroed_aligned_and_bounded() {
    for device in [Device::cpu(), Device::emulated()] {
        let mut buffer = device.alloc(100).unwrap();
        assert_eq!(buffer.address() % 64, 0);
        assert_eq!(download::<u8>(&buffer), vec![0; 100]);
        buffer.write(96, &[1, 2, 3, 4]).unwrap();
        assert!(buffer.write(97, &[1, 2, 3, 4]).is_err());
        assert!(buffer.read(usize::MAX, &mut [0; 2]).is_err());
        let mut end = [0; 4];
        buffer.read(96, &mut end).unwrap();
        assert_eq!(end, [1, 2, 3, 4]);
        // SAFETY: both ranges lie in the buffer.
        unsafe {
            device.copy(buffer.address() + 96, buffer.address(), 4).unwrap();
            device.zero(buffer.address() + 1, 2).unwrap();
        }
        buffer.read(0, &mut end).unwrap();
        assert_eq!(end, [1, 0, 0, 4]);
        let empty = device.alloc(0).unwrap();
        empty.read(0, &mut []).unwrap();
        assert!(matches!(device.alloc(usize::MAX), Err(Error::Device { .. })));
        assert!(matches!(device.alloc(1 << 50), Err(Error::Device { .. })));
    }
}

/// What scripts/sanitize.sh runs to see that AddressSanitizer sees.
#[test]
#[ignore = "reads past a buffer on purpose; scripts/sanitize.sh runs it"]
fn a_read_past_the_end() {
    let device = Device::emulated();
    let y = device.alloc(256 * 4).unwrap();
    let args = TestWrongArgs { y: y.address(), which: 0, count: 256 };
    launch(&device, "test_read_past_end", [1, 1, 1], [256, 1, 1], &args).unwrap();
}
