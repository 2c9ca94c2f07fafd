//! How campaigns were run, in whole sentences. What holds for every run is said once.

use serde_json::Value;

use super::bibtex::versions;
use super::marks::{mark, unmarked};
use super::references::Reference;
use super::sample::SampleFacts;
use super::sites::site_words;
use super::table::{MOST_HASHED, bounding};
use super::{CitedRun, CitedStudy};
use crate::analysis::compare::Pairing;
use crate::analysis::{Intervals, stopped_words};
use crate::detector::Detector;
use crate::error::{MOST_NAMED, some_of};
use crate::fault::Site;
use crate::plan::{Flips, Labels, Plan, Protocol, Stratify};
use crate::results::{Manifest, Run};
use crate::statistics::{RateInterval, SampleMargin, Target, Unit};

/// Runs whose faults are of one kind, so that their numbers stand in one sentence.
struct FaultFamily<'r> {
    runs: Vec<&'r CitedRun>,
    samples: Vec<&'r SampleFacts>,
}

/// The paragraph, with marks where something is cited.
pub(super) fn paragraph(
    runs: &[CitedRun],
    samples: &[SampleFacts],
    study: Option<&CitedStudy>,
    how: &Intervals,
) -> String {
    let mut sentences = vec![program(runs)];
    sentences.extend(study.map(training));
    let families = families(runs, samples);
    for family in &families {
        let mut said = about_all(family);
        if families.len() > 1 {
            said[0] = format!("For {}: {}", and(&names(&family.runs)), said[0]);
        }
        sentences.extend(said);
    }
    let of_each: Vec<Vec<Option<String>>> = runs.iter().map(|of| about_one(of, how)).collect();
    for topic in 0..of_each[0].len() {
        let said: Vec<Option<&str>> = of_each.iter().map(|of| of[topic].as_deref()).collect();
        sentences.extend(together(runs, &said));
    }
    sentences.push(seeds(runs));
    sentences.extend(verified(runs));
    sentences.push(hashes(runs));
    sentences.extend(compared(runs, study.is_some()));
    sentences.join(" ")
}

/// What runs are called.
fn names(runs: &[&CitedRun]) -> Vec<String> {
    runs.iter().map(|of| unmarked(&of.name)).collect()
}

/// Runs by what their faults are, in order.
fn families<'r>(runs: &'r [CitedRun], samples: &'r [SampleFacts]) -> Vec<FaultFamily<'r>> {
    let mut found: Vec<(String, FaultFamily<'r>)> = Vec::new();
    for (of, sample) in runs.iter().zip(samples) {
        let plan = &of.run.manifest.plan;
        let kind = format!(
            "{} {} {:?} {:?} {:?} {:?}",
            fault(plan),
            plan.protocol.name(),
            plan.layers,
            plan.labels,
            plan.until,
            plan.detectors
        );
        match found.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, family)) => {
                family.runs.push(of);
                family.samples.push(sample);
            }
            None => found.push((kind, FaultFamily { runs: vec![of], samples: vec![sample] })),
        }
    }
    found.into_iter().map(|(_, family)| family).collect()
}

/// What runs say, those that say the same together; the sentences of some alone name them.
fn together(runs: &[CitedRun], said: &[Option<&str>]) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for (of, words) in runs.iter().zip(said) {
        let Some(words) = *words else { continue };
        let name = unmarked(&of.name);
        match groups.iter_mut().find(|(known, _)| *known == words) {
            Some((_, names)) => names.push(name),
            None => groups.push((words, vec![name])),
        }
    }
    let sentence = |(words, names): &(&str, Vec<String>)| match names.len() == runs.len() {
        true => words.to_string(),
        false => format!("For {}: {words}", and(names)),
    };
    groups.iter().map(sentence).collect()
}

/// The sentences of runs whose faults are of one kind.
fn about_all(family: &FaultFamily<'_>) -> Vec<String> {
    let first = family.runs[0];
    let mut said = vec![
        network(family),
        fault(&first.run.manifest.plan),
        population(family),
        images(family),
        injections(family),
    ];
    said.extend(margin(family));
    said.extend([outcomes(first), detectors(first)]);
    said
}

/// The sentences of a run, a topic each; of every run the same topics.
fn about_one(of: &CitedRun, how: &Intervals) -> Vec<Option<String>> {
    vec![
        ranges(of),
        Some(intervals(of, how)),
        of.run.manifest.plan.until.as_ref().map(|_| stops(&of.run)),
        (!of.run.counted.is_empty()).then(|| {
            "The mean ΔLoss of the last layer is of every single-bit fault in its outputs for the images that are hit, \
             counted instead of drawn; its interval is over images alone."
                .into()
        }),
        Some(device(of)),
    ]
}

fn program(runs: &[CitedRun]) -> String {
    format!(
        "We injected faults with Flipside{} ({}), which examines the method of the work on text-guided classifiers{}.",
        mark(Reference::Flipside),
        unmarked(&versions(runs)),
        mark(Reference::Paper),
    )
}

/// What a study says of its training.
fn training(study: &CitedStudy) -> String {
    let number = |key: &str| study.json[key].as_u64().unwrap_or_default();
    let seeds: Vec<String> =
        study.json["seeds"].as_array().into_iter().flatten().map(Value::to_string).collect();
    let from = match &seeds[..] {
        [seed] => format!("from one training seed ({seed})"),
        seeds => format!("from {} training seeds ({})", seeds.len(), seeds.join(", ")),
    };
    format!(
        "Three models were trained {from}, each on the same {} images for {} epochs: the baseline, the text-guided head \
         with random rows, and the text-guided head with rows of text features ({}). Figures over seeds are means, of \
         ratios by their logarithms, with Student's 95 % interval.",
        number("train_images"),
        number("epochs"),
        unmarked(study.json["text"].as_str().unwrap_or("unknown")),
    )
}

fn network(family: &FaultFamily<'_>) -> String {
    let settings = || family.runs.iter().map(|of| of.setting());
    let models = unique(settings().map(|setting| {
        format!("{} with the {} head", unmarked(&setting.provenance.model), setting.head)
    }));
    let are = if models.len() == 1 { "network is" } else { "networks are" };
    let sizes = span(settings().map(|setting| setting.image_size));
    format!(
        "The {are} {}, of {} classes and inputs of {sizes} × {sizes} pixels.",
        and(&models),
        span(settings().map(|setting| setting.classes)),
    )
}

fn fault(plan: &Plan) -> String {
    let site = site_words(plan.site);
    if let Some(list) = &plan.list {
        return format!("The faults are those of a list (SHA-256: {list}).");
    }
    let bits = match (plan.bits, plan.only_bits.is_all()) {
        (1, true) => "one bit".to_string(),
        (1, false) if plan.only_bits.to_string().parse::<u32>().is_ok() => {
            format!("bit {}", plan.only_bits)
        }
        (1, false) => format!("one of the bits {}", plan.only_bits),
        (bits, true) => format!("{bits} bits"),
        (bits, false) => format!("{bits} of the bits {}", plan.only_bits),
    };
    let drawn = match &plan.stratify {
        Stratify::No => "place, bits and image are drawn uniformly".to_string(),
        Stratify::Bit => "place and image are drawn uniformly, and the bits take turns".to_string(),
        Stratify::Allocated(allocation) => format!(
            "place and image are drawn uniformly, and a pilot of {} injections a layer (seed {}) decided how many \
             injections each layer and bit has, by whose shares figures are weighted",
            allocation.pilot.injections, allocation.pilot.seed
        ),
    };
    let flip = if plan.bits == 1 { "flips" } else { "flip" };
    match plan.flips {
        _ if plan.site.is_store() => {
            format!(
                "Each injection is one inference in which the fault hits {site}; place and image are drawn uniformly."
            )
        }
        Flips::Count(1) => {
            format!("Each injection is one inference in which {bits} of {site} {flip}; {drawn}.")
        }
        Flips::Count(values) => format!(
            "Each injection is one inference in which {bits} {flip} in each of {values} values, each of them {site}; \
             {drawn}."
        ),
        Flips::Rate(rate) => format!(
            "Each injection is one inference in which every bit of a layer flips with probability {rate:e}; the values are \
             each {site}, and the image is drawn uniformly."
        ),
    }
}

fn population(family: &FaultFamily<'_>) -> String {
    let plan = &family.runs[0].run.manifest.plan;
    let samples = || family.samples.iter();
    let what = if plan.site == Site::Weight { "parameter" } else { "layer" };
    let layers = span(samples().map(|sample| sample.layers));
    let which_layers = counted(&layers, what);
    let which = match (&plan.layers, plan.protocol) {
        (Some(patterns), _) => {
            format!("{which_layers}, chosen as {}", unmarked(&some_of(patterns, MOST_NAMED)))
        }
        (None, Protocol::Goldeneye) => format!("{which_layers} that forward hooks see"),
        (None, Protocol::Strict) => format!("all {which_layers}"),
    };
    let bits = counted(&span(samples().flat_map(|sample| sample.bits)), "bit");
    let images = counted(&span(samples().map(|sample| sample.images)), "image");
    let known = |of: fn(&SampleFacts) -> Option<[u64; 2]>| -> Option<String> {
        let all: Option<Vec<[u64; 2]>> = samples().map(|sample| of(sample)).collect();
        Some(span(all?.into_iter().flatten()))
    };
    let (Some(values), Some(all)) = (known(|of| of.values), known(|of| of.population)) else {
        return format!(
            "The faults hit {which} ({bits} a value, {images}); how many faults there are to draw from isn't \
             counted."
        );
    };
    let totals: Option<Vec<u64>> = samples().map(|sample| sample.network_population).collect();
    let of_network = span(samples().map(|sample| sample.network_layers));
    let network = match totals.map(|totals| span(totals.into_iter())) {
        Some(total) if of_network != layers => {
            format!(", {total} over the {of_network} layers that figures of the network are over")
        }
        Some(total) if layers != "1" => format!(", {total} in all"),
        _ => String::new(),
    };
    let multiplied = match (plan.site.is_store(), plan.bits) {
        (true, _) => format!("values × images ({values} values, {images})"),
        (false, 1) => {
            format!("values × bits × images ({values} values, {bits} each, {images})")
        }
        (false, chosen) => format!(
            "values × choices of {chosen} bits × images ({values} values, {bits} each, {images})"
        ),
    };
    format!(
        "The faults hit {which}; the population of a layer is {multiplied}, {all} faults a layer{network}."
    )
}

fn images(family: &FaultFamily<'_>) -> String {
    let runs = || family.runs.iter().map(|of| &of.run.manifest);
    let provenances = || runs().map(|manifest| &manifest.setting.provenance);
    let hit = span(runs().map(|manifest| manifest.images.len()));
    let evaluated = span(provenances().map(|of| of.evaluated));
    let data = unique(provenances().map(|of| unmarked(&of.data)));
    let data = format!("fingerprint of the data: {}", and(&data));
    if family.runs[0].run.manifest.plan.labels == Labels::Golden {
        return format!(
            "The faults hit {hit} of {evaluated} evaluated images ({data}), each judged against the network's own answer \
             without a fault."
        );
    }
    let right_of = |manifest: &Manifest| {
        manifest.images.iter().filter(|row| row.top1 == row.label as usize).count()
    };
    let which = match runs().all(|manifest| right_of(manifest) == manifest.images.len()) {
        true => format!("{hit} of these"),
        false => format!(
            "{hit} images, of which {} are classified correctly",
            span(runs().map(right_of))
        ),
    };
    // Percent as they are written, in the order of their values.
    let percent = provenances().map(|of| 100.0 * of.right as f64 / of.evaluated as f64);
    let (least, most) =
        percent.fold((f64::INFINITY, 0.0f64), |(least, most), of| (least.min(of), most.max(of)));
    let [least, most] = [least, most].map(|of| format!("{of:.2}"));
    let percent = if least == most { least } else { format!("{least} to {most}") };
    let classify = if runs().len() == 1 { "network classifies" } else { "networks classify" };
    format!(
        "Without a fault the {classify} {} of {evaluated} evaluated images correctly ({percent} %; {data}); the faults hit \
         {which}.",
        span(provenances().map(|of| of.right)),
    )
}

fn injections(family: &FaultFamily<'_>) -> String {
    let samples = || family.samples.iter();
    let judged = match family.runs[0].run.manifest.plan.detectors.len() {
        1 => String::new(),
        count => format!(", each judged under {count} detectors"),
    };
    let each = if family.runs.len() == 1 { "" } else { " for each network" };
    format!(
        "There are {} injections a layer, {} in all{each}{judged} ({} records).",
        span(samples().flat_map(|sample| sample.injections)),
        span(samples().map(|sample| sample.injections_in_all)),
        span(samples().map(|sample| sample.records)),
    )
}

fn margin(family: &FaultFamily<'_>) -> Option<String> {
    let samples = || family.samples.iter();
    let margins = |of: fn(&SampleFacts) -> Option<SampleMargin>| -> Option<String> {
        let mut all: Vec<SampleMargin> =
            samples().map(|sample| of(sample)).collect::<Option<_>>()?;
        all.sort_by(|a, b| a.margin.total_cmp(&b.margin));
        let ends = unique([points(all.first()?), points(all.last()?)].into_iter());
        Some(ends.join(" to "))
    };
    let layer = margins(|of| of.layer_margin)?;
    let layers = span(samples().map(|sample| sample.network_layers));
    let network = margins(|of| of.network_margin).filter(|_| layers != "1");
    let network = network.map_or_else(String::new, |network| {
        let injections = span(samples().map(|sample| sample.network_injections));
        format!(", and one over the {layers} layers of the network ({injections} injections) within {network}")
    });
    Some(format!(
        "By the formula for sample sizes of statistical fault injection{}, solved for the margin of error with p = 0.5, a \
         rate of one layer is known within {layer} at {} confidence{network}.",
        mark(Reference::SampleSize),
        family.samples[0].confidence,
    ))
}

/// `±4.97 points`, with what draws without replacement would have.
fn points(of: &SampleMargin) -> String {
    let SampleMargin { margin, corrected } = of;
    let plain = format!("±{:.2} percentage points", 100.0 * margin);
    match corrected {
        None => plain,
        Some(corrected) => format!(
            "{plain} (±{:.2} with the correction for finite populations, which is of draws without replacement)",
            100.0 * corrected
        ),
    }
}

fn outcomes(of: &CitedRun) -> String {
    match of.is_goldeneye() {
        true => format!(
            "Faults were drawn and judged by the protocol of GoldenEye{}: layers are those that forward hooks see, \
             images those of a fifth of the validation set that are right with a positive distance of the two largest \
             probabilities, drawn with replacement; ΔLoss is the mean absolute change of the cross entropy without NaN \
             losses, and mismatches are changes of the predicted class, which a NaN loss never is, over all injections.",
            mark(Reference::GoldenEye)
        ),
        false => {
            "By the strict protocol an injection is masked (all logits have the same bits), benign (other logits, the same \
             predicted class), SDC (another predicted class) or nonfinite (a logit that is NaN or infinite); ΔLoss is the \
             absolute change of the cross entropy in nats."
                .into()
        }
    }
}

fn detectors(of: &CitedRun) -> String {
    let about = |detector: &Detector| format!("{} ({})", detector.name(), detector.about());
    let all: Vec<String> = of.run.manifest.plan.detectors.iter().map(about).collect();
    let word = if all.len() == 1 { "detector" } else { "detectors" };
    format!("The answers were judged under the {word} {}.", and(&all))
}

fn ranges(of: &CitedRun) -> Option<String> {
    let plan = &of.run.manifest.plan;
    if !plan.needs_ranges() {
        return None;
    }
    let rounded = if of.is_goldeneye() { ", rounded to f16" } else { "" };
    Some(match &of.setting().ranges_over {
        Some(over) => {
            let data = over.data.as_deref().map(unmarked);
            let data = data.map_or_else(String::new, |data| format!(" (fingerprint: {data})"));
            format!(
                "The ranges are the largest fault-free absolute values of each layer over {} training images{data}{rounded}.",
                over.images
            )
        }
        None if plan.site == Site::Weight => {
            "The ranges are the largest absolute values of each parameter.".into()
        }
        None => "The store doesn't say over which images ranges were measured.".into(),
    })
}

fn intervals(of: &CitedRun, how: &Intervals) -> String {
    if of.is_goldeneye() {
        return "The figures of layers have normal intervals of 99 % (z = 2.576); those of the network are means over \
                layers, which are drawn independently."
            .into();
    }
    let means = match (bounding(&of.run), how.unit) {
        (None, _) => "",
        (_, Unit::Images) => {
            "; means and ratios of ΔLoss have a t interval of their logarithm, over images like these"
        }
        (_, Unit::Injections) => {
            "; means and ratios of ΔLoss have a t interval of their logarithm, over injections into these images"
        }
    };
    let (name, reference) = match how.rates {
        RateInterval::Wilson => ("Wilson", Reference::Wilson),
        RateInterval::ClopperPearson => ("Clopper-Pearson", Reference::ClopperPearson),
    };
    format!(
        "Rates over the network weigh layers alike and have {name} intervals{} of {} with an effective number of \
         trials{means}.",
        mark(reference),
        how.confidence,
    )
}

/// How a rule stopped layers.
fn stops(run: &Run) -> String {
    let Some(rule) = &run.manifest.plan.until else { return String::new() };
    let cited = match rule.target {
        Target::DeltaP => {
            format!("; the bound is an empirical one{}", mark(Reference::EmpiricalBernstein))
        }
        _ => format!(
            "; rates over layers are without the bias of stopping{}",
            mark(Reference::StoppedRates)
        ),
    };
    format!(
        "A layer's injections go on until its rate is known: {rule}, under every detector{cited}. {}",
        stopped_words(run).unwrap_or_default()
    )
}

fn device(of: &CitedRun) -> String {
    let setting = of.setting();
    format!(
        "The campaign ran on the device {} ({} arithmetic, {}).",
        unmarked(&setting.device),
        setting.compute.name(),
        unmarked(&setting.instruction_set),
    )
}

/// What faults were drawn from.
fn seeds(runs: &[CitedRun]) -> String {
    let seeds = unique(runs.iter().map(|of| of.run.manifest.plan.seed.to_string()));
    let word = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("The faults were drawn from {word} {}.", and(&seeds))
}

/// How many records were run again.
fn verified(runs: &[CitedRun]) -> Option<String> {
    let again: u64 = runs.iter().map(|of| of.verified).sum();
    let records: usize = runs.iter().map(|of| of.run.records.len()).sum();
    (again > 0).then(|| {
        format!(
            "{again} of {records} records were run again as whole, uncached inferences and had the same bits."
        )
    })
}

/// By what a reader finds the very files.
fn hashes(runs: &[CitedRun]) -> String {
    let of_run = |of: &CitedRun| {
        format!(
            "checkpoint {}, list of images {}, results {}",
            unmarked(&of.setting().provenance.checkpoint),
            unmarked(&of.setting().image_list),
            of.run.results_sha256()
        )
    };
    match runs {
        [one] => format!("The SHA-256 are: {}.", of_run(one)),
        several if several.len() <= MOST_HASHED => {
            let all: Vec<String> = several
                .iter()
                .map(|of| format!("of {} {}", unmarked(&of.name), of_run(of)))
                .collect();
            format!("The SHA-256 are: {}.", all.join("; "))
        }
        _ => "A table has the SHA-256 of checkpoints, lists of images and results.".into(),
    }
}

/// Which runs are held against each other.
fn compared(runs: &[CitedRun], is_study: bool) -> Option<String> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let mut faults = "";
    for of in runs {
        let Some((with, Ok(row))) = &of.compared else { continue };
        faults = match row.pairing {
            Pairing::Paired => "hit by the same faults in layers of the same name and sizes",
            Pairing::Unpaired => "each hit by its own faults",
        };
        let name = unmarked(&of.name);
        match groups.iter_mut().find(|(known, _)| known == with) {
            Some((_, names)) => names.push(name),
            None => groups.push((with.clone(), vec![name])),
        }
    }
    if groups.is_empty() {
        return None;
    }
    let pair =
        |(with, names): &(String, Vec<String>)| format!("{} with {}", and(names), unmarked(with));
    let pairs = match is_study {
        true => "the text-guided models of each seed with its baseline".into(),
        false => groups.iter().map(pair).collect::<Vec<_>>().join("; "),
    };
    Some(format!(
        "We compare {pairs}, {faults}; ratios are of mean ΔLoss under the range detector, the baseline's divided by the other's, so \
         that above 1 faults change the other's loss less."
    ))
}

/// `1 layer`, or `2 layers`.
fn counted(number: &str, what: &str) -> String {
    if number == "1" { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// `7`, or `7 to 9`: the least and the greatest.
fn span<T: Copy + Ord + std::fmt::Display>(values: impl Iterator<Item = T>) -> String {
    let values: Vec<T> = values.collect();
    match (values.iter().min(), values.iter().max()) {
        (Some(least), Some(most)) if least != most => format!("{least} to {most}"),
        (Some(least), _) => least.to_string(),
        _ => "no".into(),
    }
}

/// Each word once, in order.
fn unique(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    words.for_each(|word| {
        if !all.contains(&word) {
            all.push(word);
        }
    });
    all
}

/// `a, b and c`.
fn and(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
