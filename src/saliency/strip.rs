//! A fault's pictures side by side: the image, and for each network its map without the fault, with it, and what is
//! between them.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::figures::MapFigures;
use super::pair::{MapPair, Seen};
use super::panel::{Panels, magnified};
use crate::data::{Image8, rgb_png};
use crate::error::shorten;
use crate::xml::escape;
use crate::{Error, Result};

/// A network of a strip.
#[derive(Clone, Debug)]
pub struct StripNetwork<'s> {
    /// What stands above its panels.
    pub name: String,
    /// The image as it takes it, before normalisation.
    pub picture: Image8,
    pub pair: MapPair,
    /// Names of its classes, by row.
    pub classes: &'s [String],
}

/// The pictures of one fault.
#[derive(Clone, Debug)]
pub struct Strip<'s> {
    /// What stands above all: the fault.
    pub title: String,
    /// The line below it: how the maps were made.
    pub about: String,
    /// What the image is called.
    pub image: String,
    /// At least one.
    pub members: Vec<StripNetwork<'s>>,
}

/// Small images are magnified until a panel has so many pixels a side.
const LEAST_SIDE: usize = 224;
/// Between panels of a PNG, in pixels.
const GAP: usize = 8;

// Of the SVG, in CSS pixels.
const PANEL: f64 = 200.0;
const SPACE: f64 = 12.0;
const MARGIN: f64 = 16.0;
const LINE: f64 = 16.0;
/// Where the panels begin, below the title, the line about it, the networks' names and the panels'.
const TOP: f64 = 100.0;
/// Lines below a panel.
const LINES: usize = 6;
/// Letters that fit below a panel, and on a network's line.
const LETTERS: usize = 32;

/// The colours of texts, for light backgrounds and dark ones.
const STYLE: &str = "text{font-family:system-ui,sans-serif;font-size:12px;fill:#1b1f24}.title{font-size:14px;font-weight:\
     600}.soft{fill:#57606a}.paper{fill:#fff}";

/// What the colours mean.
const KEY: [&str; 2] = [
    "Colours run from 0, dark, to the largest value of a network's two maps, pale.",
    "Difference: orange where the fault adds, blue where it takes away. Hatched: there is no map.",
];

/// A panel with the texts around it.
struct LabelledPanel {
    heading: &'static str,
    picture: Image8,
    lines: Vec<String>,
}

impl Strip<'_> {
    /// Height and width of a panel.
    fn side(&self) -> Result<[usize; 2]> {
        let first = self.members.first().ok_or_else(|| Error::usage("a strip of no network"))?;
        let Image8 { height, width, .. } = first.picture;
        let factor = LEAST_SIDE.div_ceil(height.max(width).max(1));
        Ok([height * factor, width * factor])
    }

    /// The file's name, and its folder's.
    fn image_lines(&self) -> Vec<String> {
        let mut parts = self.image.rsplit('/').map(|part| shorten(part, LETTERS - 6));
        let name = parts.next().unwrap_or_default();
        let folder = parts.next().filter(|folder| !folder.is_empty());
        [Some(name), folder.map(|folder| format!("in {folder}"))].into_iter().flatten().collect()
    }

    /// The columns of the image and of each network.
    fn columns(&self) -> Result<Vec<Vec<LabelledPanel>>> {
        let [height, width] = self.side()?;
        let picture = |member: &StripNetwork<'_>| magnified(&member.picture, height, width);
        let first = LabelledPanel {
            heading: "image",
            picture: picture(&self.members[0]),
            lines: self.image_lines(),
        };
        let mut groups = vec![vec![first]];
        for member in &self.members {
            let panels = Panels::of(&member.pair, &picture(member));
            let MapPair { clean, faulty, .. } = &member.pair;
            groups.push(vec![
                LabelledPanel {
                    heading: "without error",
                    picture: panels.clean,
                    lines: member.answer(clean),
                },
                LabelledPanel {
                    heading: "with error",
                    picture: panels.faulty,
                    lines: member.answer(faulty),
                },
                LabelledPanel {
                    heading: "difference",
                    picture: panels.difference,
                    lines: member.figures(),
                },
            ]);
        }
        Ok(groups)
    }

    /// The panels in a row, as a PNG without text.
    ///
    /// # Errors
    /// [`Error::Usage`] for a strip of no network.
    pub fn png(&self) -> Result<Vec<u8>> {
        let columns: Vec<LabelledPanel> = self.columns()?.into_iter().flatten().collect();
        let [height, width] = self.side()?;
        let whole = columns.len() * (width + GAP) - GAP;
        let mut pixels = vec![255u8; 3 * height * whole];
        for (place, column) in columns.iter().enumerate() {
            let left = place * (width + GAP);
            for (row, line) in column.picture.pixels.chunks_exact(3 * width).enumerate() {
                pixels[3 * (row * whole + left)..][..3 * width].copy_from_slice(line);
            }
        }
        rgb_png(&Image8::new(height, whole, pixels)?)
    }

    /// The panels with their texts, as an SVG file that needs no other.
    ///
    /// # Errors
    /// As [`Strip::png`].
    pub fn svg(&self) -> Result<String> {
        let groups = self.columns()?;
        let [height, width] = self.side()?;
        let panel_height = PANEL * height as f64 / width as f64;
        let count: usize = groups.iter().map(Vec::len).sum();
        let whole_width = 2.0 * MARGIN + count as f64 * (PANEL + SPACE) - SPACE;
        let whole_height = TOP + panel_height + (LINES as f64 + 3.0) * LINE + MARGIN;
        let mut body = String::new();
        let mut text = |x: f64, y: f64, class: &str, text: &str| {
            let _ = writeln!(
                body,
                "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{}</text>",
                escape(text)
            );
        };
        text(MARGIN, 24.0, "title", &self.title);
        text(MARGIN, 42.0, "soft", &self.about);
        for (line, key) in KEY.into_iter().rev().enumerate() {
            text(MARGIN, whole_height - MARGIN - LINE * line as f64, "soft", key);
        }
        let mut pictures = String::new();
        let mut x = MARGIN;
        for (place, group) in groups.iter().enumerate() {
            if let Some(member) = place.checked_sub(1).map(|place| &self.members[place]) {
                text(x, 72.0, "title", &member.heading());
            }
            for column in group {
                text(x, TOP - 8.0, "soft", column.heading);
                let data = STANDARD.encode(rgb_png(&column.picture)?);
                let _ = writeln!(
                    pictures,
                    "<image x=\"{x}\" y=\"{TOP}\" width=\"{PANEL}\" height=\"{panel_height}\" \
                     href=\"data:image/png;base64,{data}\"/>"
                );
                for (line, words) in (1..).zip(column.lines.iter().take(LINES)) {
                    text(x, TOP + panel_height + f64::from(line) * LINE, "", words);
                }
                x += PANEL + SPACE;
            }
        }
        let title = escape(&self.title);
        Ok(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole_width} {whole_height}\" \
             width=\"{whole_width}\" height=\"{whole_height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n{pictures}{body}</svg>\n"
        ))
    }
}

impl StripNetwork<'_> {
    fn class(&self, class: usize) -> String {
        shorten(self.classes.get(class).map_or("", String::as_str), LETTERS - 10)
    }

    fn heading(&self) -> String {
        let aim = self.pair.aim;
        let what = if aim.cosine { "cosine to" } else { "logit of" };
        format!("{}: {what} {}", shorten(&self.name, LETTERS), self.class(aim.class))
    }

    /// The lines below a map.
    fn answer(&self, seen: &Seen) -> Vec<String> {
        let top1 = seen.top1();
        let (class, target) = (self.class(top1), self.pair.aim.class);
        let mut lines = match (seen.p(top1), seen.p(target)) {
            (Some(p), Some(_)) if top1 == target => vec![format!("{class} {:.1} %", 100.0 * p)],
            (Some(p), Some(of_target)) => vec![
                format!("{class} {:.1} %", 100.0 * p),
                format!("target {:.1} %", 100.0 * of_target),
            ],
            _ => vec!["NaN or infinity in the answer".into()],
        };
        match &seen.map {
            Ok(map) => lines.push(format!("largest value {}", short(map.largest()))),
            Err(why) => {
                lines.extend(
                    textwrap::wrap(&format!("No map: {why}."), LETTERS)
                        .iter()
                        .map(|l| l.to_string()),
                );
            }
        }
        lines
    }

    /// The lines below a difference.
    fn figures(&self) -> Vec<String> {
        let Image8 { height, width, .. } = self.picture;
        let figures = self.pair.figures(height, width);
        let word = |value: Option<f64>, digits: usize, unit: &str| match value {
            Some(value) => format!("{value:.digits$}{unit}"),
            None => "–".into(),
        };
        let of = |figure: fn(MapFigures) -> Option<f64>| figures.and_then(figure);
        let delta_p = self.pair.delta_p().map(|delta| format!("{delta:+.3}"));
        vec![
            format!("correlation {}", word(of(|f| f.correlation), 3, "")),
            format!("IoU of the top 20 % {}", word(of(|f| f.overlap), 3, "")),
            format!("centre moves {}", word(of(|f| f.shift), 1, " pixels")),
            format!("Δp of the target {}", delta_p.unwrap_or_else(|| "–".into())),
        ]
    }
}

/// A number of any size in few letters.
fn short(value: f64) -> String {
    match value {
        0.0 => "0".into(),
        value if (1e-3..1e5).contains(&value) => format!("{value:.4}"),
        value => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cam::Saliency;
    use super::super::probe::Aim;
    use super::*;
    use crate::data::decode;

    fn strip(names: &[String], faulty: std::result::Result<Saliency, String>) -> Strip<'_> {
        let map = Saliency { height: 1, width: 1, values: vec![2.0] };
        let nan = if faulty.is_ok() { 1.0 } else { f32::NAN };
        let pair = MapPair {
            clean: Seen { logits: vec![0.0, 1.0], map: Ok(map) },
            faulty: Seen { logits: vec![3.0, nan], map: faulty },
            aim: Aim { class: 1, cosine: false },
        };
        let picture = Image8::new(8, 4, vec![50; 96]).unwrap();
        let member = StripNetwork { name: "<b>".into(), picture, pair, classes: names };
        Strip {
            title: "layer=<script>alert(1)</script>\u{7}".into(),
            about: "Grad-CAM".into(),
            image: "a&b.png".into(),
            members: vec![member],
        }
    }

    #[test]
    fn a_strip_has_its_panels_and_numbers() {
        let names = ["\"cat\"".to_string(), "dog".into()];
        let map = Saliency { height: 1, width: 2, values: vec![0.0, 1.0] };
        let made = strip(&names, Ok(map));
        let svg = made.svg().unwrap();
        assert_eq!(svg.matches("<image ").count(), 4);
        assert!(!svg.contains("<script") && !svg.contains("<b>"), "{svg}");
        assert!(svg.contains("layer=&lt;script&gt;") && svg.contains("a&amp;b.png"));
        // exp(1)/(1 + exp(1)) and exp(3)/(exp(1) + exp(3)).
        for text in
            ["dog 73.1 %", "&quot;cat&quot; 88.1 %", "target 11.9 %", "Δp of the target -0.612"]
        {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        // 8 × 4 pixels, magnified 28 times, and three gaps.
        let png = decode(&made.png().unwrap(), "a.png".as_ref()).unwrap();
        assert_eq!((png.height, png.width), (224, 4 * 112 + 3 * 8));
        assert_eq!(png.pixels[..3], [50; 3]);
        assert_eq!(png.pixels[3 * 112..3 * 112 + 3], [255; 3]);
    }

    #[test]
    fn a_panel_without_a_map_says_why() {
        let names = ["cat".to_string(), "dog".into()];
        let svg = strip(&names, Err("the output of a.b holds NaN".into())).svg().unwrap();
        assert!(svg.contains("No map: the output of a.b holds"), "{svg}");
        assert!(svg.contains("correlation –") && svg.contains("Δp of the target –"), "{svg}");
        let none = Strip { members: vec![], ..strip(&names, Err(String::new())) };
        assert!(none.svg().is_err() && none.png().is_err());
    }
}
