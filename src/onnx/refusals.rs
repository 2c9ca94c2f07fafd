//! What isn't understood of a file: every node of it in one error.

use crate::error::shorten;

/// Nodes that aren't understood, and how many could not be looked at for them.
#[derive(Debug, Default)]
pub struct Refusals {
    nodes: Vec<String>,
    /// Nodes that read what those make.
    pub behind: usize,
}

/// How many are named.
const MOST_NAMED: usize = 40;

impl Refusals {
    /// Adds a node by its name and operator.
    pub fn push(&mut self, name: &str, operator: &str, why: &str) {
        let (name, operator) = (shorten(name, 120), shorten(operator, 40));
        self.nodes.push(format!("{name} ({operator}): {why}"));
    }

    /// All of them; nothing where there are none.
    ///
    /// # Errors
    /// How many of `all` nodes are understood, and a line for each that isn't.
    pub fn check(&self, all: usize) -> Result<(), String> {
        if self.nodes.is_empty() {
            return Ok(());
        }
        let (refused, behind) = (self.nodes.len(), self.behind);
        let understood = all.saturating_sub(refused + behind);
        let mut text = format!(
            "can't be run: of {all} nodes {understood} are understood, {refused} are not, {behind} read \
             what those make"
        );
        for node in self.nodes.iter().take(MOST_NAMED) {
            text.push_str(&format!("\n  {node}"));
        }
        if refused > MOST_NAMED {
            text.push_str(&format!("\n  and {} more", refused - MOST_NAMED));
        }
        Err(text)
    }
}
