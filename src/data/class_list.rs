//! Class lists: the ids and names of classes, in the order of their numbers.

use crate::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;

/// A class: a line of a class list, a folder of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassEntry {
    /// The folder's name, a WordNet id for ImageNet.
    pub id: String,
    /// What people call it, the id where no class list says better; not necessarily unique (ImageNet has two
    /// kinds of crane).
    pub name: String,
}

impl ClassEntry {
    /// A class that no list names.
    pub fn unnamed(id: &str) -> ClassEntry {
        ClassEntry { id: id.into(), name: id.into() }
    }
}

/// Classes in the order of their index.
#[derive(Clone, Debug)]
pub struct ClassList {
    entries: Vec<ClassEntry>,
    /// Made when it is first asked for.
    places: OnceLock<ClassPlaces>,
}

impl PartialEq for ClassList {
    fn eq(&self, other: &ClassList) -> bool {
        self.entries == other.entries
    }
}

impl ClassList {
    /// Reads a text file with a line `index<TAB>id<TAB>name` for each class. Lines may come in any
    /// order, empty lines and a byte order mark are ignored; the indices must be 0, 1, 2, … without a gap.
    ///
    /// # Errors
    /// [`Error::Io`] if the file can't be read; [`Error::File`] naming the line if a line is
    /// malformed or repeats an index or id, or naming the index if one is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        let text = std::str::from_utf8(&bytes).map_err(|source| {
            Error::file(path, format!("is not UTF-8 text (byte {})", source.valid_up_to()))
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self::parse(text).map_err(|detail| Error::file(path, detail))
    }

    /// A list made of entries, index 0 first.
    pub fn from_entries(entries: Vec<ClassEntry>) -> Self {
        ClassList { entries, places: OnceLock::new() }
    }

    /// A list made of ids and names, index 0 first, as files hold them in their metadata.
    ///
    /// # Errors
    /// Half a sentence where there is none, or an id is empty or there twice.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> std::result::Result<Self, String> {
        let mut ids = HashSet::new();
        if pairs.is_empty() || !pairs.iter().all(|(id, _)| !id.is_empty() && ids.insert(id)) {
            return Err("is empty, or has an id twice".into());
        }
        let entry = |(id, name)| ClassEntry { id, name };
        Ok(ClassList::from_entries(pairs.into_iter().map(entry).collect()))
    }

    /// The list as [`open`](ClassList::open) reads it.
    ///
    /// # Errors
    /// [`Error::Usage`] for an id or a name that a line has no room for.
    pub fn to_text(&self) -> Result<String> {
        let mut text = String::new();
        for (index, ClassEntry { id, name }) in self.entries.iter().enumerate() {
            if [id, name]
                .iter()
                .any(|word| word.trim().is_empty() || word.contains(['\t', '\n', '\r']))
            {
                let id = crate::error::shorten(id, 40);
                let detail =
                    format!("class {index} ({id}) has an id or a name that is no text of one line");
                return Err(Error::usage(detail));
            }
            text.push_str(&format!("{index}\t{id}\t{name}\n"));
        }
        Ok(text)
    }

    /// Ids and names, index 0 first.
    pub fn pairs(&self) -> Vec<(String, String)> {
        self.entries.iter().map(|entry| (entry.id.clone(), entry.name.clone())).collect()
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut by_index: HashMap<usize, (usize, ClassEntry)> = HashMap::new();
        let mut lines_of_ids: HashMap<String, usize> = HashMap::new();
        for (line, content) in text.lines().enumerate().map(|(i, content)| (i + 1, content)) {
            if content.trim().is_empty() {
                continue;
            }
            let fields: Vec<&str> = content.split('\t').map(str::trim).collect();
            let &[index, id, name] = fields.as_slice() else {
                return Err(format!(
                    "line {line} has {} tab-separated fields instead of 3 (index, id, name)",
                    fields.len()
                ));
            };
            let index: usize = index
                .parse()
                .map_err(|_| format!("line {line}: the index \"{index}\" is not a whole number"))?;
            if id.is_empty() || name.is_empty() {
                return Err(format!("line {line}: the id or the name is empty"));
            }
            if let Some(first) = lines_of_ids.insert(id.to_string(), line) {
                return Err(format!("line {line} repeats the id {id} of line {first}"));
            }
            let entry = ClassEntry { id: id.to_string(), name: name.to_string() };
            if let Some((first, _)) = by_index.insert(index, (line, entry)) {
                return Err(format!("line {line} repeats the index {index} of line {first}"));
            }
        }
        if by_index.is_empty() {
            return Err("holds no classes".to_string());
        }
        let count = by_index.len();
        let mut entries = Vec::with_capacity(count);
        for index in 0..count {
            match by_index.remove(&index) {
                Some((_, entry)) => entries.push(entry),
                None => return Err(format!("index {index} is missing among {count} classes")),
            }
        }
        Ok(ClassList::from_entries(entries))
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no classes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The classes, index 0 first.
    pub fn entries(&self) -> &[ClassEntry] {
        &self.entries
    }

    /// Whether folders of these classes, by their ids or by their names, would be in this order.
    pub(super) fn is_in_folder_order(&self) -> bool {
        self.entries.is_sorted_by_key(|entry| &entry.id)
            || self.entries.is_sorted_by_key(|entry| &entry.name)
    }

    /// The index of the class that a folder of this name holds: the one with that id, else the only
    /// one with that name (spaces and underscores being equal).
    pub fn index_of(&self, folder: &str) -> Option<usize> {
        let places = self.places.get_or_init(|| ClassPlaces::of(&self.entries));
        places.by_id.get(folder).copied().or_else(|| *places.by_name.get(&spaced(folder))?)
    }

    /// The index of a class of another list: the one with its id, else the one that its name finds.
    ///
    /// # Errors
    /// The indices of both, where its id and its name are of different classes here.
    pub(super) fn index_of_entry(
        &self,
        entry: &ClassEntry,
    ) -> std::result::Result<Option<usize>, [usize; 2]> {
        match (self.index_of(&entry.id), self.index_of(&entry.name)) {
            (Some(by_id), Some(by_name)) if by_id != by_name => Err([by_id, by_name]),
            (by_id, by_name) => Ok(by_id.or(by_name)),
        }
    }
}

/// Where classes stand in a list.
#[derive(Clone, Debug)]
struct ClassPlaces {
    by_id: HashMap<String, usize>,
    /// `None` of a name that several have.
    by_name: HashMap<String, Option<usize>>,
}

impl ClassPlaces {
    fn of(entries: &[ClassEntry]) -> ClassPlaces {
        let mut places = ClassPlaces { by_id: HashMap::new(), by_name: HashMap::new() };
        for (index, entry) in entries.iter().enumerate() {
            places.by_id.entry(entry.id.clone()).or_insert(index);
            let name = places.by_name.entry(spaced(&entry.name));
            name.and_modify(|place| *place = None).or_insert(Some(index));
        }
        places
    }
}

/// A name in which spaces and underscores are equal.
fn spaced(name: &str) -> String {
    name.replace('_', " ")
}
