//! Tables of `flipside bench`.

use super::sheet::{BY_PIPE, Fit, Sheet, View};
use crate::bench::{InjectTimes, KernelTime, KernelTimes, LayerCost, Overhead, PassTime, Seconds};
use crate::device::KernelInfo;
use crate::screen::Screen;

/// Says what an emulator's times are.
fn note_of(sheet: &mut Sheet, device: &str) {
    if device == "emulated" {
        sheet.gap();
        sheet.prose(
            "These are the emulator's times on this processor: they tell which work is done, not how fast a \
             GPU does it.",
        );
    }
}

/// The operations of the networks, layers for which the peer takes Winograd's algorithm apart; then what
/// failed, and why.
pub fn kernels_text(times: &KernelTimes, view: View) -> String {
    let mut text = format!(
        "{}, compute {}, batches of {}; ceilings: copies {:.1} GB/s, multiply-adds {:.1} GFLOP/s (f32).",
        times.device,
        times.compute,
        times.batch,
        times.ceilings.gb_per_s,
        times.ceilings.gflop_per_s
    );
    if let Some(peer) = &times.peer {
        text += &format!(" Ratios: this time over that of {peer}.");
    }
    if let Some(missing) = &times.cublas_missing {
        text += &format!(" cuBLAS isn't beside it: {missing}.");
    }
    let is_winograd = |time: &&KernelTime| time.peer.as_ref().is_some_and(|peer| peer.winograd);
    let (winograd, others): (Vec<&KernelTime>, Vec<&KernelTime>) =
        times.shapes.iter().partition(is_winograd);
    let mut sheet = Sheet::new(view);
    sheet.prose(&text);
    sheet.gap();
    kernels_table(&mut sheet, &others);
    if !winograd.is_empty() {
        sheet.gap();
        sheet.prose(
            "Where the peer takes Winograd's algorithm (fewer multiplications, other roundings):",
        );
        sheet.gap();
        kernels_table(&mut sheet, &winograd);
    }
    let failures = times.shapes.iter().filter_map(|time| Some((&time.name, time.error.as_ref()?)));
    let failures: Vec<_> = failures.map(|(name, error)| (name.as_str(), error.as_str())).collect();
    say_failures(&mut sheet, &failures);
    say_shares(&mut sheet, times);
    let Seconds { total, ceilings, checks, setup, timing, cublas } = times.seconds;
    sheet.gap();
    sheet.prose(&format!(
        "{total:.1} s: ceilings {ceilings:.1}, checks against the CPU {checks:.1}, set-up {setup:.1}, timing \
         {timing:.1}, cuBLAS {cublas:.1}."
    ));
    note_of(&mut sheet, &times.device);
    sheet.finish(BY_PIPE)
}

/// Says why a share is above what should be the most.
fn say_shares(sheet: &mut Sheet, times: &KernelTimes) {
    let passes = times.shapes.iter().flat_map(|time| time.forward.iter().chain(&time.backward));
    let over: Vec<&PassTime> = passes.filter(|pass| pass.share_percent > 100.5).collect();
    let has = |bound| over.iter().any(|pass| pass.bound == bound);
    if has("memory") {
        sheet.gap();
        sheet.prose(
            "Shares above 100 % (memory): the data of these operations stay in a cache, which is faster than the memory \
             that copies are measured in.",
        );
    }
    if has("arithmetic") {
        sheet.gap();
        sheet.prose(
            "Shares above 100 % (arithmetic): these operations were faster than the multiply-adds that the ceiling is \
             measured by, once, at the start.",
        );
    }
}

/// A line for each row without figures.
fn say_failures(sheet: &mut Sheet, failures: &[(&str, &str)]) {
    if failures.is_empty() {
        return;
    }
    sheet.gap();
    sheet.prose("Without figures:");
    sheet.gap();
    for (name, error) in failures {
        sheet.item(&format!("{name}: {error}"));
    }
}

fn kernels_table(sheet: &mut Sheet, times: &[&KernelTime]) {
    let mut header =
        vec!["operation", "of", "forward ms", "GB/s", "GFLOP/s", "share %", "bound", "difference"];
    let has = |column: fn(&KernelTime) -> bool| times.iter().any(|time| column(time));
    let backward = has(|time| time.backward.is_some());
    let cublas = has(|time| time.cublas_ms.is_some());
    let peer = has(|time| time.peer.is_some());
    if backward {
        header.extend(["backward ms", "GB/s", "GFLOP/s", "share %"]);
    }
    if cublas {
        header.extend(["cuBLAS ms", "cuBLAS TF32 ms"]);
    }
    if peer {
        header.extend(["peer ms", "ratio", "peer TF32 ms"]);
        if backward {
            header.extend(["peer backward ms", "ratio"]);
        }
    }
    let number = |value: Option<f64>, digits: usize| {
        value.map_or(String::new(), |value| format!("{value:.digits$}"))
    };
    let rates = |pass: Option<&PassTime>| {
        [
            number(pass.map(|pass| pass.median_ms), 4),
            number(pass.map(|pass| pass.gb_per_s), 1),
            number(pass.map(|pass| pass.gflop_per_s).filter(|rate| *rate > 0.0), 1),
            number(pass.map(|pass| pass.share_percent), 0),
        ]
    };
    let rows = times.iter().map(|time| {
        let models: Vec<String> =
            time.models.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let more = models.len().saturating_sub(2);
        let mut of = models[..models.len().min(2)].join(", ");
        if more > 0 {
            of += &format!(" and {more} more");
        }
        let mut row = vec![time.name.clone(), of];
        row.extend(rates(time.forward.as_ref()));
        if time.error.is_some() {
            row[2] = "failed".into();
        }
        row.push(time.forward.as_ref().map_or("–", |pass| pass.bound).into());
        row.push(time.difference.map_or("–".into(), |difference| match difference {
            0.0 => "0".into(),
            difference => format!("{difference:.0e}"),
        }));
        if backward {
            row.extend(rates(time.backward.as_ref()));
        }
        if cublas {
            row.extend([0, 1].map(|i| number(time.cublas_ms.map(|ms| ms[i]), 4)));
        }
        if peer {
            let peer = time.peer.as_ref();
            row.push(number(peer.map(|peer| peer.forward_ms), 4));
            row.push(number(time.forward.as_ref().and_then(|pass| pass.ratio), 2));
            row.push(number(peer.and_then(|peer| peer.forward_tf32_ms), 4));
            if backward {
                row.push(number(peer.and_then(|peer| peer.backward_ms), 4));
                row.push(number(time.backward.as_ref().and_then(|pass| pass.ratio), 2));
            }
        }
        row
    });
    // The times and what they are beside come first, where there isn't room for all.
    let most = ["forward ms", "share %", "ratio", "backward ms", "bound"];
    sheet.table(Fit::Keep(&most), &header, rows.collect());
}

/// Clean passes beside armed ones; then what failed, and why.
pub fn overhead_text(overhead: &Overhead, view: View) -> String {
    let Overhead { device, compute, model, image_size, batch, rounds, error, passes, layers } =
        overhead;
    let mut sheet = Sheet::new(view);
    sheet.prose(&format!(
        "{model}, {image_size}×{image_size}, compute {compute}, batches of {batch} on {device}; medians of \
         {rounds} rounds, in each of which every way runs once; ratios are medians of the rounds' ratios."
    ));
    if !passes.is_empty() {
        let rows = passes.iter().map(|pass| {
            vec![
                pass.what.to_string(),
                format!("{:.3}", pass.median_ms),
                format!("{:.3}", pass.best_ms),
                format!("{:.1}", pass.images_per_s),
                format!("{:.3}", pass.ratio),
            ]
        });
        let header = ["forward pass", "median ms", "best ms", "images/s", "ratio"];
        sheet.gap();
        sheet.table(Fit::Keep(&[]), &header, rows.collect());
    }
    sheet.gap();
    let called = |layer: &LayerCost| format!("{} ({})", layer.layer, layer.shape);
    let rows = layers.iter().map(|layer| {
        let figures = match &layer.times {
            None => ["failed", "", "", "", ""].map(String::from),
            Some(times) => [
                format!("{:.4}", times.clean_ms),
                format!("{:.4}", times.armed_ms),
                format!("{:.3}", times.armed_ratio),
                format!("{:.4}", times.faulty_ms),
                format!("{:.3}", times.faulty_ratio),
            ],
        };
        [vec![called(layer), layer.site.to_string()], figures.to_vec()].concat()
    });
    let header =
        ["layer alone", "site", "clean ms", "armed ms", "ratio", "one fault an image, ms", "ratio"];
    sheet.table(Fit::Keep(&["site", "ratio"]), &header, rows.collect());
    let of_layers = layers.iter().filter_map(|layer| {
        Some((format!("{}, {}", called(layer), layer.site), layer.error.as_ref()?))
    });
    let failures: Vec<(String, &String)> =
        error.iter().map(|error| ("whole passes".to_string(), error)).chain(of_layers).collect();
    let failures: Vec<_> =
        failures.iter().map(|(name, error)| (name.as_str(), error.as_str())).collect();
    say_failures(&mut sheet, &failures);
    note_of(&mut sheet, device);
    sheet.finish(BY_PIPE)
}

/// The kernels of the GPU, by name.
pub fn kernel_list(screen: Screen, kernels: &[&KernelInfo]) -> String {
    let rows = kernels.iter().map(|kernel| {
        let KernelInfo { symbol, file, max_threads, shared_bytes, .. } = kernel;
        vec![
            symbol.to_string(),
            file.to_string(),
            max_threads.to_string(),
            shared_bytes.to_string(),
        ]
    });
    let mut sheet = Sheet::new(View::Screen(screen));
    let header = ["kernel", "file", "threads", "shared bytes"];
    sheet.table(Fit::Keep(&["threads", "shared bytes"]), &header, rows.collect());
    sheet.finish(BY_PIPE)
}

/// Injections a second, and what they take layer by layer.
pub fn inject_times_text(times: &InjectTimes, view: View) -> String {
    let InjectTimes { device, compute, model, image_size, threads, load, batch, layers, .. } =
        times;
    let way = match batch {
        None => "boxes of one image at a time".to_string(),
        Some(batch) => format!(
            "whole nodes for batches of {batch} ({:.0} % of their images had an injection)",
            times.filled_percent.unwrap_or(100.0)
        ),
    };
    let mut sheet = Sheet::new(view);
    sheet.prose(&format!(
        "{model}, {image_size}×{image_size}, compute {compute}, on {device}, {threads} threads, by {way}: {:.1} \
         injections/s. {} injections (site {}, {} layers) over {} images in {:.2} s (median of {} rounds), \
         evaluation and clean runs included; {:.1} % left the logits as they were. One clean run that keeps \
         every value: {:.1} ms {}. SHA-256 of the records: {}",
        times.injections_per_s,
        times.injections,
        load.site.name(),
        times.layers_hit,
        load.images,
        times.seconds,
        load.rounds,
        times.masked_percent,
        times.clean_ms,
        if batch.is_some() { "a batch" } else { "on one core" },
        times.records_sha256,
    ));
    if layers.is_empty() {
        note_of(&mut sheet, device);
        return sheet.finish(BY_PIPE);
    }
    sheet.gap();
    sheet.prose(&match batch {
        None => format!("One core, one by one, means of {}:", load.alone),
        Some(batch) => format!(
            "A round (faults up, whole nodes from the layer on, logits down) serves {batch} images, an \
             injection each; means of {}:",
            load.alone
        ),
    });
    sheet.gap();
    let rows = layers.iter().map(|layer| {
        let whole_ms = layer.round_ms.unwrap_or(layer.mean_ms);
        let mut row = vec![layer.layer.clone()];
        row.extend(layer.round_ms.map(|ms| format!("{ms:.3}")));
        row.extend([
            format!("{:.3}", layer.mean_ms),
            format!("{:.1}", 100.0 * whole_ms / times.clean_ms.max(1e-9)),
            format!("{:.1}", layer.share_percent),
            format!("{:.0}", layer.masked_percent),
        ]);
        row
    });
    let mut header =
        vec!["layer", "ms an injection", "% of a clean run", "% of its elements", "masked %"];
    if batch.is_some() {
        header.insert(1, "ms a round");
    }
    sheet.table(Fit::Keep(&[]), &header, rows.collect());
    note_of(&mut sheet, device);
    sheet.finish(BY_PIPE)
}
