//! The command that began a campaign, which its store keeps.

use serde::{Deserialize, Serialize};

/// The flags that a campaign was begun with. They say how to go on with it; what was run on what is in the rest of the
/// manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// As a TOML file of `flipside inject --config`. What belongs to one run and not to the campaign isn't there: where
    /// it is kept, which part it is, how it is told.
    pub flags: String,
    /// SHA-256 of the file that `--config` named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}
