//! Flipside trains and evaluates text-guided image classifiers and measures what hardware bit
//! flips do to their answers.

<<<<<<< HEAD
pub mod device;
=======
pub mod checkpoint;
>>>>>>> checkpoint
pub mod error;
pub mod fault;
pub mod ops;
pub mod rng;
pub mod tape;
pub mod tensor;

pub use error::{Error, Result};
