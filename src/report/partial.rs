//! What is said above the figures of a campaign that isn't complete.

use serde_json::{Value, json};

use super::sheet::{BY_FORMAT, Sheet, View};
use crate::campaign::Partial;
use crate::error::{MOST_NAMED, some_of};
use crate::plan::Shard;

/// What the figures below are of.
pub fn partial_text(partial: &Partial, view: View) -> String {
    let mut sheet = Sheet::new(view);
    sheet.prose(&words(partial));
    sheet.gap();
    sheet.finish(BY_FORMAT)
}

fn words(partial: &Partial) -> String {
    let Partial { images: [done, images], injections: [there, all], shards, is_complete } = partial;
    if *is_complete {
        return "Complete: the figures are those of the whole campaign.".into();
    }
    let of = shards.first().map_or(1, |shard| shard.of);
    let names: Vec<String> = shards.iter().map(Shard::to_string).collect();
    let which = match of {
        1 => String::new(),
        _ => format!(" of shard {}", some_of(&names, MOST_NAMED)),
    };
    format!(
        "PARTIAL: {there} of the {all} injections{which}, all of those into {done} of the {images} images that are hit. The \
         figures are of faults in these {done} images, and not the campaign's."
    )
}

/// The same for machines.
pub fn partial_json(partial: &Partial) -> Value {
    let Partial { images, injections, shards, is_complete } = partial;
    json!({
        "is_complete": is_complete,
        "images": images[0],
        "of_images": images[1],
        "injections": injections[0],
        "of_injections": injections[1],
        "shards": shards,
    })
}
