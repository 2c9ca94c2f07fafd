//! Bars before the rates of a table on a screen.

use crate::screen::Screen;

/// Bars that are all on one scale.
#[derive(Clone, Copy)]
pub(super) struct Bars {
    /// Characters of the longest; none on a narrow screen.
    width: usize,
    /// The rate that it stands for.
    most: f64,
}

impl Bars {
    /// Bars on whose scale the largest of some rates is the longest bar.
    pub fn of(screen: Screen, rates: impl Iterator<Item = f64>) -> Bars {
        let width = if screen.width < 60 { 0 } else { (screen.width / 8).min(20) };
        Bars { width, most: rates.filter(|rate| rate.is_finite()).fold(0.0, f64::max) }
    }

    /// Puts the bar of each line's rate before its figure in `column`.
    pub fn put(self, column: usize, lines: &mut [(f64, Vec<String>)]) {
        if self.width == 0 || self.most == 0.0 {
            return;
        }
        let lengths = lines.iter().map(|(_, cells)| cells[column].chars().count());
        let longest = lengths.max().unwrap_or(0);
        for (rate, cells) in lines {
            let bar = bar(*rate / self.most, self.width);
            cells[column] = format!("{bar} {:>longest$}", cells[column]);
        }
    }
}

/// A bar of `width` characters, of which `share` is filled; what is above 0 can be seen.
fn bar(share: f64, width: usize) -> String {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let eighths = (share * 8.0 * width as f64).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    let mut text = "█".repeat(eighths / 8);
    if let Some(part) = (eighths % 8).checked_sub(1) {
        text.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][part]);
    }
    format!("{text:<width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(0.0, 4), "    ");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 4), "██  ");
        assert_eq!(bar(0.4, 4), "█▋  ");
        assert_eq!(bar(1e-9, 4), "▏   ");
        assert_eq!(bar(f64::NAN, 4), "    ");
    }

    #[test]
    fn figures_stay_aligned_behind_bars() {
        let line = |rate: f64| (rate, vec!["conv1".to_string(), format!("{rate:.1}")]);
        let mut lines = [line(10.0), line(5.0), line(0.0)];
        let screen = Screen { width: 80, colour: false };
        let rates = lines.iter().map(|(rate, _)| *rate);
        Bars::of(screen, rates).put(1, &mut lines);
        let cells: Vec<&str> = lines.iter().map(|(_, cells)| cells[1].as_str()).collect();
        assert_eq!(cells, ["██████████ 10.0", "█████       5.0", "            0.0"]);
    }
}
