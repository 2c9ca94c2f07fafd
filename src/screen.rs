//! The terminal that people read: its width, whether it shows colours, and words fitted to it.

use std::io::IsTerminal;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Effects, Style};
use terminal_size::{Height, Width, terminal_size_of};
use textwrap::{Options, WordSplitter};

/// Columns of a terminal that doesn't say how many it has.
const UNKNOWN_WIDTH: usize = 100;

/// No line of prose is longer, however wide the terminal is.
const MAX_PROSE: usize = 100;

/// A terminal. Reports are functions of it, so that one can be written for any width without a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Characters of a line.
    pub width: usize,
    /// Whether escape sequences may be written: not under `NO_COLOR` or `TERM=dumb`.
    pub colour: bool,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// The names of columns.
    Heading,
    /// An improvement; something that is there.
    Good,
    /// Harm and failure.
    Bad,
    /// What a reader should know before relying on a figure.
    Warning,
    /// Where to find more.
    Hint,
}

impl Ink {
    fn style(self) -> Style {
        match self {
            Ink::Heading => Style::new().effects(Effects::BOLD),
            Ink::Good => AnsiColor::Green.on_default(),
            Ink::Bad => AnsiColor::Red.on_default(),
            Ink::Warning => AnsiColor::Yellow.on_default(),
            Ink::Hint => AnsiColor::Cyan.on_default(),
        }
    }
}

impl Screen {
    /// The standard output, if it is a terminal.
    pub fn stdout() -> Option<Screen> {
        let out = std::io::stdout();
        out.is_terminal().then(|| Screen::new(terminal_size_of(&out), AutoStream::choice(&out)))
    }

    /// The standard error stream, if it is a terminal.
    pub fn stderr() -> Option<Screen> {
        let out = std::io::stderr();
        out.is_terminal().then(|| Screen::new(terminal_size_of(&out), AutoStream::choice(&out)))
    }

    fn new(size: Option<(Width, Height)>, colours: ColorChoice) -> Screen {
        // A terminal without a height tells no size; its shell may.
        let told = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|width| *width > 0);
        let width = size.map(|(Width(width), _)| width.into()).or_else(told);
        let width = width.unwrap_or(UNKNOWN_WIDTH);
        Screen { width, colour: colours != ColorChoice::Never }
    }

    /// `text` in the colour of `ink`.
    pub fn paint(self, ink: Ink, text: &str) -> String {
        let style = ink.style();
        if self.colour { format!("{style}{text}{style:#}") } else { text.into() }
    }

    /// Lines of prose: `text` behind `mark`, broken between words, further lines indented by the mark's width. A
    /// word that is longer than a line (a path) stays whole, so that it can be copied.
    pub fn wrap(self, mark: &str, text: &str) -> String {
        let indent = " ".repeat(mark.chars().count());
        let options = Options::new(self.width.min(MAX_PROSE))
            .initial_indent(mark)
            .subsequent_indent(&indent)
            .break_words(false)
            .word_splitter(WordSplitter::NoHyphenation);
        textwrap::fill(text, options)
    }

    /// A message to the user: wrapped, and coloured where it is a warning.
    pub fn message(self, text: &str) -> String {
        let wrapped = self.wrap("", text);
        match wrapped.strip_prefix("warning:") {
            Some(rest) => format!("{}{rest}", self.paint(Ink::Warning, "warning:")),
            None => wrapped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_broken_between_words_and_paths_stay_whole() {
        let screen = Screen { width: 20, colour: false };
        assert_eq!(
            screen.wrap("- ", "one two three four --half-width five"),
            "- one two three four\n  --half-width five"
        );
        let path = "/a/path/that/is/longer/than/a/line";
        assert_eq!(screen.wrap("", &format!("in {path}: no")), format!("in\n{path}:\nno"));
    }

    #[test]
    fn colours_are_escape_sequences_or_nothing() {
        let plain = Screen { width: 80, colour: false };
        assert_eq!(plain.message("warning: few images"), "warning: few images");
        let coloured = Screen { colour: true, ..plain }.message("warning: few images");
        assert_eq!(coloured, "\u{1b}[33mwarning:\u{1b}[0m few images");
    }
}
