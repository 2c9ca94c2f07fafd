//! Model files: which image sizes each takes, files of a user's own, and what the tables say.

use std::fs;

use flipside::models::{Model, ModelFile, names};
use flipside::nn::Head;
use flipside::report::{HeadCost, ModelLayer, ModelRow};
use flipside::{Error, Result};

fn record(name: &str, side: usize) -> Result<Model> {
    Model::new(&ModelFile::open(name)?, Head::text_guided(512), 100, side, 0.0)
}

/// Sizes of CIFAR and STL10, and one that nothing divides.
#[test]
fn small_images_are_taken_or_refused_in_one_sentence() {
    for name in names() {
        for side in [32, 96, 75] {
            let takes = match name {
                "alexnet" => side >= 63,
                "maxvit_t" => false,
                _ => true,
            };
            match record(name, side) {
                Ok(model) => {
                    assert!(takes, "{name} took {side}");
                    assert_eq!(model.tape.node(model.logits).spec.map.channels, 100);
                }
                Err(error) => {
                    assert!(!takes, "{name} at {side}: {error}");
                    let text = error.to_string();
                    assert!(matches!(error, Error::Shape { .. }), "{text}");
                    assert!(text.contains("backbone."), "which layer: {text}");
                }
            }
        }
    }
    let text = record("maxvit_t", 96).unwrap_err().to_string();
    assert!(text.contains("24×24 isn't made of whole partitions of 7×7"), "{text}");
    assert!(record("vgg16_bn", 16).unwrap_err().to_string().contains("doesn't fit"));
    assert!(record("maxvit_t", 448).is_ok());
}

const REST: &str = r#"
[input]
size = 32
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[recipe]
epochs = 1
batch = 8
learning_rate = 0.05
schedule = { kind = "cosine" }
"#;

pub fn own(architecture: &str, side: usize) -> Result<Model> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.toml");
    fs::write(&path, format!("{architecture}{REST}")).unwrap();
    let file = ModelFile::open(path.to_str().unwrap())?;
    Model::new(&file, Head::Baseline, 10, side, 0.0)
}

pub const SWIN: &str = "family = \"swin_v2\"\n[architecture]\npatch = 2\nwidth = 12\nstages = [1, 2]\n\
                    heads = [3, 4]\nwindow = 4\nmlp_ratio = 2.0\nstochastic_depth = 0.1\n";

pub const MOBILENET: &str = "family = \"mobilenet_v2\"\n[architecture]\nwidth = 0.35\nstem = 32\n\
                     stem_stride = 1\nlast = 1280\ndropout = 0.1\nstages = [\n\
                     { expansion = 1, channels = 16, blocks = 1, stride = 1 },\n\
                     { expansion = 6, channels = 24, blocks = 2, stride = 2 },\n]\n";

#[test]
fn files_of_ones_own_are_models() {
    // A ResNet-20 for CIFAR: 3·(3·2) + 2 weighted layers and two projections.
    let resnet = "family = \"resnet\"\n[architecture]\nblock = \"basic\"\nstages = [3, 3, 3]\n\
                  widths = [16, 32, 64]\nstem = \"small\"\n";
    assert_eq!(own(resnet, 32).unwrap().tape.injectable().len(), 22);
    let model = own(MOBILENET, 32).unwrap();
    let widths: Vec<usize> = model
        .tape
        .injectable()
        .iter()
        .map(|layer| model.tape.node(layer.node).spec.map.channels)
        .collect();
    // 32·0.35 and 16·0.35 and 24·0.35 to multiples of eight; the last layer isn't made narrower.
    assert_eq!(widths, [16, 16, 8, 48, 48, 8, 48, 48, 8, 1280, 10]);
    assert!(own(SWIN, 32).is_ok());
    let maxvit = "family = \"maxvit\"\n[architecture]\nstem = 8\nstages = [1, 1]\nwidths = [8, 16]\n\
                  partition = 2\nhead_width = 4\nexpansion = 2.0\nsqueeze = 0.5\nmlp_ratio = 2.0\n\
                  stochastic_depth = 0.0\n";
    assert!(own(maxvit, 32).is_ok());
    let focalnet = "family = \"focalnet\"\n[architecture]\npatch = 4\nwidth = 8\nstages = [1, 1]\n\
                    levels = [1, 3]\nwindows = [3, 5]\nmlp_ratio = 2.0\nstochastic_depth = 0.0\n";
    assert!(own(focalnet, 32).is_ok());
}

/// A file without a recipe is a model that can't be trained.
#[test]
fn a_recipe_is_for_training_alone() {
    let text = format!("{SWIN}{REST}");
    let (before, _) = text.split_once("[recipe]").unwrap();
    let path = std::path::Path::new("own.toml");
    let file = ModelFile::parse("own", before, path).unwrap();
    assert!(Model::new(&file, Head::Baseline, 10, 32, 0.0).is_ok());
    let error = file.recipe().unwrap_err().to_string();
    assert!(error.contains("'own'") && error.contains("[recipe]"), "{error}");
    let whole = ModelFile::parse("own", &text, path).unwrap();
    assert_eq!(whole.recipe().unwrap().epochs, 1);
}

#[test]
fn numbers_that_no_network_has_are_refused() {
    for (from, to, said) in [
        ("window = 4", "window = 1", "between 2 and 32"),
        ("width = 12", "width = 0", "width is 0"),
        ("width = 12", "width = 65536", "width of the last stage"),
        ("heads = [3, 4]", "heads = [5, 4]", "12 channels can't be shared by 5 heads"),
        ("heads = [3, 4]", "heads = [3]", "heads has 1 entries for 2 stages"),
        ("stages = [1, 2]", "stages = [1, 0]", "stages is 0"),
        ("stages = [1, 2]", "stages = [1, 5000]", "stages is 5000"),
        ("mlp_ratio = 2.0", "mlp_ratio = nan", "mlp_ratio of NaN"),
        ("mlp_ratio = 2.0", "mlp_ratio = 1e9", "mlp_ratio of 1000000000"),
        ("stochastic_depth = 0.1", "stochastic_depth = 1.0", "stochastic_depth is 1"),
        ("patch = 2", "patch = 0", "is 0; it lies between 1 and"),
        ("patch = 2", "patsch = 2", "unknown field `patsch`"),
    ] {
        assert!(SWIN.contains(from));
        let text = own(&SWIN.replace(from, to), 32).unwrap_err().to_string();
        assert!(text.contains(said), "{to}: {text}");
        assert!(text.contains("own"), "which file: {text}");
    }
}

/// A matrix and its bias, or two matrices and the scale; MaxViT's last layer has no bias.
#[test]
fn heads_cost_what_their_matrices_hold() {
    for (name, features, bias) in
        [("resnet50", 2048, 1), ("resnet18", 512, 1), ("maxvit_t", 512, 0)]
    {
        let file = ModelFile::open(name).unwrap();
        let of = |head| Model::new(&file, head, 1000, 224, 0.0).unwrap();
        let costs = HeadCost::of(&of(Head::Baseline), &of(Head::text_guided(512)));
        let [baseline, guided] = &costs[..] else { panic!("{costs:?}") };
        assert_eq!((&*baseline.head, &*guided.head), ("baseline", "text-guided 512"));
        assert_eq!([baseline.features, guided.features], [features; 2]);
        let (one, two) = (features * 1000, features * 512 + 512 * 1000);
        assert_eq!((baseline.parameters, baseline.macs), (one + bias * 1000, one as u64), "{name}");
        assert_eq!((guided.parameters, guided.macs), (two + bias * 512 + 1, two as u64), "{name}");
    }
}

/// torchvision's numbers of parameters, multiply-accumulates as its documentation lists them (in
/// units of 10⁹), and the layers whose forward hooks fire: 24 of Swin V2's 77 never do.
#[test]
fn tables_say_what_torchvision_does() {
    for (name, parameters, gmacs, hooked) in [
        ("alexnet", 61_100_840, 0.71, 8),
        ("vgg16_bn", 138_365_992, 15.47, 16),
        ("resnet50", 25_557_032, 4.09, 54),
        ("mobilenet_v2", 3_504_872, 0.30, 53),
        ("maxvit_t", 30_919_624, 5.56, 151),
        ("swin_v2_t", 28_351_570, 5.94, 53),
    ] {
        let file = ModelFile::open(name).unwrap();
        let model = Model::new(&file, Head::Baseline, 1000, file.input.size, 0.0).unwrap();
        let row = ModelRow::of(name, &model);
        assert_eq!((row.parameters, row.hooked_layers), (parameters, hooked), "{name}");
        assert!((row.macs as f64 / 1e9 - gmacs).abs() < 0.006, "{name}: {}", row.macs);
        let layers = ModelLayer::of(&model);
        let counted = layers.iter().map(|layer| layer.accumulator_sites).sum::<u64>();
        assert_eq!(counted, layers.iter().map(|layer| layer.macs).sum::<u64>(), "{name}");
        if name == "swin_v2_t" {
            assert_eq!(layers.len(), 77);
            let unseen: Vec<_> = layers.iter().filter(|layer| !layer.goldeneye).collect();
            assert_eq!(unseen.len(), 24);
            let functional = |name: &str| name.ends_with("attn.qkv") || name.ends_with("attn.proj");
            assert!(unseen.iter().all(|layer| layer.strict && functional(&layer.layer)));
            assert_eq!(layers.iter().filter(|layer| !layer.strict).count(), 24, "of all images");
        }
    }
}
