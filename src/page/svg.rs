//! Small drawings as SVG. Colours are classes of `marks.css`; every text is escaped; numbers have two decimals at most.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::xml::escape;

/// A drawing as it grows. Its unit is a CSS pixel at its full width; text has 12 of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Svg {
    pub width: f64,
    pub height: f64,
    body: String,
}

/// How a mark looks, what it belongs to and what it says when it is pointed at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark<'m> {
    class: &'static str,
    layer: Option<usize>,
    hint: &'m str,
}

impl<'m> Mark<'m> {
    /// A mark of the classes of `marks.css` that `class` names.
    pub fn new(class: &'static str) -> Mark<'m> {
        Mark { class, ..Mark::default() }
    }

    /// The same mark, of a layer's number in [`Subject::layers`](super::Subject).
    pub fn of_layer(self, layer: usize) -> Mark<'m> {
        Mark { layer: Some(layer), ..self }
    }

    /// The same mark with a hint.
    pub fn hinted(self, hint: &'m str) -> Mark<'m> {
        Mark { hint, ..self }
    }
}

/// Which point of a text its place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A number with two decimals at most.
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

impl Svg {
    /// An empty drawing.
    pub fn new(width: f64, height: f64) -> Svg {
        Svg { width, height, body: String::new() }
    }

    /// An element; one whose place isn't finite isn't drawn.
    fn element(&mut self, name: &str, numbers: &[(&str, f64)], more: &str, mark: Mark, text: &str) {
        if numbers.iter().any(|(_, value)| !value.is_finite()) {
            return;
        }
        let body = &mut self.body;
        let _ = write!(body, "<{name}");
        for (attribute, value) in numbers {
            let _ = write!(body, " {attribute}=\"{}\"", number(*value));
        }
        body.push_str(more);
        body.push_str(&attributes(mark));
        if text.is_empty() && mark.hint.is_empty() {
            body.push_str("/>");
            return;
        }
        body.push('>');
        body.push_str(&escape(text));
        if !mark.hint.is_empty() {
            let _ = write!(body, "<title>{}</title>", escape(mark.hint));
        }
        let _ = write!(body, "</{name}>");
    }

    /// A rectangle, of whichever corners.
    pub fn rect(&mut self, [x0, y0]: [f64; 2], [x1, y1]: [f64; 2], mark: Mark) {
        let numbers = [
            ("x", x0.min(x1)),
            ("y", y0.min(y1)),
            ("width", (x1 - x0).abs()),
            ("height", (y1 - y0).abs()),
        ];
        self.element("rect", &numbers, "", mark, "");
    }

    /// A straight line.
    pub fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], mark: Mark) {
        self.element("line", &[("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)], "", mark, "");
    }

    /// A disc.
    pub fn circle(&mut self, [cx, cy]: [f64; 2], r: f64, mark: Mark) {
        self.element("circle", &[("cx", cx), ("cy", cy), ("r", r)], "", mark, "");
    }

    /// A line through points; it breaks where one isn't finite.
    pub fn path(&mut self, points: impl IntoIterator<Item = [f64; 2]>, mark: Mark) {
        let mut d = String::new();
        let mut is_new = true;
        for [x, y] in points {
            if x.is_finite() && y.is_finite() {
                let step = if is_new { 'M' } else { 'L' };
                let _ = write!(d, "{step}{} {}", number(x), number(y));
            }
            is_new = !(x.is_finite() && y.is_finite());
        }
        self.shape(&d, mark);
    }

    /// A shape, by the commands of a path.
    pub fn shape(&mut self, commands: &str, mark: Mark) {
        if !commands.is_empty() {
            self.element("path", &[], &format!(" d=\"{commands}\""), mark, "");
        }
    }

    /// A text in one line; `y` is its base line.
    pub fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, text: &str, mark: Mark) {
        let more = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        self.element("text", &[("x", x), ("y", y)], more, mark, text);
    }

    /// A text that reads upwards and ends at its place.
    pub fn text_upwards(&mut self, [x, y]: [f64; 2], text: &str, mark: Mark) {
        let (x_word, y_word) = (number(x), number(y));
        let more = format!(" text-anchor=\"end\" transform=\"rotate(-90 {x_word} {y_word})\"");
        self.element("text", &[("x", x), ("y", y)], &more, mark, text);
    }

    /// A picture out of the bytes of a PNG file, its pixels as sharp squares.
    pub fn picture(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2], png: &[u8]) {
        let more = format!(
            " preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{}\"",
            STANDARD.encode(png)
        );
        let numbers = [("x", x), ("y", y), ("width", width), ("height", height)];
        self.element("image", &numbers, &more, Mark::default(), "");
    }

    /// What `draw` adds, as one group.
    pub fn group(&mut self, mark: Mark, draw: impl FnOnce(&mut Svg)) {
        let _ = write!(self.body, "<g{}>", attributes(mark));
        if !mark.hint.is_empty() {
            let _ = write!(self.body, "<title>{}</title>", escape(mark.hint));
        }
        draw(self);
        self.body.push_str("</g>");
    }

    /// What `draw` adds, with `origin` as its origin and units as wide and high as `unit`; its edges are sharp.
    pub fn scaled(
        &mut self,
        [x, y]: [f64; 2],
        [width, height]: [f64; 2],
        draw: impl FnOnce(&mut Svg),
    ) {
        let [x, y, width, height] = [x, y, width, height].map(number);
        let _ = write!(
            self.body,
            "<g transform=\"translate({x} {y})scale({width} {height})\" shape-rendering=\"crispEdges\">"
        );
        draw(self);
        self.body.push_str("</g>");
    }

    /// What `draw` adds, as one of several panels of which the page shows one: that of the chosen `layer`, or where none
    /// is chosen the one that `is_shown`, which is also what print and other files have.
    pub fn panel(&mut self, layer: Option<usize>, is_shown: bool, draw: impl FnOnce(&mut Svg)) {
        let class = if is_shown { "panel shown default" } else { "panel" };
        self.group(Mark { class, layer, hint: "" }, draw);
    }

    /// What `draw` adds, as one of several forms of which the page shows one: the one named `form`, if asked for, else the
    /// one that `is_shown`.
    pub fn variant(&mut self, form: &'static str, is_shown: bool, draw: impl FnOnce(&mut Svg)) {
        let class = if is_shown { "variant shown" } else { "variant" };
        let _ = write!(self.body, "<g class=\"{class}\" data-variant=\"{form}\">");
        draw(self);
        self.body.push_str("</g>");
    }

    /// What `draw` adds, moved down by `y`: a layer's row, which the page may put in another order. All rows of a drawing
    /// are equally high.
    pub fn row(&mut self, layer: usize, y: f64, draw: impl FnOnce(&mut Svg)) {
        let y = number(y);
        let _ = write!(
            self.body,
            "<g class=\"row\" data-layer=\"{layer}\" transform=\"translate(0 {y})\">"
        );
        draw(self);
        self.body.push_str("</g>");
    }

    /// The element `svg`. `id` is the page's own word for it; `style` is CSS of a file of its own, empty on a page.
    pub fn finish(&self, id: &str, title: &str, description: &str, style: &str) -> String {
        let (width, height) = (number(self.width), number(self.height));
        // A page has both once, for all of its drawings.
        let style = match style {
            "" => String::new(),
            style => format!("<style>{style}</style>{HATCH}"),
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"drawing\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-description\">\
             <title id=\"{id}-title\">{}</title><desc id=\"{id}-description\">{}</desc>{style}{}</svg>",
            escape(title),
            escape(description),
            self.body
        )
    }
}

/// Lines over what is known of too few records: the fill of the class `hatched`.
pub(super) const HATCH: &str = "<defs><pattern id=\"hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" \
     patternTransform=\"rotate(45)\"><rect width=\"1.2\" height=\"5\" class=\"hatch\"/></pattern></defs>";

fn attributes(mark: Mark) -> String {
    let mut text = String::new();
    if !mark.class.is_empty() {
        let _ = write!(text, " class=\"{}\"", mark.class);
    }
    if let Some(layer) = mark.layer {
        let _ = write!(text, " data-layer=\"{layer}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, -0.001, 1.0, 12.5, 1.005, -4.321, 1e6].map(number);
        assert_eq!(texts, ["0", "0", "1", "12.5", "1", "-4.32", "1000000"]);
    }

    #[test]
    fn texts_are_escaped_and_marks_without_a_place_left_out() {
        let mut svg = Svg::new(10.0, 10.0);
        let evil = "<script>alert(1)</script>\"'&\u{0}";
        svg.text([1.0, 2.0], Anchor::End, evil, Mark::new("label").hinted(evil));
        svg.rect([0.0, f64::NAN], [1.0, 1.0], Mark::new("q0"));
        svg.path([[0.0, 0.0], [1.0, 1.0], [f64::INFINITY, 0.0], [2.0, 2.0]], Mark::new("curve"));
        let text = svg.finish("x", evil, evil, "");
        assert!(!text.contains("<script"), "{text}");
        assert!(!text.contains("<rect x"), "{text}");
        assert!(text.contains("d=\"M0 0L1 1M2 2\""), "{text}");
        assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\u{fffd}"));
    }
}
