//! Products of maps, of which one may be spread over the other's pixels or channels: what `multiply` and
//! `gated_sum` share.

pub(crate) mod cuda;

use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{LANES, LaneValues, Pieces, for_each_piece, load, store_or_add, total};
use crate::ops::HostForward;
use crate::ops::pixels::{self, EachPixel};
use crate::tensor::{Map, Region, Span};

/// How a factor's elements meet those of an output of height × width × channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// One to one.
    Nowhere,
    /// 1×1×channels, for every pixel.
    OverPixels,
    /// height×width×1, for every channel.
    OverChannels,
}

impl Spread {
    /// Of a factor of `channels` of the pixels of `map`, if it fits an `output`.
    pub fn of(map: Map, channels: usize, output: Map) -> Option<Spread> {
        let pixels = [map.height, map.width];
        let same_pixels = pixels == [output.height, output.width];
        match (same_pixels, channels == output.channels) {
            (true, true) => Some(Spread::Nowhere),
            (false, true) if pixels == [1, 1] => Some(Spread::OverPixels),
            (true, false) if channels == 1 => Some(Spread::OverChannels),
            _ => None,
        }
    }
}

/// Where a factor lies in a batch of maps.
#[derive(Clone, Copy)]
pub(crate) struct FactorPlace {
    pub map: Map,
    /// The first of its channels.
    pub channel: usize,
    pub spread: Spread,
}

impl FactorPlace {
    /// Where its element for the output's element (image, pixel, channel) lies.
    #[inline(always)]
    fn at(&self, image: usize, pixel: usize, channel: usize) -> usize {
        let first = image * self.map.elements() + self.channel;
        match self.spread {
            Spread::Nowhere => first + pixel * self.map.channels + channel,
            Spread::OverPixels => first + channel,
            Spread::OverChannels => first + pixel * self.map.channels,
        }
    }

    /// The part of an output of `output` that a changed `region` of the factor's value can change.
    pub fn reach(&self, region: Region, output: Map) -> Region {
        let channels = match self.spread {
            Spread::OverChannels if region.channels.contains(self.channel) => {
                Span::all(output.channels)
            }
            Spread::OverChannels => Span::new(0, 0),
            _ => {
                let of = |at: usize| at.saturating_sub(self.channel).min(output.channels);
                Span::new(of(region.channels.start), of(region.channels.end))
            }
        };
        match self.spread {
            Spread::OverPixels => {
                Region { images: region.images, channels, ..Region::full(0, output) }
            }
            _ => Region { channels, ..region },
        }
    }
}

/// A factor.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a> {
    pub values: &'a [f32],
    pub place: FactorPlace,
}

/// Elements of a factor for some channels of an output's pixel.
enum FactorRun<'a> {
    Each(&'a [f32]),
    One(f32),
}

impl Factor<'_> {
    #[inline(always)]
    fn run(&self, image: usize, pixel: usize, channels: Span) -> FactorRun<'_> {
        let at = self.place.at(image, pixel, channels.start);
        match self.place.spread {
            Spread::OverChannels => FactorRun::One(self.values[at]),
            _ => FactorRun::Each(&self.values[at..at + channels.len()]),
        }
    }

    /// Its elements for `lanes` channels of an output's pixel.
    #[inline(always)]
    fn tile(&self, image: usize, pixel: usize, channel: usize, lanes: usize) -> LaneValues {
        let at = self.place.at(image, pixel, channel);
        match self.place.spread {
            Spread::OverChannels => [self.values[at]; LANES],
            _ => load(self.values, at, lanes),
        }
    }
}

/// Channels of a piece of a sum over pixels.
const SUM_TILES: usize = 4;

/// d(factor) (+)= dy · other, summed over what the factor is spread over, in an order that follows from
/// sizes alone: over pixels one after another in f64, over channels in tiles.
struct FactorGradient<'a> {
    output: Map,
    dy: &'a [f32],
    other: Factor<'a>,
    to: SendPtr<f32>,
    place: FactorPlace,
    accumulate: bool,
}

impl FactorGradient<'_> {
    #[inline(always)]
    fn term(
        &self,
        image: usize,
        pixel: usize,
        channel: usize,
        lanes: usize,
    ) -> (LaneValues, LaneValues) {
        let at = image * self.output.elements() + pixel * self.output.channels + channel;
        (load(self.dy, at, lanes), self.other.tile(image, pixel, channel, lanes))
    }

    /// A row of pixels.
    #[inline(always)]
    fn row(&self, piece: usize) {
        let Map { height, width, channels } = self.output;
        let (image, row) = (piece / height, piece % height);
        for pixel in row * width..(row + 1) * width {
            let to = self.to.get().wrapping_add(self.place.at(image, pixel, 0));
            if self.place.spread == Spread::OverChannels {
                let sum = self.sum_over_channels(image, pixel);
                // SAFETY: this pixel's element of the gradient.
                unsafe { store_or_add(to, &[sum; LANES], 1, self.accumulate) };
                continue;
            }
            let at = image * self.output.elements() + pixel * channels;
            let dy = FactorRun::Each(&self.dy[at..at + channels]);
            let other = self.other.run(image, pixel, Span::all(channels));
            // SAFETY: this pixel's part of the gradient.
            let to = unsafe { std::slice::from_raw_parts_mut(to, channels) };
            multiply(dy, other, to, self.accumulate, |dy, other, to| to + dy * other);
        }
    }

    #[inline(always)]
    fn sum_over_channels(&self, image: usize, pixel: usize) -> f32 {
        let channels = self.output.channels;
        let mut sum: LaneValues = [0.0; LANES];
        for channel in (0..channels).step_by(LANES) {
            let lanes = LANES.min(channels - channel);
            let (dy, other) = self.term(image, pixel, channel, lanes);
            // Past the last channel dy is 0, but the other factor need not be finite.
            for lane in 0..lanes {
                sum[lane] = dy[lane].mul_add(other[lane], sum[lane]);
            }
        }
        total(&sum)
    }

    /// A few channels of all pixels of an image.
    #[inline(always)]
    fn column(&self, piece: usize) {
        let channels = self.output.channels;
        let blocks = channels.div_ceil(SUM_TILES * LANES);
        let image = piece / blocks;
        let first = piece % blocks * SUM_TILES * LANES;
        let tiles = (channels - first).div_ceil(LANES).min(SUM_TILES);
        let mut sums = [[0f64; LANES]; SUM_TILES];
        for pixel in 0..self.output.pixels() {
            for (tile, sum) in sums.iter_mut().take(tiles).enumerate() {
                let channel = first + tile * LANES;
                let lanes = LANES.min(channels - channel);
                let (dy, other) = self.term(image, pixel, channel, lanes);
                for lane in 0..LANES {
                    sum[lane] += f64::from(dy[lane]) * f64::from(other[lane]);
                }
            }
        }
        for (tile, sum) in sums.iter().take(tiles).enumerate() {
            let channel = first + tile * LANES;
            let lanes = LANES.min(channels - channel);
            let to = self.to.get().wrapping_add(self.place.at(image, 0, channel));
            // SAFETY: this piece's channels of the gradient.
            unsafe { store_or_add(to, &sum.map(|sum| sum as f32), lanes, self.accumulate) };
        }
    }
}

impl Pieces for FactorGradient<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        if self.place.spread == Spread::OverPixels { self.column(piece) } else { self.row(piece) }
    }
}

/// Clears the first `count` elements of a gradient that is to be assigned, of which only a part is going
/// to be written, and has that part added from now on.
pub(crate) fn start_from_zero(gradient: &mut [f32], count: usize, accumulate: &mut bool) {
    if !std::mem::replace(accumulate, true) {
        gradient[..count].fill(0.0);
    }
}

/// The gradient of a factor at `place` of `to`, given the other one and the product's gradient;
/// `output` is the product's map.
///
/// # Panics
/// Where the factor's part of the output's pixels doesn't lie within its map, or `to` hasn't as many maps.
pub(crate) fn gradient(
    images: usize,
    output: Map,
    dy: &[f32],
    other: Factor<'_>,
    (to, place): (&mut [f32], FactorPlace),
    accumulate: bool,
) {
    let (pixels, channels) = match place.spread {
        Spread::Nowhere => (output.pixels(), output.channels),
        Spread::OverPixels => (1, output.channels),
        Spread::OverChannels => (output.pixels(), 1),
    };
    let within = pixels <= place.map.pixels() && place.channel + channels <= place.map.channels;
    let elements = images.checked_mul(place.map.elements());
    assert!(within && elements.is_some_and(|count| count <= to.len()), "a factor leaves its map");
    let pieces = match place.spread {
        Spread::OverPixels => output.channels.div_ceil(SUM_TILES * LANES),
        _ => output.height,
    };
    let to = SendPtr(to.as_mut_ptr());
    let work = FactorGradient { output, dy, other, to, place, accumulate };
    for_each_piece(true, images * pieces, &work);
}

struct Products<'a> {
    output: Map,
    /// Of the box.
    channels: Span,
    terms: &'a [[Factor<'a>; 2]],
}

impl EachPixel for Products<'_> {
    #[inline(always)]
    fn of(&self, image: usize, row: usize, column: usize, y: &mut [f32]) {
        let pixel = row * self.output.width + column;
        let mut first = true;
        for [a, b] in self.terms {
            let a = a.run(image, pixel, self.channels);
            let b = b.run(image, pixel, self.channels);
            multiply(a, b, y, !std::mem::take(&mut first), f32::mul_add);
        }
    }
}

/// y = Σ of products of factors, one chain of fused multiply-adds from the first product on.
pub(crate) fn forward(ctx: &mut HostForward<'_>, terms: &[[Factor<'_>; 2]]) {
    let y = ctx.output();
    let work = Products { output: ctx.output_map(), channels: ctx.region.channels, terms };
    pixels::forward(ctx, y, &work);
}

/// y = a · b, or y = add(a, b, y).
#[inline(always)]
fn multiply(
    a: FactorRun<'_>,
    b: FactorRun<'_>,
    y: &mut [f32],
    accumulate: bool,
    add: impl Fn(f32, f32, f32) -> f32,
) {
    match (a, b) {
        (FactorRun::Each(a), FactorRun::Each(b)) => {
            let terms = y.iter_mut().zip(a).zip(b);
            if accumulate {
                terms.for_each(|((y, a), b)| *y = add(*a, *b, *y));
            } else {
                terms.for_each(|((y, a), b)| *y = a * b);
            }
        }
        (FactorRun::Each(each), FactorRun::One(one))
        | (FactorRun::One(one), FactorRun::Each(each)) => {
            let terms = y.iter_mut().zip(each);
            if accumulate {
                terms.for_each(|(y, each)| *y = add(*each, one, *y));
            } else {
                terms.for_each(|(y, each)| *y = each * one);
            }
        }
        (FactorRun::One(a), FactorRun::One(b)) => {
            for y in y {
                *y = if accumulate { add(a, b, *y) } else { a * b };
            }
        }
    }
}
