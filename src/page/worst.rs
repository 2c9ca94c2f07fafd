//! The faults that changed the first run's answers most, one by one: what each did, how to run it again, and, where images
//! and network are at hand, where the network looked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::command::has_checkpoint;
use super::subject::Subject;
use crate::analysis::worst::{fault_of, worst};
use crate::fault::FaultSpec;
use crate::report::shell_word;
use crate::results::{GoldenRow, Outcome, Provenance, Record};

/// How many of them a page has.
pub const MOST_FAULTS: usize = 20;

/// What no store holds: names of classes, and pictures of each of [`worst`]'s first [`MOST_FAULTS`] faults.
pub struct Pictures {
    /// Names of the classes, by row.
    pub classes: Vec<String>,
    /// How maps were made.
    pub about: String,
    pub faults: Vec<FaultPictures>,
}

/// Pictures of a fault, as PNG files.
pub struct FaultPictures {
    pub image: Vec<u8>,
    /// Maps of saliency over the image, without and with the fault.
    pub clean: Vec<u8>,
    pub faulty: Vec<u8>,
    /// Why a map isn't there.
    pub notes: Vec<String>,
}

/// The section; nothing where no fault can be shown.
pub(super) fn worst_faults(subject: &Subject, pictures: Option<&Pictures>) -> Markup {
    let first = subject.first();
    let records = worst(first.run, MOST_FAULTS, |_, _| true);
    html! {
        @if !records.is_empty() {
            section #worst {
                h2 { "The " @if records.len() > 1 { (records.len()) " " } "worst " (if records.len() > 1 { "faults" } else { "fault" })
                    @if subject.sides.len() > 1 { " of " (first.name) } }
                p.note { "Those with the largest ΔLoss among faults of one value with a finite answer, without a detector. "
                    @if let Some(pictures) = pictures { (pictures.about) }
                    @else { "With " code { "--checkpoint" } " and " code { "--data" } " this page shows the images, too, and where the network looked." } }
                @if subject.has_own_images() { pre { (visualize(subject)) } }
                @else { p.note { "IMAGES in the commands is the folder of the evaluated images, as DATA/val." } }
                @for (at, record) in records.iter().enumerate() { (card(subject, at, record, pictures)) }
            }
        }
    }
}

/// One fault.
fn card(subject: &Subject, at: usize, record: &Record, pictures: Option<&Pictures>) -> Markup {
    let run = subject.first().run;
    let layer = &run.manifest.layers[record.layer];
    let place = subject.layers.iter().position(|place| place.indices[0] == Some(record.layer));
    let image = run.manifest.images.iter().find(|row| row.image == record.image);
    let class = |class: usize| match pictures.and_then(|pictures| pictures.classes.get(class)) {
        Some(name) => name.clone(),
        None => format!("class {class}"),
    };
    let (before, after) = (class(record.golden.top1), class(record.effect.score.top1));
    let of_fault = pictures.and_then(|pictures| pictures.faults.get(at));
    html! {
        article.fault data-layer=[place] {
            h3 { (at + 1) ". " (layer.name) @if let Some(values) = record.values() {
                ": " (number(values.before)) " became " (number(values.after))
            } }
            @if let Some(of) = of_fault { div.pictures {
                (picture(&of.image, "the image"))
                (picture(&of.clean, "without the fault"))
                (picture(&of.faulty, "with the fault"))
            } }
            p { @if let Some(image) = image { (image.path) ": " }
                @if before == after { "the answer stays " b { (before) } } @else { b { (before) } " became " b { (after) } }
                ". The label's probability went from " (share(record.golden.p_label)) " to " (share(record.effect.score.p_label))
                ", ΔLoss is " (amount(record.delta_loss())) " nats. " (others(subject, record)) }
            @for note in of_fault.iter().flat_map(|of| &of.notes) { p.note { (note) } }
            @if let Some(fault) = fault_of(layer, record) {
                @match image.filter(|_| !subject.has_own_images()) {
                    Some(image) => pre { (command(subject, &fault, image)) },
                    None => p.note { code { (fault) } },
                }
            }
        }
    }
}

fn picture(png: &[u8], caption: &str) -> Markup {
    html! {
        span.picture {
            img alt=(caption) src={ "data:image/png;base64," (STANDARD.encode(png)) };
            span { (caption) }
        }
    }
}

/// A change of the loss, which may be huge.
fn amount(value: f64) -> String {
    match value {
        value if value == 0.0 || (1e-2..1e4).contains(&value) => format!("{value:.3}"),
        value => format!("{value:.2e}"),
    }
}

/// A value with as many digits as tell it from its neighbours.
fn number(bits: u32) -> String {
    match f32::from_bits(bits) {
        value if value == 0.0 || (1e-3..1e6).contains(&value.abs()) => value.to_string(),
        value => format!("{value:e}"),
    }
}

fn share(p: f64) -> String {
    if p.is_nan() { "–".into() } else { format!("{:.2} %", 100.0 * p) }
}

/// What the same fault came to under the other detectors.
fn others(subject: &Subject, record: &Record) -> String {
    let run = subject.first().run;
    let others = run.manifest.plan.detectors.iter().filter(|of| **of != record.detector);
    let words = others.filter_map(|detector| {
        let same = run.of(record.layer, *detector).find(|other| other.n == record.n)?;
        let outcome = match same.effect.outcome {
            Outcome::Sdc => "SDC",
            other => other.name(),
        };
        Some(format!("Under {} it was {outcome}.", detector.name()))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The command that shows the faults in the program's own images.
fn visualize(subject: &Subject) -> String {
    let of = &subject.first().run.manifest.setting.provenance;
    let (model, checkpoint) = (shell_word(&of.model), checkpoint(of));
    format!(
        "flipside visualize --model {model}{checkpoint} --campaign STORE --worst {MOST_FAULTS} --out FOLDER"
    )
}

/// The flag that names the weights, where they are another file than the model.
fn checkpoint(of: &Provenance) -> &'static str {
    if has_checkpoint(of) { " --checkpoint CHECKPOINT" } else { "" }
}

/// The command that runs a fault again.
fn command(subject: &Subject, fault: &FaultSpec, image: &GoldenRow) -> String {
    let setting = &subject.first().run.manifest.setting;
    let device = match setting.device.as_str() {
        "cpu" => String::new(),
        device => format!(" --device {}", shell_word(device)),
    };
    format!(
        "flipside predict --model {}{} --image-size {} {} --fault {}{device}",
        shell_word(&setting.provenance.model),
        checkpoint(&setting.provenance),
        setting.image_size,
        shell_word(&format!("IMAGES/{}", image.path)),
        shell_word(&fault.to_string())
    )
}
