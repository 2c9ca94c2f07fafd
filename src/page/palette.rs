//! The colours of pages and figures, by name: in light, and in dark. Categories are Okabe and Ito's (2008, *Color
//! Universal Design*), which people with any kind of colour vision tell apart; rates have seven steps of one hue.

/// Name, in light, in dark.
const COLOURS: &[(&str, &str, &str)] = &[
    ("paper", "#ffffff", "#16181b"),
    ("ink", "#1b1f24", "#e8e6e3"),
    ("soft", "#57606a", "#a8b0b8"),
    ("rule", "#d4d9df", "#3a4048"),
    ("shade", "#f5f6f8", "#1f2226"),
    ("accent", "#0550ae", "#79b8ff"),
    ("masked", "#c4cad1", "#59616b"),
    ("benign", "#56b4e9", "#56b4e9"),
    ("sdc", "#d55e00", "#e8742a"),
    ("nonfinite", "#cc79a7", "#cc79a7"),
    ("run-0", "#0072b2", "#56b4e9"),
    ("run-1", "#d55e00", "#e8742a"),
    ("run-2", "#009e73", "#2fbf93"),
    ("run-3", "#cc79a7", "#cc79a7"),
    ("q0", "#fff1e2", "#2b2118"),
    ("q1", "#fddbb8", "#48301b"),
    ("q2", "#fbbd80", "#6b421d"),
    ("q3", "#f29a4a", "#93581f"),
    ("q4", "#dc7a1f", "#bd7226"),
    ("q5", "#b15609", "#e5964a"),
    ("q6", "#7a3803", "#ffcb94"),
];

/// The rules of the classes that marks have.
pub const MARKS: &str = include_str!("marks.css");

/// CSS variables of either palette: light, dark where the system or the reader asks for it on a screen.
pub fn variables() -> String {
    let list = |dark: bool| {
        let one = |(name, light, in_dark): &(&str, &str, &str)| {
            format!("--{name}:{};", if dark { in_dark } else { light })
        };
        COLOURS.iter().map(one).collect::<String>()
    };
    let (light, dark) = (list(false), list(true));
    format!(
        ":root{{color-scheme:light;{light}}}\n\
         @media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n\
         @media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
    )
}

/// The style of a drawing in a file of its own, light or dark as its reader asks.
pub fn file_style() -> String {
    format!("{}{MARKS}", variables())
}

/// The style of a drawing for print: the light colours, written out, for programs that know no variables.
pub fn print_style() -> String {
    COLOURS.iter().fold(MARKS.to_string(), |style, (name, light, _)| {
        style.replace(&format!("var(--{name})"), light)
    })
}

/// The class of a rate's step, from `q0` to `q6`, where the highest rate is `most`.
pub fn step(rate: f64, most: f64) -> &'static str {
    const STEPS: [&str; 7] = ["q0", "q1", "q2", "q3", "q4", "q5", "q6"];
    let share = if most > 0.0 { rate / most } else { 0.0 };
    // The root, so that small rates can be told apart: most layers are far below the worst.
    let place = (share.clamp(0.0, 1.0).sqrt() * 6.0).round();
    STEPS[if place.is_nan() { 0 } else { place as usize }]
}

/// The colour at `share` of the way through the steps of rates, in light: 0 is the palest.
pub fn shade(share: f64) -> [u8; 3] {
    let steps: Vec<[f64; 3]> = COLOURS
        .iter()
        .filter(|(name, ..)| name.starts_with('q'))
        .map(|(_, light, _)| {
            let channel = |at: usize| u8::from_str_radix(&light[at..at + 2], 16).unwrap_or(0);
            [1, 3, 5].map(|at| f64::from(channel(at)))
        })
        .collect();
    let place = share.clamp(0.0, 1.0) * (steps.len() - 1) as f64;
    let below = (place as usize).min(steps.len() - 2);
    let mix = |channel: usize| {
        let (from, to) = (steps[below][channel], steps[below + 1][channel]);
        (from + (to - from) * (place - below as f64)).round() as u8
    };
    [0, 1, 2].map(mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(hex: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    /// WCAG 2.1's contrast ratio: 21 of black on white.
    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_can_be_read_on_both_papers() {
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
        let of = |name: &str| COLOURS.iter().find(|colour| colour.0 == name).unwrap();
        for text in ["ink", "soft", "accent"] {
            for paper in ["paper", "shade"] {
                let (text, paper) = (of(text), of(paper));
                assert!(contrast(text.1, paper.1) >= 4.5, "{text:?} on {paper:?}");
                assert!(contrast(text.2, paper.2) >= 4.5, "{text:?} on {paper:?}");
            }
        }
    }

    #[test]
    fn steps_of_rates_grow_darker_in_light_and_lighter_in_dark() {
        let steps: Vec<_> = COLOURS.iter().filter(|colour| colour.0.starts_with('q')).collect();
        for pair in steps.windows(2) {
            assert!(luminance(pair[0].1) > luminance(pair[1].1));
            assert!(luminance(pair[0].2) < luminance(pair[1].2));
        }
        assert_eq!(
            [step(0.0, 0.2), step(0.2, 0.2), step(f64::NAN, 0.2), step(0.0, 0.0)],
            ["q0", "q6", "q0", "q0"]
        );
    }

    #[test]
    fn shades_run_through_the_steps() {
        assert_eq!(shade(0.0), [0xff, 0xf1, 0xe2]);
        assert_eq!(shade(0.5), [0xf2, 0x9a, 0x4a]);
        assert_eq!(shade(1.0), [0x7a, 0x38, 0x03]);
        // Half of the way from q0 to q1.
        assert_eq!(shade(1.0 / 12.0), [0xfe, 0xe6, 0xcd]);
    }

    #[test]
    fn print_has_no_variables() {
        assert!(!print_style().contains("var("), "{}", print_style());
    }
}
