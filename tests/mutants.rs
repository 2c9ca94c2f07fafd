//! Deliberate errors in kernels: each makes the test that it names fail, which passes without it.
//!
//! A mutant is a file in `kernels/emulator/testing/mutants/`; `build/mutants/mutant.rs` says what is in one. A
//! test that mutants name takes its emulated devices from [`emulated`] and narrows its cases by
//! [`concerns`], and stands in [`TESTS`].

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic;
use std::sync::{Mutex, Once};

use flipside::device::kernels::Mutant;
use flipside::device::{Device, EmulatorOptions, ThreadOrder};
use flipside_mutants::MUTANTS;

/// What a thread's tests run with while mutants are tried.
#[derive(Clone, Copy)]
struct Trial {
    mutant: Option<&'static Mutant>,
    cases: &'static [&'static str],
}

thread_local! {
    static TRIAL: Cell<Option<Trial>> = const { Cell::new(None) };
}

/// The emulator, with the error that this thread tries, if any.
pub fn emulated(order: ThreadOrder) -> Device {
    let mutant = TRIAL.get().and_then(|trial| trial.mutant);
    Device::emulated_with(EmulatorOptions { order, mutant, ..EmulatorOptions::default() })
}

/// Whether a trial is on, which is the emulator's matter wherever other tests run.
pub fn on_trial() -> bool {
    TRIAL.get().is_some()
}

/// Whether cases of an operation of this kind are to be run: all but in a trial that is narrowed.
pub fn concerns(kind: &str) -> bool {
    TRIAL.get().is_none_or(|trial| trial.cases.is_empty() || trial.cases.contains(&kind))
}

macro_rules! tests {
    ($($module:ident $(:: $name:ident)+),+ $(,)?) => {
        &[$((
            concat!(stringify!($module), $("::", stringify!($name)),+),
            crate::$module $(:: $name)+
        )),+]
    };
}

/// The tests that mutants may name.
static TESTS: &[(&str, fn())] = tests![
    attention_faults::kernels_change_what_the_definition_with_the_same_faults_changes,
    conv2d_tiles::a_fault_is_found_at_every_edge_of_a_tile_and_only_its_tile_is_searched,
    conv2d_tiles::exact_outputs_have_the_same_bits_in_every_tile,
    faults::kernels::a_fault_reaches_what_its_site_says_and_nothing_else,
    faults::nan::every_device_hits_the_same_nan,
    faults::words::hits_of_a_word_have_an_order_and_are_taken_back,
    faults::words::words_are_read_wherever_they_lie,
    kernels::armed_kernels_change_exactly_the_faulted_elements,
    kernels::emulated_convolutions_have_the_bits_of_the_cpu,
    kernels::emulated_kernels_equal_the_cpu_under_every_thread_order,
    kernels::emulated_kernels_leave_out_images_that_are_not_there,
    kernels::emulated_kernels_of_single_chains_have_the_bits_of_the_cpu,
    kernels::emulated_sums_over_channels_have_the_bits_of_the_cpu,
    kernels::gradients_of_several_readers_are_added,
    norms_and_pools::batch_norm_needs_two_values_to_train,
    norms_and_pools::max_pool_lets_nan_win_and_gives_ties_to_the_first,
    norms_and_pools::padding_neither_wins_nor_poisons,
    norms_and_pools::reductions_pass_nan_on_and_share_gradients_among_ties,
    optimizers::a_step_without_a_finite_norm_changes_nothing,
    optimizers::adamw_equals_its_formula,
    optimizers::clipping_multiplies_gradients_as_they_are_read,
    optimizers::gradient_norms_have_the_bits_of_the_cpu,
    optimizers::rmsprop_equals_its_formula,
    optimizers::sgd_equals_a_scalar_loop,
    pointwise::dropout_masks_are_the_documented_ones,
    pointwise::functions_of_any_number_have_the_bits_of_the_cpu,
    random_shapes::random_convolutions,
    tensor_core_faults::faults_inside_tensor_core_products_reach_exactly_their_set,
    tensor_cores::tensor_cores_are_within_their_formats_bounds,
];

/// Runs a test; what it panics with, if it does.
fn run(test: fn(), trial: Trial) -> Result<(), Box<dyn Any + Send>> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !on_trial() {
                loud(info);
            }
        }));
    });
    TRIAL.set(Some(trial));
    let result = panic::catch_unwind(test);
    TRIAL.set(None);
    result
}

/// The beginning of what a test panics with.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    text.chars().take(160).collect()
}

/// Does `work` for every item, on as many threads as there are processors; what came out, in order.
fn spread<'a, T: Sync, R: Send>(items: &'a [T], work: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                loop {
                    let Some((index, item)) = next.lock().unwrap().next() else { return };
                    let result = work(item);
                    done.lock().unwrap().insert(index, result);
                }
            });
        }
    });
    done.into_inner().unwrap().into_values().collect()
}

fn find(name: &str) -> Option<fn()> {
    TESTS.iter().find(|(known, _)| *known == name).map(|(_, test)| *test)
}

#[test]
#[cfg_attr(sanitized, ignore)]
fn every_mutant_fails_the_test_that_it_names() {
    assert!(MUTANTS.len() >= 20, "{} mutants were compiled", MUTANTS.len());
    for file in MUTANTS {
        let name = file.mutant.name;
        assert!(find(file.test).is_some(), "mutant {name}: no test {}", file.test);
    }
    // Narrowed as for a mutant, and without one, a test must pass: else failures would prove nothing.
    // Those that aren't narrowed run as tests of their own.
    let narrowed = MUTANTS.iter().filter(|file| !file.cases.is_empty());
    let mut controls: Vec<_> = narrowed.map(|file| (file.test, file.cases)).collect();
    controls.sort_unstable();
    controls.dedup();
    let failed = spread(&controls, |(name, cases)| {
        let error = run(find(name)?, Trial { mutant: None, cases }).err()?;
        Some(format!("{name} of {cases:?} fails without a mutant: {}", text(&*error)))
    });
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));

    let survived = spread(MUTANTS, |file| {
        let name = file.mutant.name;
        match run(find(file.test)?, Trial { mutant: Some(&file.mutant), cases: file.cases }) {
            Ok(()) => Some(format!("{} passes under mutant {name}", file.test)),
            Err(error) => {
                println!("{name} ({}): {}", file.why, text(&*error));
                None
            }
        }
    });
    let survived: Vec<String> = survived.into_iter().flatten().collect();
    assert!(survived.is_empty(), "{}", survived.join("\n"));
}
