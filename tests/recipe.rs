//! Recipes: what a file says and leaves out, learning rates, decays, what is refused.

use flipside::models::ModelFile;
use flipside::ops::{Init, Layout, ParamSpec, Role};
use flipside::recipe::{Ema, OptimizerKind, Recipe, Schedule};

fn recipe(schedule: Schedule, warmup_epochs: usize) -> Recipe {
    Recipe { warmup_epochs, ..Recipe::new(90, 32, 0.1, schedule) }
}

#[test]
fn step_schedule_is_a_staircase() {
    let recipe = recipe(Schedule::Step { every: 30, gamma: 0.1 }, 0);
    // torchvision's StepLR(30, 0.1): 0.1 in epochs 0 to 29, a tenth of it in each thirty after.
    for (epoch, rate) in [(0, 0.1), (29, 0.1), (30, 0.01), (59, 0.01), (60, 0.001), (89, 0.001)] {
        for step in [0, 6] {
            let found = recipe.learning_rate_at(epoch, step, 7);
            assert!((found - rate).abs() <= rate * 1e-6, "epoch {epoch}: {found}");
        }
    }
}

#[test]
fn cosine_schedule_follows_its_formula_after_the_warm_up() {
    let recipe = recipe(Schedule::Cosine { minimum: 1e-3 }, 10);
    let at = |t: usize| recipe.learning_rate_at(t / 7, t % 7, 7);
    let (warmup, total) = (70.0, 630.0);
    for t in 0..630 {
        let expected = if t < 70 {
            0.1 * (t as f64 + 1.0) / warmup
        } else {
            let phase = std::f64::consts::PI * (t as f64 - warmup) / (total - warmup);
            1e-3 + (0.1 - 1e-3) * 0.5 * (1.0 + phase.cos())
        };
        assert!((at(t) - expected).abs() <= 1e-7 * expected, "step {t}");
    }
    // By hand: the first step, the end of the warm-up, the middle of the cosine.
    assert!((at(0) - 0.1 / 70.0).abs() < 1e-9);
    assert!((at(69) - 0.1).abs() < 1e-8 && (at(70) - 0.1).abs() < 1e-8);
    assert!((at(350) - 0.0505).abs() < 1e-8);
}

/// torchvision's recipe of swin_v2_t warms up from a hundredth. At s = 0.01 and W = 70 steps, by hand:
/// 0.1·(0.01 + 0.99·(t + 1)/70).
#[test]
fn a_warm_up_may_start_above_zero() {
    let mut recipe = recipe(Schedule::Cosine { minimum: 0.0 }, 10);
    recipe.warmup_start = 0.01;
    for (t, expected) in [(0, 0.002_414_285_7), (34, 0.0505), (69, 0.1), (70, 0.1)] {
        let found = recipe.learning_rate_at(t / 7, t % 7, 7);
        assert!((found - expected).abs() < 1e-8, "step {t}: {found}");
    }
}

const REQUIRED: &str = "epochs = 3\nbatch = 16\nlearning_rate = 0.1\n";

fn parse(fields: &str) -> Result<Recipe, String> {
    let text = format!("{REQUIRED}{fields}\nschedule = {{ kind = \"cosine\" }}\n");
    toml::from_str(&text).map_err(|error| error.message().to_string())
}

#[test]
fn what_a_file_leaves_out_is_what_a_new_recipe_has() {
    let new = Recipe::new(3, 16, 0.1, Schedule::Cosine { minimum: 0.0 });
    assert_eq!(parse("").unwrap(), new);
    new.check().unwrap();
}

/// torchvision's recipe of swin_v2_t, as far as a recipe says it.
#[test]
fn a_file_can_say_all_of_the_swin_recipe() {
    let text = r#"
epochs = 300
batch = 256
learning_rate = 1e-3
optimizer = "adamw"
betas = [0.9, 0.999]
eps = 1e-8
weight_decay = 0.05
norm_weight_decay = 0.0
bias_weight_decay = 0.0
position_weight_decay = 0.0
clip_grad_norm = 5.0
label_smoothing = 0.1
warmup_epochs = 20
warmup_start = 0.01
ema = { decay = 0.99998, steps = 32 }
schedule = { kind = "cosine", minimum = 1e-5 }
"#;
    let recipe: Recipe = toml::from_str(text).unwrap();
    recipe.check().unwrap();
    let expected = Recipe {
        optimizer: OptimizerKind::AdamW,
        weight_decay: 0.05,
        norm_weight_decay: Some(0.0),
        bias_weight_decay: Some(0.0),
        position_weight_decay: Some(0.0),
        clip_grad_norm: Some(5.0),
        label_smoothing: 0.1,
        warmup_epochs: 20,
        warmup_start: 0.01,
        ema: Some(Ema { decay: 0.99998, steps: 32 }),
        ..Recipe::new(300, 256, 1e-3, Schedule::Cosine { minimum: 1e-5 })
    };
    assert_eq!(recipe, expected);
    // What a snapshot keeps of it comes back.
    let json = serde_json::to_string(&recipe).unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
}

#[test]
fn a_word_that_no_recipe_has_is_refused() {
    for (field, part) in [
        ("optimizer = \"adam\"", "adamw"),
        ("optimiser = \"adamw\"", "optimiser"),
        ("betas = [0.9]", "2"),
    ] {
        let error = parse(field).unwrap_err();
        assert!(error.contains(part), "{field}: {error}");
    }
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    for (field, name) in [
        ("momentum = 1.0", "momentum"),
        ("momentum = nan", "momentum"),
        ("nesterov = true", "nesterov"),
        ("betas = [0.9, 1.0]", "betas"),
        ("betas = [-0.1, 0.9]", "betas"),
        ("eps = 0.0", "eps"),
        ("eps = 1e-60", "eps"),
        ("weight_decay = -1e-4", "weight_decay"),
        ("norm_weight_decay = 1.0", "norm_weight_decay"),
        ("bias_weight_decay = inf", "bias_weight_decay"),
        ("position_weight_decay = nan", "position_weight_decay"),
        ("clip_grad_norm = 0.0", "clip_grad_norm"),
        ("clip_grad_norm = inf", "clip_grad_norm"),
        ("label_smoothing = 1.0", "label_smoothing"),
        ("warmup_start = 1.0", "warmup_start"),
        ("ema = { decay = 1.0, steps = 32 }", "ema.decay"),
        ("ema = { decay = 0.9, steps = 0 }", "ema.steps"),
    ] {
        let error = parse(field).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(&format!("recipe: {name} ")), "{field}: {error}");
    }
    for (schedule, name) in [
        (Schedule::Step { every: 0, gamma: 0.1 }, "schedule.every"),
        (Schedule::Step { every: 30, gamma: -0.1 }, "schedule.gamma"),
        (Schedule::Cosine { minimum: 0.2 }, "schedule.minimum"),
        (Schedule::Cosine { minimum: f64::NAN }, "schedule.minimum"),
    ] {
        let error = recipe(schedule, 0).check().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

/// torchvision's adjustment, by hand: 1 − 0.99998 times 256·32/300, and never above 1.
#[test]
fn the_share_of_an_average_follows_batch_and_epochs() {
    let new = |epochs, batch| Recipe::new(epochs, batch, 0.1, Schedule::Cosine { minimum: 0.0 });
    let share = new(300, 256).ema_share(Ema { decay: 0.99998, steps: 32 });
    assert!((share - 5.461_333e-4).abs() < 1e-9, "{share}");
    assert_eq!(new(1, 256).ema_share(Ema { decay: 0.9, steps: 32 }), 1.0);
}

/// torchvision's `set_weight_decay`: a parameter called `bias` goes with the biases whatever its
/// module, if they have a decay of their own; else with its module's kind.
#[test]
fn decays_are_those_of_torchvisions_groups() {
    let decay = |recipe: &Recipe, name, role| {
        let (layout, init) = (Layout::Plain, Init::Constant(0.0));
        recipe.decay_of(&ParamSpec { name, shape: vec![4], role, layout, init })
    };
    let all = |recipe: &Recipe| {
        [
            decay(recipe, "weight", Role::Weight),
            decay(recipe, "bias", Role::Bias),
            decay(recipe, "weight", Role::Norm),
            decay(recipe, "bias", Role::Norm),
            decay(recipe, "logit_scale", Role::Scale),
            decay(recipe, "relative_position_bias_table", Role::Position),
        ]
    };
    let mut recipe = recipe(Schedule::Cosine { minimum: 0.0 }, 0);
    recipe.weight_decay = 0.5;
    assert_eq!(all(&recipe), [0.5; 6]);
    recipe.norm_weight_decay = Some(0.25);
    assert_eq!(all(&recipe), [0.5, 0.5, 0.25, 0.25, 0.5, 0.5]);
    recipe.position_weight_decay = Some(0.0);
    assert_eq!(all(&recipe), [0.5, 0.5, 0.25, 0.25, 0.5, 0.0]);
    recipe.bias_weight_decay = Some(0.125);
    assert_eq!(all(&recipe), [0.5, 0.125, 0.25, 0.125, 0.5, 0.0]);
    recipe.norm_weight_decay = None;
    assert_eq!(all(&recipe), [0.5, 0.125, 0.5, 0.125, 0.5, 0.0]);
}

/// A recipe's file gives it back, with decimals as people write them.
#[test]
fn recipes_come_back_from_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    for name in ["resnet18", "resnet_small", "swin_v2_t", "maxvit_t", "focalnet_tiny"] {
        let recipe = ModelFile::open(name).unwrap().recipe().unwrap().clone();
        let text = recipe.to_toml().unwrap();
        std::fs::write(&path, &text).unwrap();
        assert_eq!(Recipe::open(&path).unwrap(), recipe, "{text}");
        let digits = |word: &str| word.chars().filter(char::is_ascii_digit).count();
        assert!(text.split_whitespace().all(|word| digits(word) < 12), "{text}");
    }
    std::fs::write(&path, "[recipe]\nepochs = 3\nbatches = 4\n").unwrap();
    let error = Recipe::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("recipe.toml: isn't a recipe: line 3: unknown field `batches`"),
        "{error}"
    );
    // Of kinds without numbers, too.
    let of = |what: &str| {
        let text = "[recipe]\nepochs = 3\nbatch = 4\nlearning_rate = 0.1\n";
        std::fs::write(&path, format!("{text}{what}\n")).unwrap();
        Recipe::open(&path).map_err(|error| error.to_string())
    };
    of("schedule = { kind = \"constant\" }\nloss = { kind = \"cross-entropy\" }").unwrap();
    let error = of("schedule = { kind = \"constant\", gamma = 3.0 }").unwrap_err();
    assert!(error.contains("unknown field `gamma`"), "{error}");
    let loss = "loss = { kind = \"cross-entropy\", sum = true }";
    let error = of(&format!("schedule = {{ kind = \"constant\" }}\n{loss}")).unwrap_err();
    assert!(error.contains("unknown field `sum`"), "{error}");
    std::fs::write(&path, "family = \"resnet\"\n").unwrap();
    let error = Recipe::open(&path).unwrap_err().to_string();
    assert!(error.contains("unknown field `family`"), "{error}");
}

#[test]
fn a_recipe_by_another_optimizer_has_that_one_s_numbers() {
    let sgd = Recipe { momentum: 0.9, nesterov: true, ..recipe(Schedule::Constant {}, 0) };
    let adamw = sgd.clone().with_optimizer(OptimizerKind::AdamW);
    adamw.check().unwrap();
    assert_eq!((adamw.momentum, adamw.nesterov), (0.0, false));
    let rmsprop = Recipe { alpha: 0.5, ..sgd.clone().with_optimizer(OptimizerKind::RmsProp) };
    rmsprop.check().unwrap();
    assert_eq!(rmsprop.momentum, 0.9);
    assert_eq!(rmsprop.with_optimizer(OptimizerKind::RmsPropTf).alpha, Recipe::ALPHA);
    for (recipe, part) in [
        (Recipe { optimizer: OptimizerKind::AdamW, nesterov: false, ..sgd.clone() }, "momentum"),
        (Recipe { betas: [0.5, 0.9], ..sgd.clone() }, "betas"),
        (Recipe { eps: 0.1, ..sgd.clone() }, "eps"),
        (Recipe { alpha: 0.5, ..sgd.clone() }, "alpha"),
        (Recipe { centered: true, ..sgd.clone() }, "centered"),
    ] {
        let error = recipe.check().unwrap_err().to_string();
        assert!(error.contains(&format!("{part} has no effect with optimizer")), "{error}");
    }
}

#[test]
fn the_rate_is_in_proportion_to_the_images_of_a_step() {
    let mut recipe = recipe(Schedule::Constant {}, 0);
    assert_eq!(recipe.rate_factor(64), 1.0);
    recipe.learning_rate_batch = Some(256);
    assert_eq!([64, 256, 512].map(|images| recipe.rate_factor(images)), [0.25, 1.0, 2.0]);
}
