//! What a network does on the images of a campaign without any fault.

use serde::{Deserialize, Serialize};

/// Figures of the fault-free network that a comparison needs beside those of its faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultFree {
    /// The logits' range over the images that faults hit, [`super::mean_logit_range`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_range: Option<f64>,
    /// The temperature of least mean loss over the evaluated images, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted_temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_alarms: Option<FalseAlarms>,
}

/// Where the range detector would find a fault although there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FalseAlarms {
    /// In so many images some value of a layer lies outside the layer's range,
    pub alarms: usize,
    /// of so many of the images that faults hit.
    pub images: usize,
}
