//! The input that a network's images are.

use std::collections::HashMap;

use crate::onnx::array::{FLOAT, Folded, type_name};
use crate::onnx::graph::NamedArray;
use crate::onnx::proto;

/// The input that isn't a constant: the images. Files of version 3 and before name their constants as
/// inputs, too.
///
/// # Errors
/// None, or several.
pub fn image<'m>(
    model: &'m proto::ModelProto,
    constants: &HashMap<String, NamedArray>,
) -> Folded<&'m proto::ValueInfoProto> {
    let graph = model.graph.as_ref().ok_or("holds no graph")?;
    let images: Vec<&proto::ValueInfoProto> =
        graph.input.iter().filter(|input| !constants.contains_key(&input.name)).collect();
    match images[..] {
        [image] => Ok(image),
        _ => Err(format!("has {} inputs; a network of one, the images, is taken", images.len())),
    }
}

/// What a file says of its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSizes {
    pub channels: Option<usize>,
    /// Height and width, where it was exported for one size.
    pub size: [Option<usize>; 2],
    /// Whether they are images × height × width × channels, as TensorFlow's converters leave them.
    pub channels_last: bool,
}

/// The sizes of the images, as far as the file says.
///
/// # Errors
/// Images that aren't four dimensions of float32; a batch other than one.
pub fn image_sizes(image: &proto::ValueInfoProto) -> Folded<ImageSizes> {
    let tensor = image.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let tensor = tensor.ok_or("has an input that isn't a tensor")?;
    if tensor.elem_type != FLOAT {
        let name = type_name(tensor.elem_type);
        return Err(format!("takes images of {name}: export the network in float32"));
    }
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let size =
        |dim: &proto::DimensionProto| dim.value.and_then(|value| usize::try_from(value).ok());
    let sizes: Vec<Option<usize>> = dims.iter().map(|dim| size(dim).filter(|s| *s > 0)).collect();
    let [batch, first, second, third] = sizes[..] else {
        return Err(format!(
            "takes an input of {} dimensions, not images × channels × height × width",
            dims.len()
        ));
    };
    let channels_last = third == Some(3) && first != Some(3);
    match batch {
        None | Some(1) if channels_last => {
            Ok(ImageSizes { channels: third, size: [first, second], channels_last })
        }
        None | Some(1) => Ok(ImageSizes { channels: first, size: [second, third], channels_last }),
        Some(batch) => Err(format!(
            "was exported for batches of {batch}: export it for one image, or with an open batch dimension"
        )),
    }
}

/// The shape of the images: a batch of one.
pub fn image_dims(
    image: &proto::ValueInfoProto,
    [rows, columns]: [usize; 2],
) -> Folded<Vec<usize>> {
    let ImageSizes { channels, size: [height, width], channels_last } = image_sizes(image)?;
    let channels = channels.ok_or("leaves the number of its images' channels open")?;
    let fixed = |own: Option<usize>, asked: usize| own.is_none_or(|own| own == asked);
    if !fixed(height, rows) || !fixed(width, columns) {
        let told = |size: Option<usize>| size.map_or("any".into(), |size| size.to_string());
        return Err(format!(
            "was exported for images of {}×{}, not {rows}×{columns}",
            told(height),
            told(width)
        ));
    }
    Ok(match channels_last {
        true => vec![1, rows, columns, channels],
        false => vec![1, channels, rows, columns],
    })
}
