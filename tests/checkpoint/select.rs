//! Which tensors of a file are taken for a model's weights.

use std::collections::BTreeMap;
use std::fs;

use flipside::checkpoint::{
    Checkpoint, ModelFit, TensorView, Wanted, WeightsKind, write_safetensors,
};

use super::forge::{Entry, checkpoint, dict, together, values};
use super::{TINY, fixture};

const NAMES: [&str; 3] = ["conv.weight", "fc.weight", "fc.bias"];

fn fit(names: &[&str]) -> ModelFit {
    let found = names.iter().filter(|name| NAMES.contains(name)).count();
    match found {
        3 if names.len() == 3 => ModelFit::Wholly,
        3 => ModelFit::WithOthers,
        2.. => ModelFit::Partly,
        _ => ModelFit::No,
    }
}

fn read(entry: &Entry, kind: Option<WeightsKind>) -> Result<Checkpoint, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.pth");
    fs::write(&path, checkpoint(entry)).unwrap();
    Checkpoint::open_fitting(&path, &Wanted { kind, fit: &fit }).map_err(|error| error.to_string())
}

/// The first value of the weights that are read; there are no others beside them.
fn first(entry: &Entry, kind: Option<WeightsKind>) -> f32 {
    let checkpoint = read(entry, kind).unwrap();
    assert_eq!(checkpoint.keys().collect::<Vec<_>>(), NAMES);
    checkpoint.f32("conv.weight", &[1]).unwrap()[0]
}

fn plain(prefix: &str) -> Entry {
    values(prefix, &NAMES, 10.0)
}

fn average(prefix: &str) -> Entry {
    values(prefix, &NAMES, 20.0)
}

#[test]
fn weights_are_found_under_any_entry_and_any_shared_first_part() {
    for name in ["model", "state_dict", "module", "model_state_dict", "net", "weights", "whatever"]
    {
        let file = dict([("epoch", Entry::Value(3.0)), (name, plain(""))]);
        assert_eq!(first(&file, None), 10.0, "{name}");
    }
    for prefix in
        ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "model.backbone.", "x."]
    {
        assert_eq!(first(&plain(prefix), None), 10.0, "{prefix}");
        assert_eq!(first(&dict([("state_dict", plain(prefix))]), None), 10.0, "{prefix}");
    }
    let deep = dict([("checkpoint", dict([("model", dict([("state_dict", plain("module."))]))]))]);
    assert_eq!(first(&deep, None), 10.0);
    assert_eq!(
        read(&deep, None).unwrap().wrappers(),
        ["checkpoint", "model", "state_dict", "module"]
    );
    // A compiled part of the network.
    let inside = ["conv._orig_mod.weight", "fc._orig_mod.weight", "fc._orig_mod.bias"];
    assert_eq!(first(&values("", &inside, 5.0), None), 5.0);
    let error = read(&together([plain(""), values("_orig_mod.", &["fc.bias"], 1.0)]), None);
    assert!(error.unwrap_err().contains("`_orig_mod.fc.bias` stands for `fc.bias`"));
}

#[test]
fn the_average_is_read_where_it_is_asked_for_or_alone() {
    let (ema, plain_kind) = (Some(WeightsKind::Ema), Some(WeightsKind::Plain));
    let counted = |prefix: &str| together([average(prefix), values("", &["n_averaged"], 9.0)]);
    for (file, place) in [
        (dict([("model", plain("")), ("model_ema", counted("module."))]), "`model_ema.module`"),
        (dict([("state_dict", plain("")), ("state_dict_ema", average(""))]), "`state_dict_ema`"),
        (dict([("model", plain("module.")), ("ema", average("module."))]), "`ema.module`"),
        (
            dict([("net", plain("")), ("callbacks", dict([("EMA", dict([("w", average(""))]))]))]),
            "`callbacks.EMA.w`",
        ),
        (together([plain("model."), average("ema_model.")]), "`ema_model`"),
        (together([plain(""), average("ema.")]), "`ema`"),
        (
            together([
                plain("online."),
                average("ema.module."),
                values("", &["ema.n_averaged", "ema.decay", "step"], 1.0),
            ]),
            "`ema.module`",
        ),
    ] {
        assert_eq!(first(&file, None), 10.0, "{place}");
        assert_eq!(first(&file, plain_kind), 10.0, "{place}");
        assert_eq!(first(&file, ema), 20.0, "{place}");
        let note = |kind| read(&file, kind).unwrap().note().unwrap();
        assert!(
            note(None).contains("--weights ema") && note(None).contains(place),
            "{}",
            note(None)
        );
        assert!(
            note(ema).contains("--weights plain") && note(ema).contains(place),
            "{}",
            note(ema)
        );
        assert_eq!(read(&file, ema).unwrap().chosen_of_both(), ema);
    }
    for name in ["ema", "EMA", "model_ema", "ema_state_dict", "averaged_model", "swa_model"] {
        let file = dict([(name, average("module."))]);
        assert_eq!(first(&file, None), 20.0, "{name}");
        let alone = read(&file, None).unwrap();
        assert!(alone.note().unwrap().contains("moving average; there are no others"));
        assert_eq!(alone.chosen_of_both(), None);
        let error = read(&file, plain_kind).unwrap_err();
        assert!(error.contains("--weights plain") && error.contains(name), "{error}");
    }
    assert_eq!(first(&counted("module."), ema), 20.0);
    let only_plain = dict([("model", plain(""))]);
    assert!(read(&only_plain, None).unwrap().note().is_none());
    assert!(read(&only_plain, ema).unwrap_err().contains("--weights ema"));
}

/// As torchvision's and timm's training programs write them.
#[test]
fn both_kinds_come_out_of_training_checkpoints() {
    let names = TINY.map(|(name, _)| name);
    let fit = |found: &[&str]| match found.iter().filter(|name| names.contains(name)).count() {
        8 => ModelFit::Wholly,
        _ => ModelFit::No,
    };
    let path = fixture("torchvision_training.pth");
    let read = |kind| Checkpoint::open_fitting(&path, &Wanted { kind, fit: &fit }).unwrap();
    assert_eq!(read(None).wrappers(), ["model"]);
    let average = read(Some(WeightsKind::Ema));
    assert_eq!(average.wrappers(), ["model_ema", "module"]);
    assert_eq!(average.keys().collect::<Vec<_>>(), names);
    // Optimisers keep tensors of the weights' shapes, which aren't weights.
    let optimizer = dict([("optimizer", dict([("exp_avg", plain_named(&names))]))]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.pth");
    fs::write(&path, checkpoint(&optimizer)).unwrap();
    let error = Checkpoint::open_fitting(&path, &Wanted { kind: None, fit: &fit }).unwrap_err();
    assert!(error.to_string().contains("without a state dict"), "{error}");
}

fn plain_named(names: &[&str]) -> Entry {
    values("", names, 1.0)
}

#[test]
fn two_sets_that_fit_equally_are_refused_by_their_places() {
    for (file, places) in [
        (dict([("student", plain("")), ("teacher", average(""))]), ["`student`", "`teacher`"]),
        (dict([("model", plain("")), ("state_dict", average(""))]), ["`model`", "`state_dict`"]),
        (together([plain("student."), average("teacher.")]), ["`student`", "`teacher`"]),
    ] {
        let error = read(&file, None).unwrap_err();
        assert!(error.contains("two sets"), "{error}");
        assert!(places.iter().all(|place| error.contains(place)), "{error}");
    }
}

/// Of other values than [`plain`]'s, with a tensor that the model hasn't.
fn with_others(prefix: &str) -> Entry {
    together([average(prefix), values(prefix, &["queue"], 0.0)])
}

fn partial(prefix: &str) -> Entry {
    values(prefix, &NAMES[..2], 1.0)
}

#[test]
fn the_best_fit_is_refused_beside_another_that_may_be_meant() {
    // All of the weights and more, wherever they stand, under names or entries.
    for (file, places) in [
        (together([with_others("model."), plain("teacher.")]), ["`model`", "`teacher`"]),
        (together([plain("model."), with_others("teacher.")]), ["`model`", "`teacher`"]),
        (dict([("model", with_others("")), ("teacher", plain(""))]), ["`model`", "`teacher`"]),
        (dict([("teacher", with_others("")), ("student", plain(""))]), ["`teacher`", "`student`"]),
        (
            dict([("state_dict", together([with_others("model."), plain("teacher.")]))]),
            ["`state_dict.model`", "`state_dict.teacher`"],
        ),
        // Some of them, in a likelier place.
        (dict([("model", partial("")), ("teacher", plain(""))]), ["`model`", "`teacher`"]),
        (dict([("state_dict", plain("")), ("model", partial(""))]), ["`state_dict`", "`model`"]),
        (together([plain("teacher."), partial("net.")]), ["`teacher`", "`net`"]),
        (dict([("model", partial("module.")), ("net", plain(""))]), ["`model.module`", "`net`"]),
    ] {
        for kind in [None, Some(WeightsKind::Plain)] {
            let error = read(&file, kind).unwrap_err();
            assert!(error.contains("two sets of plain weights that may be meant"), "{error}");
            assert!(places.iter().all(|place| error.contains(place)), "{error}");
        }
    }
    let averages =
        dict([("ema", with_others("")), ("swa_model", average("")), ("model", plain(""))]);
    let error = read(&averages, Some(WeightsKind::Ema)).unwrap_err();
    assert!(error.contains("`ema`") && error.contains("`swa_model`"), "{error}");
    assert_eq!(first(&averages, None), 10.0);
}

#[test]
fn sets_that_fit_in_part_are_passed_over_with_a_word() {
    for (file, place) in [
        (dict([("part", partial("")), ("whole", plain(""))]), "`part`"),
        (dict([("part", partial("")), ("model", plain(""))]), "`part`"),
        (together([plain("model."), partial("teacher.")]), "`teacher`"),
        (dict([("net", partial("")), ("state_dict", plain(""))]), "`net`"),
    ] {
        assert_eq!(first(&file, None), 10.0);
        let read = read(&file, None).unwrap();
        let note = read.note().unwrap();
        assert!(note.contains("fit less well are passed over") && note.contains(place), "{note}");
        assert_eq!(read.chosen_of_both(), None);
    }
    let two = dict([("a", partial("")), ("b", partial("")), ("model", plain(""))]);
    assert!(read(&two, None).unwrap().note().unwrap().ends_with("under `a` and 1 more"));
    let ema = dict([("part", partial("")), ("whole", plain("")), ("ema", average(""))]);
    let note = read(&ema, None).unwrap().note().unwrap();
    assert!(note.contains("--weights ema") && note.contains("passed over, under `part`"), "{note}");
    // Weights with others beside them are read where nothing fits better, for the model to refuse.
    let keys = read(&dict([("part", partial("")), ("x", with_others(""))]), None).unwrap();
    assert!(keys.contains("queue"));
}

/// What the model hasn't is left for it to refuse.
#[test]
fn tensors_beside_the_weights_keep_their_names() {
    let beside = values("", &["criterion.weight"], 0.0);
    let file = dict([("state_dict", together([plain("model."), beside]))]);
    let keys: Vec<String> = read(&file, None).unwrap().keys().map(String::from).collect();
    assert_eq!(keys, ["conv.weight", "fc.weight", "fc.bias", "criterion.weight"]);
    let twice = together([plain("model."), values("", &["fc.bias"], 0.0)]);
    assert!(read(&twice, None).unwrap_err().contains("`fc.bias` twice"));
}

#[test]
fn safetensors_have_prefixes_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let write = |names: &[String]| {
        let tensors = names.iter().map(|name| (name.clone(), TensorView::f32(&[1], &[1.0])));
        write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
    };
    for prefix in ["module.", "_orig_mod.", "module._orig_mod."] {
        write(&NAMES.map(|name| format!("{prefix}{name}")));
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert!(NAMES.iter().all(|name| checkpoint.contains(name)), "{prefix}");
    }
    write(&NAMES.map(|name| format!("net.{name}")));
    assert!(Checkpoint::open(&path).unwrap().contains("net.fc.bias"));
    let fitting = Checkpoint::open_fitting(&path, &Wanted { kind: None, fit: &fit }).unwrap();
    assert!(NAMES.iter().all(|name| fitting.contains(name)));
    // Metadata alone.
    write(&[]);
    assert!(Checkpoint::open(&path).unwrap().is_empty());
    assert!(Checkpoint::open_fitting(&path, &Wanted { kind: None, fit: &fit }).unwrap().is_empty());
}
