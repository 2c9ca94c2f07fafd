//! `flipside help TOPIC`: words that many commands use, explained once.

use strum::IntoEnumIterator;

use super::common::print;
use crate::number::Format;

/// The topics, at the end of `flipside help`.
pub const LIST: &str = "Topics: flipside help outcomes, flipside help sites. Version: flipside -V";

/// What is explained. Each is a command that help alone has a use for: it prints its own help.
#[derive(Clone, Copy, clap::Subcommand)]
pub enum Topic {
    /// What a fault can do to an answer
    #[command(hide = true, long_about = OUTCOMES, help_template = "{about}\n")]
    Outcomes,
    /// Where in a layer a fault can hit, and on which devices
    #[command(hide = true, long_about = sites(), help_template = "{about}\n")]
    Sites,
}

impl Topic {
    pub fn run(self) -> anyhow::Result<()> {
        print(&match self {
            Topic::Outcomes => OUTCOMES.into(),
            Topic::Sites => sites(),
        })
    }
}

/// The program's commands with the topics among them, as completions and manual pages have them.
pub fn command() -> clap::Command {
    let shown = |topic: clap::Command| topic.hide(false);
    super::command().mut_subcommand("outcomes", shown).mut_subcommand("sites", shown)
}

// No line is longer than 80 characters.

const OUTCOMES: &str = "\
What a fault can do to an answer

The logits of an image with a fault in the network are held against those
without it. Each injection has one of four outcomes, asked in this order:

  nonfinite   There is a NaN or an infinity among the logits. A check of the
              output would find it.
  masked      The logits have the same bits: the fault left no trace.
  SDC         Another class is first (top-1): silent data corruption.
  benign      The logits differ, the first class is the same.

Figures beside them:

  SDC-5       The part of SDC where the fault-free top-1 left the top-5, too.
  Δp          How far the probability of the label moves, from 0 to 1. A
              nonfinite answer counts 1.
  ΔLoss       How far the cross entropy against the label moves, in nats.
              Means leave nonfinite answers out, quantiles count them as
              infinite.

A detector is what a system could do about the faulty value. Under `none`
nothing is done. Under `range` the value is cut off at the largest absolute
value that the layer had on training images, and a NaN becomes that. The same
fault is judged under each detector. Mean ΔLoss is reported under `range`:
without a detector a few exponent bits carry all of it.

Labels are the data's, or the fault-free answers with `inject --labels golden`.
";

const SITES: &str = "\
Where in a layer a fault can hit, and on which devices

A convolution or linear layer is computed as a matrix product:

  y[m, n] = bias[n] + sum over k of A[m, k] * B[k, n]

A is the layer's input and B its weight; m is a pixel of the output, n an
output channel. In one tile of y, which a block of threads computes:

                              n
                       +------|------+
                       |      |      |  B: weight
                     k |------b------|  b: operand-b, shared-b
                       |      |      |
             k         +------|------+
       +-----|-----+   +------|------+
       |     |     |   |      |      |  y: the tile of outputs
     m |-----a-----|   |------y------|  y: accumulator (while it is summed),
       |     |     |   |      |      |     output (finished, with the bias)
       +-----|-----+   +------|------+
         A: input
         a: operand-a, shared-a

The k-th term counts from 0 over kernel rows, then kernel columns, then input
channels of the group, channels fastest: in a 3x3 convolution over 16 channels
k = (row * 3 + column) * 16 + channel.

Sites on every device, and the keys of their places in `predict --fault`:

  output        channel, row, column: the sum with its bias, before batch norm
                and activation
  input         the same, of the layer's input: every reader from this layer on
                sees it
  weight        out, in, row, column, as far as the parameter has them:
                out=5,in=0,row=2,column=1 of a convolution (in counts within
                its group), out=7,in=3 of a linear layer, parameter=bias,out=7
  store-lost    as output: the store is dropped, and 0 is read instead
  store-astray  as output, and offset-bit=5: the store goes to an address of
                which this bit is flipped (single faults alone)

Sites inside kernels, with --device cuda, or emulated on the CPU:

  accumulator@k                 channel, row, column of an output, after k terms
                                of its sum
  operand-a@k, operand-b@k      the same, at term k: a register's copy, which
                                feeds the outputs of one thread (or warp)
  shared-a@k, shared-b@k        the same: shared memory's copy, which feeds the
                                whole tile's row (a) or column (b)
  scores, probabilities         of attention: head=1,row=2,column=3,key=40
                                (single faults and lists alone)

Row and column are 0 if absent. index=3/4/5 (a number for each dimension) or
index=N (the number in PyTorch's order) stands for all coordinates.

Bits are numbered from 0, the least significant:

";

/// [`SITES`], with the bits of each format.
fn sites() -> String {
    let bits = |format: Format| {
        let lowest = format.shift();
        let exponent = lowest + format.mantissa_bits();
        let sign = exponent + format.exponent_bits();
        format!(
            "  {:4}  {sign} sign, {} to {exponent} exponent, {} to {lowest} mantissa\n",
            format.name(),
            sign - 1,
            exponent - 1
        )
    };
    let formats: String = Format::iter().map(bits).collect();
    format!(
        "{SITES}{formats}\n\
         Operands (operand-*, shared-*) have the format of --compute; all others are f32.\n"
    )
}
