//! Which steps a reproduction has: its rows and seeds as blocks of commands.

use std::path::Path;

use super::flags::Args;
use super::small::{self, BuiltIn, SmallFile, path_text};
use super::sources::{
    Lack, SetPaths, candidates, checkpoint, wanted, wanted_data, wanted_features,
};
use super::step::{CommandStep, StepBlock, StepOutput, StepWork};
use crate::nn::HEAD_ROWS;
use crate::reproduce::{Arm, CampaignKind, ReproductionFolder, ReproductionScale, RowName, RowSet};
use crate::{Error, Result};

/// A network: where its weights lie, and what makes them.
struct RowNetwork {
    arm: Arm,
    checkpoint: String,
    /// `--model`, where the checkpoint doesn't name one that comes with the program.
    model: Option<String>,
    training: Option<CommandStep>,
}

/// What is asked for, with what was found for it.
pub struct AskedReproduction<'a> {
    pub args: &'a Args,
    pub rows: Vec<RowName>,
    pub seeds: Vec<u64>,
    pub folder: ReproductionFolder,
    pub data: SetPaths,
    pub text_features: SetPaths,
    pub template_features: SetPaths,
    pub class_lists: SetPaths,
}

impl<'a> AskedReproduction<'a> {
    /// What the flags ask for.
    ///
    /// # Errors
    /// Rows that don't exist, paths that don't belong to them, flags without an effect.
    pub fn new(
        args: &'a Args,
        rows: Vec<RowName>,
        seeds: Vec<u64>,
    ) -> Result<AskedReproduction<'a>> {
        let mut sets: Vec<RowSet> = rows.iter().map(|row| row.set).collect();
        sets.dedup();
        let paths = |flag, given: &_, is_data| SetPaths::new(flag, given, &sets, is_data);
        Ok(AskedReproduction {
            data: paths("--data", &args.data, true)?,
            text_features: paths("--text-features", &args.text_features, false)?,
            template_features: paths("--template-features", &args.template_features, false)?,
            class_lists: paths("--class-list", &args.class_list, false)?,
            folder: ReproductionFolder::new(&args.out),
            args,
            rows,
            seeds,
        })
    }

    /// Whether the images are the program's own.
    pub fn is_built_in(&self) -> bool {
        self.args.scale == ReproductionScale::Small && self.data.of(RowSet::Small).is_none()
    }

    fn built_in(&self) -> BuiltIn {
        BuiltIn::below(self.folder.root())
    }

    /// The rows whose ablation is asked for: the first one, since its networks are many.
    pub fn ablated(&self) -> Vec<RowName> {
        self.rows.first().filter(|_| self.args.ablate()).cloned().into_iter().collect()
    }

    /// All blocks, in order.
    ///
    /// # Errors
    /// Paths that aren't text, checkpoints that aren't told apart, the disk.
    pub fn blocks(&self) -> Result<Vec<StepBlock>> {
        let mut blocks = Vec::new();
        if self.is_built_in() {
            blocks.push(self.preparation()?);
        }
        for row in &self.rows {
            for seed in &self.seeds {
                // Rows but the ablated one have one seed unless more are asked for.
                let is_first = Some(seed) == self.seeds.first();
                if is_first || self.args.seeds.is_some() || self.ablated().contains(row) {
                    blocks.push(self.block(row, *seed)?);
                }
            }
        }
        Ok(blocks)
    }

    /// The built-in images and their text features.
    fn preparation(&self) -> Result<StepBlock> {
        let at = self.built_in();
        let [train, test] = small::IMAGES;
        let (classes, descriptions) =
            (at.data.join("classes.tsv"), at.data.join("descriptions.jsonl"));
        let out = |path: &Path| Ok::<_, Error>(format!("--out={}", path_text(path)?));
        let classes = format!("--classes={}", path_text(&classes)?);
        let embed = |texts: &Path, to: &Path| -> Result<Vec<String>> {
            let texts = format!("--descriptions={}", path_text(texts)?);
            let hashing = format!("--hashing={}", small::WIDTH);
            Ok(vec!["embed".into(), texts, hashing, classes.clone(), out(to)?])
        };
        let step = |name: &str, words: Vec<String>, made: &Path| CommandStep {
            name: name.into(),
            words,
            beside: Vec::new(),
            made: StepOutput::Path(made.into()),
            needs: None,
            work: StepWork::Little,
            prunes: false,
        };
        let synthesize = vec![
            "data".into(),
            "synthesize".into(),
            out(&at.data)?,
            format!("--train={train}"),
            format!("--test={test}"),
        ];
        let prompts = vec!["prompts".into(), "--plain".into(), classes.clone(), out(&at.template)?];
        let mut steps = vec![
            step("draw the built-in images", synthesize, &at.data),
            step(
                "text features from descriptions",
                embed(&descriptions, &at.features)?,
                &at.features,
            ),
        ];
        if self.args.ablate() {
            let features = embed(&at.template, &at.template_features)?;
            steps.push(step("the template's sentences", prompts, &at.template));
            steps.push(step("text features from the template", features, &at.template_features));
        }
        for step in &mut steps {
            if step.words[0] == "data" || step.words[0] == "embed" {
                step.beside.push("--quiet".into());
            }
        }
        Ok(StepBlock {
            row: None,
            folder: self.folder.root().join("built-in"),
            steps,
            files: Vec::new(),
            missing: Vec::new(),
        })
    }

    fn block(&self, row: &RowName, seed: u64) -> Result<StepBlock> {
        let mut missing = Vec::new();
        let data = match self.data.of(row.set) {
            Some(path) => Some(path_text(path)?),
            None if self.is_built_in() => Some(path_text(&self.built_in().data)?),
            None => {
                missing.push(wanted_data(self.args.scale, row.set));
                None
            }
        };
        let data = data.unwrap_or_else(|| "DIR".into());
        let arms = if self.ablated().contains(row) { self.arms(row) } else { Arm::MAIN.to_vec() };
        let mut sources = Vec::new();
        for arm in arms {
            sources.extend(self.source(row, seed, arm, &data, &mut missing)?);
        }
        let mut steps: Vec<CommandStep> =
            sources.iter().filter_map(|source| source.training.clone()).collect();
        let main: Vec<&RowNetwork> =
            sources.iter().filter(|source| Arm::MAIN.contains(&source.arm)).collect();
        let all: Vec<&RowNetwork> = sources.iter().collect();
        for kind in [CampaignKind::Goldeneye, CampaignKind::Strict, CampaignKind::Ablation] {
            let networks = match kind {
                CampaignKind::Ablation if all.len() == main.len() => continue,
                CampaignKind::Ablation => &all,
                _ => &main,
            };
            for source in networks {
                steps.push(self.campaign(row, seed, kind, source, networks, &data)?);
            }
        }
        if let ([a, b], true) = (main.as_slice(), self.args.pictures()) {
            steps.push(self.pictures(row, seed, a, b, &data)?);
        }
        Ok(StepBlock {
            row: Some((row.clone(), seed)),
            folder: self.folder.seed(row, seed),
            steps,
            files: self.files(row)?,
            missing,
        })
    }

    /// The networks of an ablation.
    fn arms(&self, row: &RowName) -> Vec<Arm> {
        let has_template = self.is_built_in() || self.template_features.of(row.set).is_some();
        let mut arms = Arm::MAIN.to_vec();
        if !self.trains() {
            return arms;
        }
        arms.push(Arm::RandomRows);
        arms.extend(Some(Arm::TemplateRows).filter(|_| has_template));
        arms.extend([Arm::Unnormalized, Arm::FrozenRows]);
        arms
    }

    /// Whether networks are trained that aren't there.
    fn trains(&self) -> bool {
        self.args.train || self.args.scale == ReproductionScale::Small
    }

    /// Where a network comes from; `None` where it can't be had, which `missing` says.
    fn source(
        &self,
        row: &RowName,
        seed: u64,
        arm: Arm,
        data: &str,
        missing: &mut Vec<Lack>,
    ) -> Result<Option<RowNetwork>> {
        let folder = self.args.checkpoints.as_deref();
        if let (Some(folder), true) = (folder, Arm::MAIN.contains(&arm))
            && let Some(found) = checkpoint(folder, row, arm)?
        {
            let (checkpoint, model) = (path_text(&found)?, Some(row.model.clone()));
            return Ok(Some(RowNetwork { arm, checkpoint, model, training: None }));
        }
        if !self.trains() {
            missing.push(wanted(folder, row, arm));
            // What would be run is still said.
            let folder = folder.unwrap_or(Path::new("CHECKPOINTS"));
            let named = candidates(row, arm).into_iter().next().unwrap_or_default();
            let (checkpoint, model) = (path_text(&folder.join(named))?, Some(row.model.clone()));
            return Ok(Some(RowNetwork { arm, checkpoint, model, training: None }));
        }
        let to = self.folder.training(row, seed, arm);
        let size = self.image_size(row);
        let file = self.small_model(row)?;
        let model = match &file {
            Some(file) => path_text(&file.path)?,
            None => row.model.clone(),
        };
        let Some(mut words) = self.head_words(row, arm, missing)? else { return Ok(None) };
        let mut first = vec![
            "train".into(),
            format!("--model={model}"),
            format!("--data={data}"),
            format!("--out={}", path_text(&to)?),
            format!("--seed={seed}"),
        ];
        first.extend(size.map(|size| format!("--image-size={size}")));
        match &self.args.recipe {
            Some(recipe) => first.push(format!("--recipe={}", path_text(recipe)?)),
            None if self.args.scale == ReproductionScale::Small => {
                let recipe = small::recipe(self.folder.root(), &row.model)?;
                first.push(format!("--recipe={}", path_text(&recipe.path)?));
            }
            None => {}
        }
        first.extend(self.args.epochs.map(|epochs| format!("--epochs={epochs}")));
        if let Some(list) = self.class_lists.of(row.set) {
            first.push(format!("--class-list={}", path_text(list)?));
        }
        first.append(&mut words);
        let training = CommandStep {
            name: format!("train {}", arm.slug()),
            words: self.with_run(first),
            beside: self.beside(true),
            made: StepOutput::Training(to.clone()),
            needs: None,
            work: StepWork::Training,
            prunes: self.args.scale == ReproductionScale::Small,
        };
        let checkpoint = path_text(&to.join("model.safetensors"))?;
        let model = Some(model).filter(|model| *model != row.model);
        Ok(Some(RowNetwork { arm, checkpoint, model, training: Some(training) }))
    }

    /// The model's file at the small scale, where it is a smaller one.
    fn small_model(&self, row: &RowName) -> Result<Option<SmallFile>> {
        match (self.image_size(row), self.args.scale) {
            (Some(size), ReproductionScale::Small) => {
                small::model(self.folder.root(), &row.model, size)
            }
            _ => Ok(None),
        }
    }

    /// What a row's steps read, and isn't made by one of them.
    fn files(&self, row: &RowName) -> Result<Vec<SmallFile>> {
        let mut files: Vec<SmallFile> = self.small_model(row)?.into_iter().collect();
        if self.args.scale == ReproductionScale::Small && self.args.recipe.is_none() {
            files.push(small::recipe(self.folder.root(), &row.model)?);
        }
        Ok(files)
    }

    /// Height and width of the images that a row's networks are trained on; the model file's if `None`.
    pub fn image_size(&self, row: &RowName) -> Option<usize> {
        let least = || {
            Some(small::least_size(&row.model))
                .filter(|_| self.args.scale == ReproductionScale::Small)
        };
        self.args.image_size.or_else(least)
    }

    /// The flags of a network's head; `None` where the features aren't there.
    fn head_words(
        &self,
        row: &RowName,
        arm: Arm,
        missing: &mut Vec<Lack>,
    ) -> Result<Option<Vec<String>>> {
        let (given, built_in, flag) = match arm {
            Arm::Baseline => return Ok(Some(Vec::new())),
            Arm::TemplateRows => {
                let built_in = self.built_in().template_features;
                (self.template_features.of(row.set), built_in, "--template-features")
            }
            _ => (self.text_features.of(row.set), self.built_in().features, "--text-features"),
        };
        let path = match given {
            Some(path) => path.to_path_buf(),
            None if self.is_built_in() => built_in,
            None => {
                let said = wanted_features(self.args.scale, row.set, flag);
                if !missing.contains(&said) {
                    missing.push(said);
                }
                return Ok(None);
            }
        };
        let rows = format!("--text-features={}", path_text(&path)?);
        Ok(Some(match arm {
            Arm::RandomRows => {
                let width = if given.is_none() { small::WIDTH } else { self.width(row, &path)? };
                vec![format!("--random-rows={width}")]
            }
            Arm::Unnormalized => vec![rows, "--unnormalized".into()],
            Arm::FrozenRows => vec![rows, format!("--freeze={HEAD_ROWS}")],
            _ => vec![rows],
        }))
    }

    fn width(&self, row: &RowName, features: &Path) -> Result<usize> {
        let list = super::super::common::class_list(self.class_lists.of(row.set))?;
        Ok(crate::text::file::open(features, list.as_ref())?.width)
    }

    fn campaign(
        &self,
        row: &RowName,
        seed: u64,
        kind: CampaignKind,
        source: &RowNetwork,
        networks: &[&RowNetwork],
        data: &str,
    ) -> Result<CommandStep> {
        let store = self.folder.store(row, seed, source.arm, kind);
        let injections = self.injections(kind);
        let mut words = vec!["inject".into(), format!("--checkpoint={}", source.checkpoint)];
        words.extend(source.model.as_ref().map(|model| format!("--model={model}")));
        words.extend([
            format!("--data={data}"),
            format!("--protocol={}", kind.protocol().name()),
            format!("--injections={injections}"),
            format!("--seed={seed}"),
        ]);
        if let Some(list) = self.class_lists.of(row.set) {
            words.push(format!("--class-list={}", path_text(list)?));
        }
        words.extend(self.range_images().map(|images| format!("--range-images={images}")));
        if kind != CampaignKind::Goldeneye {
            let others = networks.iter().filter(|other| other.arm != source.arm);
            words.extend(others.map(|other| format!("--right-in={}", other.checkpoint)));
        }
        words.push(format!("--out={}", path_text(&store)?));
        Ok(CommandStep {
            name: format!("inject into {}, {}", source.arm.slug(), kind.slug()),
            words: self.with_run(words),
            beside: self.beside(true),
            made: StepOutput::Store(store),
            needs: None,
            work: StepWork::Campaign {
                kind,
                networks: if kind == CampaignKind::Goldeneye { 1 } else { networks.len() },
            },
            prunes: false,
        })
    }

    /// Training images that ranges are measured on; all of them if `None`.
    pub fn range_images(&self) -> Option<usize> {
        let few = Some(small::RANGE_IMAGES).filter(|_| self.is_built_in());
        self.args.range_images.or(few)
    }

    /// Injections of a layer.
    pub fn injections(&self, kind: CampaignKind) -> u64 {
        self.args.injections.unwrap_or(match (self.args.scale, kind) {
            (ReproductionScale::Published, _) => 1000,
            (ReproductionScale::Small, CampaignKind::Ablation) => small::INJECTIONS[1],
            (ReproductionScale::Small, _) => small::INJECTIONS[0],
        })
    }

    /// Where both networks look, without and with the fault that hurt the baseline most.
    fn pictures(
        &self,
        row: &RowName,
        seed: u64,
        baseline: &RowNetwork,
        other: &RowNetwork,
        data: &str,
    ) -> Result<CommandStep> {
        let store = self.folder.store(row, seed, Arm::Baseline, CampaignKind::Strict);
        let mut words = vec!["visualize".into(), format!("--checkpoint={}", baseline.checkpoint)];
        words.extend(baseline.model.as_ref().map(|model| format!("--model={model}")));
        words.extend([
            format!("--against={}", other.checkpoint),
            format!("--campaign={}", path_text(&store)?),
            "--worst=1".into(),
            format!("--data={data}"),
            format!("--out={}", path_text(&self.folder.strips(row, seed))?),
        ]);
        if let (Some(size), ReproductionScale::Small) = (self.image_size(row), self.args.scale) {
            let file = small::model_file(self.folder.root(), &row.model, size)?;
            let layer = small::map_layer(&file, size)?;
            words.extend(layer.map(|layer| format!("--layer={layer}")));
        }
        if let Some(list) = self.class_lists.of(row.set) {
            words.push(format!("--class-list={}", path_text(list)?));
        }
        Ok(CommandStep {
            name: "pictures of where the networks look".into(),
            words: self.with_run(words),
            beside: self.beside(false),
            made: StepOutput::Path(self.folder.strip(row, seed)),
            needs: Some(store),
            work: StepWork::Picture,
            prunes: false,
        })
    }

    /// With the flags of where it runs.
    fn with_run(&self, mut words: Vec<String>) -> Vec<String> {
        let run = &self.args.run;
        if run.device != "cpu" {
            words.push(format!("--device={}", run.device));
        }
        if !run.is_default() {
            words.push(format!("--compute={}", run.compute));
        }
        words
    }

    /// Flags of this start.
    fn beside(&self, can_resume: bool) -> Vec<String> {
        let run = &self.args.run;
        let mut words = Vec::new();
        if run.threads != 0 {
            words.push(format!("--threads={}", run.threads));
        }
        if run.quiet || run.json {
            words.push("--quiet".into());
        }
        if can_resume {
            words.push("--resume".into());
        }
        words
    }
}
