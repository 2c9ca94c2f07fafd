//! Text and numbers as LaTeX takes them.

/// A shown number, or one with the ends of its interval, as LaTeX takes it: with minus signs and powers of ten.
pub(crate) fn latex_numbers(text: &str) -> String {
    let one = |word: &str| -> String {
        let inner = word.trim_start_matches('[');
        let number = inner.trim_end_matches([']', ',']);
        let (before, after) = (word.len() - inner.len(), number.len());
        let is_plain = number.parse::<f64>().is_err() || !number.contains(['-', 'e']);
        let set = match number.split_once('e') {
            _ if is_plain => latex(number),
            Some((digits, power)) => format!("${digits}\\times10^{{{power}}}$"),
            None => format!("${number}$"),
        };
        format!("{}{set}{}", &word[..before], &inner[after..])
    };
    text.split(' ').map(one).collect::<Vec<_>>().join(" ")
}

/// Text as LaTeX takes it.
pub(crate) fn latex(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            '"' => escaped.push_str("\\textquotedbl{}"),
            'Δ' => escaped.push_str("$\\Delta$"),
            '×' => escaped.push_str("$\\times$"),
            '÷' => escaped.push_str("$\\div$"),
            '±' => escaped.push_str("$\\pm$"),
            '−' => escaped.push_str("$-$"),
            '∞' => escaped.push_str("$\\infty$"),
            '→' => escaped.push_str("$\\to$"),
            '–' => escaped.push_str("--"),
            '…' => escaped.push_str("\\dots{}"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latex_has_minus_signs_and_powers() {
        assert_eq!(latex_numbers("-0.10 [-1.25, 1.05]"), "$-0.10$ [$-1.25$, 1.05]");
        assert_eq!(
            latex_numbers("2.71e-8 [1.00e-8, 3]"),
            "$2.71\\times10^{-8}$ [$1.00\\times10^{-8}$, 3]"
        );
        assert_eq!(latex_numbers("–"), "--");
    }
}
