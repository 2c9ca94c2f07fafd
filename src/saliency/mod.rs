//! Where in an image a network looks for a class, and what a fault does to that: class activation maps, by the tape's
//! backward.
//!
//! A [`Probe`] runs one image through a network, with faults if asked, and makes a map of a layer's output and the
//! target's derivative by it. A [`pair`] is the map without and with a fault, for one target. Maps are as large as the
//! layer's output; pictures and figures are of maps that [`Saliency::upsampled`] made as large as the image.
//!
//! A fault is part of the pass that is differentiated: activations, weights and everything behind the layer are those
//! that the faulty pass computed with. What the fault added to a value is taken for a constant, since a flipped bit has
//! no derivative.

mod cam;
mod figures;
mod pair;
mod panel;
mod probe;
mod strip;

pub use cam::{Method, Saliency};
pub use figures::{MapFigures, SHARE};
pub use pair::{Class, MapPair, MapRequest, MapTarget, Seen, pair};
pub use panel::{Panels, magnified};
pub use probe::{Aim, Probe, layer, layer_of_size};
pub use strip::{Strip, StripNetwork};
