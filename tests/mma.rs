//! Tensor-core instructions under emulation: each wrapper of `kernels/gemm/mma.cuh` by itself.

use flipside::Error;
use flipside::device::Device;
use flipside::device::args::{TestConvertArgs, TestCopyArgs, TestMatricesArgs, TestMmaArgs};

use crate::emulator::{ORDERS, download, launch, numbers, ordered, upload};
use crate::formats::{BF16, F16, Format, TF32};

const ONE: [u32; 3] = [1, 1, 1];

/// A plain product in the order that the emulation documents: the terms onto d, one fused
/// multiply-add each, of operands rounded to the format.
#[test]
fn products_of_fragments_are_those_of_plain_matrices() {
    for (kernel, format, terms) in
        [("test_mma_tf32", TF32, 8), ("test_mma_bf16", BF16, 16), ("test_mma_f16", F16, 16)]
    {
        let (a, b) = (numbers(16 * terms, 1), numbers(terms * 8, 2));
        let d = numbers(16 * 8, 3);
        let mut expected = d.clone();
        for (at, sum) in expected.iter_mut().enumerate() {
            for k in 0..terms {
                let (x, y) = (a[at / 8 * terms + k], b[k * 8 + at % 8]);
                *sum = format.round(x).mul_add(format.round(y), *sum);
            }
        }
        for order in ORDERS {
            let device = ordered(order, false);
            let (a, b, d) = (upload(&device, &a), upload(&device, &b), upload(&device, &d));
            let args = TestMmaArgs { a: a.address(), b: b.address(), d: d.address() };
            launch(&device, kernel, ONE, [32, 1, 1], &args).unwrap();
            assert_eq!(download::<f32>(&d), expected, "{kernel}, {order:?}");
        }
    }
    let d = [0u64; 1];
    let args = TestMmaArgs { a: d[0], b: 0, d: 0 };
    let error = launch(&Device::emulated(), "test_mma_tf32", ONE, [33, 1, 1], &args).unwrap_err();
    assert!(error.to_string().contains("a block of 33"), "{error}");
}

#[test]
fn matrices_are_dealt_out_as_the_manual_says() {
    let x: Vec<u16> = (0..256).map(|i| i * 3 + 1).collect();
    let pair = |low: u16, high: u16| u32::from(high) << 16 | u32::from(low);
    let plain = |matrix: usize, lane: usize| {
        let at = (8 * matrix + lane / 4) * 8 + 2 * (lane % 4);
        pair(x[at], x[at + 1])
    };
    let transposed = |matrix: usize, lane: usize| {
        let at = (8 * matrix + 2 * (lane % 4)) * 8 + lane / 4;
        pair(x[at], x[at + 8])
    };
    let expected: Vec<u32> = (0..32)
        .flat_map(|lane| {
            let plain = [0, 1, 2, 3].map(|matrix| plain(matrix, lane));
            let transposed = [0, 1, 2, 3].map(|matrix| transposed(matrix, lane));
            plain.into_iter().chain(transposed)
        })
        .collect();
    for order in ORDERS {
        let device = ordered(order, false);
        let x = upload(&device, &x);
        let y = device.alloc(32 * 8 * 4).unwrap();
        let args = TestMatricesArgs { x: x.address(), y: y.address() };
        launch(&device, "test_matrices", ONE, [32, 1, 1], &args).unwrap();
        assert_eq!(download::<u32>(&y), expected, "{order:?}");
    }
}

/// Runs a kernel of copies: `rounds` × 64 threads × 4 floats.
fn copy(device: &Device, kernel: &'static str, args: TestCopyArgs) -> Result<Vec<f32>, Error> {
    let x = upload(device, &numbers(5 * 64 * 4, 9));
    let y = device.alloc(5 * 64 * 4 * 4)?;
    let args = TestCopyArgs { x: x.address(), y: y.address(), ..args };
    launch(device, kernel, ONE, [64, 1, 1], &args)?;
    Ok(download(&y))
}

const COPIES: TestCopyArgs =
    TestCopyArgs { x: 0, y: 0, rounds: 5, bytes: 16, valid: 16, newest: 1 };

#[test]
fn asynchronous_copies_arrive_at_their_wait() {
    let x = numbers(5 * 64 * 4, 9);
    for order in ORDERS {
        let device = ordered(order, false);
        for (bytes, valid) in [(4, 4), (8, 8), (16, 16), (16, 4), (16, 0), (8, 4), (4, 0)] {
            let args = TestCopyArgs { bytes, valid, ..COPIES };
            let found = copy(&device, "test_copies", args).unwrap();
            let floats = bytes as usize / 4;
            for (at, (x, y)) in x.iter().zip(&found).enumerate() {
                let expected = if at % floats < valid as usize / 4 { *x } else { 0.0 };
                assert_eq!(*y, expected, "{order:?}, {valid} of {bytes} bytes, at {at}");
            }
        }
    }
}

/// A wait that leaves one group too many under way reads NaN, everywhere.
#[test]
fn a_missing_wait_reads_nan() {
    for order in ORDERS {
        let args = TestCopyArgs { newest: 2, ..COPIES };
        let found = copy(&ordered(order, false), "test_copies", args).unwrap();
        assert!(found.iter().all(|y| y.is_nan()), "{order:?}");
    }
}

/// So does a reader whose memory another thread's copy is on its way to.
#[test]
fn a_copy_that_begins_too_early_shows() {
    let nan = |order| -> usize {
        let found = copy(&ordered(order, false), "test_copy_too_early", COPIES).unwrap();
        found[..64].iter().filter(|y| y.is_nan()).count()
    };
    assert_eq!(ORDERS.map(nan)[..2], [32, 32]);
}

#[test]
fn copies_that_are_wrong_are_errors() {
    let device = Device::emulated();
    let detail = |kernel, args| copy(&device, kernel, args).unwrap_err().to_string();
    let text = detail("test_copy_left", COPIES);
    assert!(text.contains("thread 0 ended with 1 asynchronous copy that it never waited for"));
    assert!(text.contains("cp.async (kernels/emulator/testing/mma.cu:"), "{text}");
    let text = detail("test_copy_misaligned", TestCopyArgs { rounds: 0, valid: 1, ..COPIES });
    assert!(text.contains("the address in shared memory isn't a multiple"), "{text}");
    let text = detail("test_copy_misaligned", TestCopyArgs { rounds: 1, valid: 0, ..COPIES });
    assert!(text.contains("the address in global memory isn't a multiple"), "{text}");
    // What was queued in a failed launch is forgotten.
    copy(&device, "test_copies", COPIES).unwrap();
}

/// Every exponent and sign with mantissas of interest: few bits, all bits, and around every tie of the
/// formats.
fn many_floats() -> Vec<f32> {
    let mut mantissas = vec![0u32, 1, 2, 0x7f_ffff, 0x7f_fffe, 0x40_0000, 0x3f_ffff];
    for dropped in [13, 16] {
        for kept in [0u32, 1, 2, 5, 0x29, 0x7e, 0x7f] {
            let tie = (kept << dropped | 1 << (dropped - 1)) & 0x7f_ffff;
            mantissas.extend([tie - 1, tie, tie + 1, kept << dropped & 0x7f_ffff]);
        }
    }
    // Subnormal halves drop more bits the smaller they are.
    mantissas.extend((0..23).flat_map(|bit| [1 << bit, (1 << bit) + 1, (1 << bit) - 1]));
    let mut draws = numbers(200, 4).into_iter().map(|x| x.to_bits() & 0x7f_ffff);
    mantissas.extend(draws.by_ref());
    let mut floats = Vec::new();
    for exponent in 0..256u32 {
        for mantissa in &mantissas {
            let bits = exponent << 23 | mantissa;
            floats.extend([f32::from_bits(bits), f32::from_bits(bits | 1 << 31)]);
        }
    }
    floats
}

#[test]
fn conversions_round_as_the_formats_say() {
    let device = Device::emulated();
    let mut floats = many_floats();
    // Every value of the 16-bit formats comes back to itself.
    floats.extend((0..=u16::MAX).map(|bits| BF16.decode(bits)));
    floats.extend((0..=u16::MAX).map(|bits| F16.decode(bits)));
    let x = upload(&device, &floats);
    let [tf32, bf16, f16] = [(); 3].map(|()| device.alloc(floats.len() * 4).unwrap());
    let back = device.alloc(2 * 65536 * 4).unwrap();
    let args = TestConvertArgs {
        x: x.address(),
        tf32: tf32.address(),
        bf16: bf16.address(),
        f16: f16.address(),
        back: back.address(),
        count: floats.len() as u32,
    };
    let blocks = floats.len().max(65536).div_ceil(256) as u32;
    launch(&device, "test_convert", [blocks, 1, 1], [256, 1, 1], &args).unwrap();
    let same = |found: f32, expected: f32| {
        found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan()
    };
    for (x, bits) in floats.iter().zip(download::<u32>(&tf32)) {
        // A NaN whose payload lies in the bits that fall away becomes Inf, as on GPUs.
        let cut = f32::from_bits(x.to_bits() & !0x1fff);
        let expected = if x.is_nan() { cut } else { TF32.round(*x) };
        let found = f32::from_bits(bits);
        assert!(same(found, expected) && bits & 0x1fff == 0, "tf32 of {x:e}: {found:e}");
    }
    let check = |format: Format, words: Vec<u32>| {
        for (x, word) in floats.iter().zip(words) {
            for (x, half) in [(*x, word as u16), (-*x, (word >> 16) as u16)] {
                let (found, expected) = (format.decode(half), format.round(x));
                assert!(same(found, expected), "{x:e} is {half:04x}, {found:e} not {expected:e}");
                assert!(!x.is_nan() || half == 0x7fff, "a NaN is {half:04x}");
            }
        }
    };
    check(BF16, download(&bf16));
    check(F16, download(&f16));
    let back: Vec<f32> = download(&back);
    for bits in 0..=u16::MAX {
        assert!(same(back[usize::from(bits)], BF16.decode(bits)), "bf16 {bits:04x}");
        assert!(same(back[65536 + usize::from(bits)], F16.decode(bits)), "f16 {bits:04x}");
    }
}
