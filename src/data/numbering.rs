//! Which number a class has in a network.

use std::collections::HashMap;

use super::{ClassEntry, ClassList};
use crate::error::shorten;
use crate::{Error, Result};

/// Where the numbers of classes come from: the rows of a network's last layer, or of text features.
///
/// A file that names its classes is believed: class i of its own list has number i, and a list that the user
/// names is a dictionary for folders that are called otherwise. A file that doesn't is numbered by the user's
/// list; without one, by the order of the folders, as torchvision's `ImageFolder` does.
#[derive(Clone, Copy, Debug)]
pub struct Numbering<'a> {
    /// What is numbered, for errors: "the checkpoint", "the text features".
    pub of: &'a str,
    /// How many classes there are.
    pub count: usize,
    /// The classes that the file itself names; as many as `count`.
    pub own: Option<&'a ClassList>,
    /// The list that the user names.
    pub given: Option<&'a ClassList>,
    /// Whether the rows are known to be in the order of the folders' names, though the file doesn't name them.
    pub is_in_folder_order: bool,
}

impl Numbering<'_> {
    /// The number of the class that each folder holds. A folder bears the id of its class, or the name.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the folder whose class isn't known, two folders of one class, or lists that
    /// contradict each other or leave the numbers open.
    pub fn numbers(&self, folders: &[&str]) -> Result<Vec<usize>> {
        let numbers = match (self.own, self.given) {
            (Some(own), given) => {
                if let Some(given) = given {
                    self.names_by(own, given)?;
                }
                let find = |folder: &&str| self.number_in(own, given, folder);
                folders.iter().map(find).collect::<Result<Vec<usize>>>()?
            }
            (None, Some(given)) if given.len() == self.count => {
                let indices = listed(given, folders)?;
                let is_open = !given.is_in_folder_order() || !indices.is_sorted();
                if self.is_in_folder_order && is_open {
                    return Err(self.in_folder_order());
                }
                indices
            }
            (None, Some(given)) => self.subset(given, folders)?,
            (None, None) if folders.len() == self.count => (0..self.count).collect(),
            (None, None) => {
                return Err(Error::usage(format!(
                    "there are folders of {} classes, and {} has {} without naming them; \
                     --class-list says which of those they are",
                    folders.len(),
                    self.of,
                    self.count
                )));
            }
        };
        let mut folder_of = vec![None; self.count];
        for (number, folder) in numbers.iter().zip(folders) {
            if let Some(first) = folder_of[*number].replace(folder) {
                let detail = format!("{first} and {folder} are the same class");
                return Err(Error::usage(detail));
            }
        }
        Ok(numbers)
    }

    /// The classes by number, with the user's names where the user names them; `None` where nobody does.
    ///
    /// # Errors
    /// [`Error::Usage`] where the user's list has another number of classes, or lacks one that the file names.
    pub fn classes(&self) -> Result<Option<Vec<ClassEntry>>> {
        match (self.own, self.given) {
            (Some(own), Some(given)) => self.names_by(own, given).map(Some),
            (Some(own), None) => Ok(Some(own.entries().to_vec())),
            (None, Some(given)) if given.len() == self.count => {
                if self.is_in_folder_order && !given.is_in_folder_order() {
                    return Err(self.in_folder_order());
                }
                Ok(Some(given.entries().to_vec()))
            }
            (None, Some(given)) => Err(self.open(given.len())),
            (None, None) => Ok(None),
        }
    }

    /// The file's own classes under the names of the user's list.
    fn names_by(&self, own: &ClassList, given: &ClassList) -> Result<Vec<ClassEntry>> {
        let mut taken: HashMap<usize, &ClassEntry> = HashMap::new();
        let rename = |entry| {
            let Some(index) = self.index_in(given, "the class list", entry, self.of)? else {
                return Err(Error::usage(format!(
                    "the class list lacks the class {} that {} names",
                    shorten(&entry.id, 40),
                    self.of
                )));
            };
            if let Some(other) = taken.insert(index, entry) {
                let [entry, other] = [entry, other].map(|entry| shorten(&entry.id, 40));
                let detail = format!(
                    "{other} and {entry} are two classes of {}, but one of the class list",
                    self.of
                );
                return Err(Error::usage(detail));
            }
            Ok(ClassEntry { id: entry.id.clone(), name: given.entries()[index].name.clone() })
        };
        own.entries().iter().map(rename).collect()
    }

    /// The index in `list` of a class of another list; `whose` they are, for errors.
    fn index_in(
        &self,
        list: &ClassList,
        whose: &str,
        entry: &ClassEntry,
        whose_entry: &str,
    ) -> Result<Option<usize>> {
        list.index_of_entry(entry).map_err(|found| {
            let [id, name] = [&entry.id, &entry.name].map(|text| shorten(text, 40));
            let [by_id, by_name] = found.map(|index| shorten(&list.entries()[index].name, 40));
            Error::usage(format!(
                "{whose_entry} and {whose} contradict each other: {id} is {name} in the one; in the other its \
                 id is that of {by_id}, its name that of {by_name}"
            ))
        })
    }

    /// The number of a folder's class among the file's own, found there or by way of the user's list.
    fn number_in(&self, own: &ClassList, given: Option<&ClassList>, folder: &str) -> Result<usize> {
        let direct = own.index_of(folder);
        let entry = given.and_then(|given| Some(&given.entries()[given.index_of(folder)?]));
        let by_list = match entry {
            Some(entry) => self.index_in(own, self.of, entry, "the class list")?,
            None => None,
        };
        let folder = shorten(folder, 40);
        match (direct, by_list) {
            (Some(direct), Some(by_list)) if direct != by_list => {
                let name = |number: usize| shorten(&own.entries()[number].id, 40);
                Err(Error::usage(format!(
                    "class {folder} is {} in {}, but {} by the class list",
                    name(direct),
                    self.of,
                    name(by_list)
                )))
            }
            (Some(number), _) | (None, Some(number)) => Ok(number),
            (None, None) => Err(Error::usage(format!(
                "class {folder} isn't among those that {} names ({})",
                self.of,
                named(own)
            ))),
        }
    }

    /// Folders of all classes of a network whose numbers the user's longer list must not leave open.
    fn subset(&self, given: &ClassList, folders: &[&str]) -> Result<Vec<usize>> {
        let indices = listed(given, folders)?;
        if folders.len() != self.count || given.len() < self.count {
            return Err(self.open(given.len()));
        }
        if !indices.is_sorted() {
            return Err(Error::usage(format!(
                "{} has {} classes without naming them, and the folders come in another order by name than \
                 in the class list: name a list of its classes alone",
                self.of, self.count
            )));
        }
        Ok((0..self.count).collect())
    }

    fn in_folder_order(&self) -> Error {
        Error::usage(format!(
            "{} was written by a version that didn't store its classes: they are taken in the order of the \
             folders' names, in which the class list isn't; name a list in that order, or convert what it was \
             made of with --class-list",
            self.of
        ))
    }

    fn open(&self, listed: usize) -> Error {
        Error::usage(format!(
            "{} has {} classes without naming them, the class list {listed}: name a list of its classes alone",
            self.of, self.count
        ))
    }
}

/// The index in `list` of each folder's class.
fn listed(list: &ClassList, folders: &[&str]) -> Result<Vec<usize>> {
    let unknown =
        |folder| Error::usage(format!("class {folder} isn't in the class list, by id or by name"));
    folders.iter().map(|folder| list.index_of(folder).ok_or_else(|| unknown(folder))).collect()
}

/// The first classes of a list, for an error.
fn named(list: &ClassList) -> String {
    let ids: Vec<String> =
        list.entries().iter().take(5).map(|entry| shorten(&entry.id, 40)).collect();
    let more = if list.len() > ids.len() { ", …" } else { "" };
    format!("{}{more}", ids.join(", "))
}
