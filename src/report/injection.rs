//! One injection, told: what it hit, what became of the value, and the answer without it and with it.

use serde_json::{Value, json};

use super::sheet::{BY_FORMAT, Fit, Sheet, View};
use crate::detector::Detector;
use crate::logits::{order, probabilities};
use crate::number::{Field, Format};
use crate::results::{Effect, Outcome, Values};

/// A number that was hit.
#[derive(Clone, Debug, PartialEq)]
pub struct HitValue {
    /// Bits that were to flip, as a mask of the word that holds the value; 0 where the fault does something else.
    pub mask: u32,
    pub format: Format,
    /// `None` where the value is inside of a kernel.
    pub values: Option<Values>,
}

/// A fault of an injection, and the values that it hit.
#[derive(Clone, Debug, PartialEq)]
pub struct HitBy {
    /// As `predict --fault` takes it.
    pub fault: String,
    pub layer: String,
    pub site: &'static str,
    pub values: Vec<HitValue>,
}

/// An answer to the image.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultyAnswer {
    /// The detector that saw the faulty value.
    pub detector: Detector,
    pub logits: Vec<f32>,
    pub effect: Effect,
}

/// An injection.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// Its number within its layer; `None` of faults that a user wrote.
    pub number: Option<u64>,
    /// That layer; empty without a number.
    pub layer: String,
    /// Its path as stores and exports have it.
    pub image: String,
    /// The same as `predict` takes it here.
    pub file: String,
    /// The class that losses are against, and whether it is the image's label: else it is the fault-free top-1.
    pub class: usize,
    pub is_label: bool,
    pub hit: Vec<HitBy>,
    /// The range that the range detector holds the values to, where it was asked for.
    pub range: Option<f32>,
    /// Logits and loss without the fault.
    pub logits: Vec<f32>,
    pub loss: f64,
    /// With it, under each detector.
    pub faulty: Vec<FaultyAnswer>,
}

/// What injections are told by.
#[derive(Clone, Copy)]
pub struct Telling<'a> {
    /// The names of the classes.
    pub classes: &'a [String],
    /// How many classes of an answer are named.
    pub top: usize,
}

/// Of values that one fault hits at once so many are told.
const MOST_VALUES: usize = 4;

/// The outcome's word in tables.
pub(super) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Masked => "masked",
        Outcome::Benign => "benign",
        Outcome::Sdc => "SDC",
        Outcome::Nonfinite => "nonfinite",
    }
}

/// One injection after the other, each in a block of its own.
pub fn injections_text(injections: &[Injection], telling: &Telling, view: View) -> String {
    let mut sheet = Sheet::new(view);
    for (at, injection) in injections.iter().enumerate() {
        if at > 0 {
            sheet.gap();
        }
        block(&mut sheet, injection, telling);
    }
    sheet.finish(BY_FORMAT)
}

fn block(sheet: &mut Sheet, injection: &Injection, telling: &Telling) {
    if let Some(number) = injection.number {
        sheet.prose(&format!("Injection {number} into {}:", injection.layer));
        sheet.gap();
    }
    let class = telling.classes.get(injection.class).map_or("unknown", String::as_str);
    let label = if injection.is_label { "label" } else { "fault-free top-1" };
    fact(sheet, "image", &format!("{}; {label} {}, {class}", injection.file, injection.class));
    for hit in &injection.hit {
        // To be copied, so not broken.
        sheet.line(&format!("fault   {}", hit.fault));
        for value in hit.values.iter().take(MOST_VALUES) {
            fact(sheet, "value", &value_words(value));
        }
        if let Some(more) = hit.values.len().checked_sub(MOST_VALUES).filter(|more| *more > 0) {
            fact(sheet, "", &format!("and {more} more values"));
        }
    }
    if injection.hit.is_empty() {
        fact(sheet, "fault", "no bit was flipped");
    }
    if let Some(range) = injection.range {
        fact(sheet, "range", &range_words(injection, range));
    }
    sheet.gap();
    let mut header = vec![String::new(), "without the fault".into()];
    header.extend(injection.faulty.iter().map(|answer| heading(answer.detector)));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    sheet.table(Fit::Blocks, &header, lines(injection, telling, sheet.screen().is_some()));
    if injection.faulty.iter().all(|answer| answer.effect.outcome == Outcome::Masked) {
        sheet.gap();
        sheet.prose("The fault is masked: the logits have the same bits as without it.");
    }
}

fn fact(sheet: &mut Sheet, name: &str, words: &str) {
    sheet.hanging(&format!("{name:8}"), words);
}

fn heading(detector: Detector) -> String {
    match detector {
        Detector::None => "with it".into(),
        detector => format!("with it, under {}", detector.name()),
    }
}

/// `0.12 → 4.2e37 (0x3df5c28f → 0x7df5c28f), bit 30 (exponent), 0 to 1`.
fn value_words(value: &HitValue) -> String {
    let bits = bits(value);
    let known = value.values.map_or_else(
        || "inside of a kernel, so not known".into(),
        |Values { before, after, .. }| {
            format!("{} (0x{before:08x} → 0x{after:08x})", change(before, after))
        },
    );
    if bits.is_empty() {
        let same = value.values.is_some_and(|of| of.before == of.after);
        return if same { format!("{known}: it had these bits already") } else { known };
    }
    let set = value.values.map(|of| of.before);
    let name = |(bit, field): &(u32, Option<Field>)| {
        let field = field.map_or_else(String::new, |field| format!(" ({})", field.name()));
        let way = set.map_or("", |before| match before >> bit & 1 {
            1 => ", 1 to 0",
            _ => ", 0 to 1",
        });
        format!("{bit}{field}{way}")
    };
    if bits.len() > MOST_VALUES {
        return format!("{known}; {} bits change", bits.len());
    }
    let words: Vec<String> = bits.iter().map(name).collect();
    let bit = if words.len() == 1 { "bit" } else { "bits" };
    format!("{known}; {bit} {}", words.join("; "))
}

/// The bits that changed, or were to where the value isn't known, from the highest, each with its field.
fn bits(value: &HitValue) -> Vec<(u32, Option<Field>)> {
    let mask = match value.values {
        Some(of) if value.mask == 0 => of.before ^ of.after,
        _ => value.mask,
    };
    let set = (0..u32::BITS).rev().filter(|bit| mask >> bit & 1 == 1);
    set.map(|bit| (bit, value.format.field_of(bit))).collect()
}

fn change(before: u32, after: u32) -> String {
    format!("{} → {}", number(before), number(after))
}

/// The value of bits, short where it is very large or small.
fn number(bits: u32) -> String {
    let value = f32::from_bits(bits);
    match value.abs() {
        size if size == 0.0 || !size.is_finite() || (1e-4..1e7).contains(&size) => {
            value.to_string()
        }
        _ => format!("{value:e}"),
    }
}

/// What the range detector makes of the values.
fn range_words(injection: &Injection, range: f32) -> String {
    let within = format!("from -{range} to {range}");
    let values = injection.hit.iter().flat_map(|hit| &hit.values).filter_map(|value| value.values);
    let clamped: Vec<String> = values
        .filter(|of| of.seen != of.after)
        .map(|of| format!("{} to {}", number(of.after), number(of.seen)))
        .collect();
    match clamped.len() {
        0 => format!("{within}; the detector lets the value through"),
        1..=MOST_VALUES => format!("{within}; the detector sets {}", clamped.join(", ")),
        count => format!("{within}; the detector changes {count} values"),
    }
}

fn lines(injection: &Injection, telling: &Telling, is_screen: bool) -> Vec<Vec<String>> {
    let mut outcomes = vec!["outcome".to_string(), "–".into()];
    let mut losses = vec!["loss".to_string(), loss(injection.loss)];
    let mut logits = vec![&injection.logits];
    for answer in &injection.faulty {
        let too = if answer.effect.is_sdc5() { ", SDC-5" } else { "" };
        outcomes.push(format!("{}{too}", outcome(answer.effect.outcome)));
        losses.push(loss(answer.effect.score.loss));
        logits.push(&answer.logits);
    }
    let mut rows = vec![outcomes, losses];
    let tops: Vec<Vec<String>> =
        logits.into_iter().map(|logits| top(logits, telling, is_screen)).collect();
    for place in 0..telling.top.min(injection.logits.len()) {
        let cells = tops.iter().map(|top| top[place].clone());
        rows.push(std::iter::once(format!("top {}", place + 1)).chain(cells).collect());
    }
    rows
}

fn loss(loss: f64) -> String {
    match loss {
        loss if !loss.is_finite() => "not finite".into(),
        loss if loss.abs() < 1e5 => format!("{loss:.4}"),
        loss => format!("{loss:.3e}"),
    }
}

/// The first classes of an answer, each with its probability; on a screen the first of a class's synonyms.
fn top(logits: &[f32], telling: &Telling, is_screen: bool) -> Vec<String> {
    let p = probabilities(logits);
    let cell = |class: usize| {
        let name = telling.classes.get(class).map_or("unknown", String::as_str);
        let name = if is_screen { name.split(',').next().unwrap_or(name) } else { name };
        match p[class].is_finite() {
            true => format!("{name} {:.2} %", 100.0 * p[class]),
            false => format!("{name}, logit {}", number(logits[class].to_bits())),
        }
    };
    order(logits).into_iter().take(telling.top).map(cell).collect()
}

/// The same for machines. What isn't finite is null; its bits are beside it.
pub fn injection_json(injection: &Injection, telling: &Telling) -> Value {
    let class = |class: usize| json!({ "class": class, "name": telling.classes.get(class) });
    let of_value = |value: &HitValue| {
        let known = value.values.map(|Values { before, after, seen }| {
            let of = |bits: u32| {
                let number = finite(f64::from(f32::from_bits(bits)));
                json!({ "value": number, "bits": format!("0x{bits:08x}") })
            };
            json!({ "before": of(before), "after": of(after), "under_range": injection.range.map(|_| of(seen)) })
        });
        let bits: Vec<Value> = bits(value)
            .into_iter()
            .map(|(bit, field)| json!({ "bit": bit, "field": field }))
            .collect();
        json!({ "bits": bits, "values": known })
    };
    let hit: Vec<Value> = injection
        .hit
        .iter()
        .map(|hit| {
            let values: Vec<Value> = hit.values.iter().map(of_value).collect();
            json!({ "fault": hit.fault, "layer": hit.layer, "site": hit.site, "values": values })
        })
        .collect();
    let faulty: Vec<Value> = injection
        .faulty
        .iter()
        .map(|answer| {
            json!({
                "detector": answer.detector.name(),
                "outcome": answer.effect.outcome.name(),
                "sdc5": answer.effect.is_sdc5(),
                "loss": finite(answer.effect.score.loss),
                "top": top_json(&answer.logits, telling),
            })
        })
        .collect();
    json!({
        "injection": injection.number,
        "image": injection.image,
        "file": injection.file,
        "label": injection.is_label.then(|| class(injection.class)),
        "hit": hit,
        "range": injection.range,
        "fault_free": {
            "loss": finite(injection.loss),
            "top": top_json(&injection.logits, telling),
        },
        "faulty": faulty,
    })
}

/// The first classes of an answer, for machines.
pub fn top_json(logits: &[f32], telling: &Telling) -> Vec<Value> {
    let p = probabilities(logits);
    let row = |class: usize| {
        json!({
            "class": class, "name": telling.classes.get(class), "probability": finite(p[class]),
            "logit": finite(f64::from(logits[class])),
        })
    };
    order(logits).into_iter().take(telling.top).map(row).collect()
}

/// JSON has no NaN and no infinity.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The columns that a narrow screen has first.
const MOST: [&str; 4] = ["outcome", "before → after", "bit", "loss"];

/// Many injections, a line each: of a number in every layer.
pub fn injections_table(injections: &[Injection], view: View) -> String {
    let mut sheet = Sheet::new(view);
    let ranged = injections.iter().any(|injection| injection.range.is_some());
    let mut header = vec!["layer", "bit", "before → after", "outcome", "loss"];
    if ranged {
        header.extend(["under range", "loss under range"]);
    }
    header.push("image");
    let rows = injections.iter().map(|injection| {
        let values: Vec<&HitValue> = injection.hit.iter().flat_map(|hit| &hit.values).collect();
        let (bit, changed) = match values[..] {
            [] => ("–".into(), "–".into()),
            [value] => (
                bits(value)
                    .iter()
                    .map(|(bit, field)| {
                        format!("{bit} {}", field.map_or("", Field::name)).trim_end().to_string()
                    })
                    .collect::<Vec<_>>()
                    .join(", "),
                value.values.map_or("not known".into(), |of| short(of.before, of.after)),
            ),
            _ => (format!("of {} values", values.len()), "several".into()),
        };
        let mut cells = vec![injection.layer.clone(), bit, changed];
        let of = |detector| injection.faulty.iter().find(|of| of.detector == detector);
        let plain = of(Detector::None).or(injection.faulty.first());
        for answer in [plain, of(Detector::Range)].into_iter().take(1 + usize::from(ranged)) {
            cells.extend(match answer {
                Some(of) => {
                    let effect = &of.effect;
                    let losses = format!("{} → {}", loss(injection.loss), loss(effect.score.loss));
                    [outcome(effect.outcome).to_string(), losses]
                }
                None => ["–".to_string(), "–".into()],
            });
        }
        cells.push(injection.image.clone());
        cells
    });
    sheet.table(Fit::Keep(&MOST), &header, rows.collect());
    sheet.gap();
    sheet
        .prose("--layer NAME tells an injection into one layer in full; --json tells all of them.");
    sheet.finish("A pipe gets all of them: | less -S.")
}

/// Two values in three digits each.
fn short(before: u32, after: u32) -> String {
    let word = |bits: u32| {
        let value = f32::from_bits(bits);
        match value.abs() {
            size if size == 0.0 || !size.is_finite() => value.to_string(),
            size if (1e-2..1e4).contains(&size) => format!("{value:.3}"),
            _ => format!("{value:.2e}"),
        }
    };
    format!("{} → {}", word(before), word(after))
}
