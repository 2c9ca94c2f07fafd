//! What lies within a folder that a user names: a data set's split, its classes, its pictures.

use std::path::{Path, PathBuf};

use super::listing::{ENDINGS_IN_WORDS, Item, ItemKind, PassedOver, list, list_all};
use super::{ClassEntry, ClassList};
use crate::{Error, Result};

/// The splits that images are held out in, the first that is there.
pub(super) const HELD_OUT: [&str; 3] = ["val", "validation", "test"];

/// Whether a folder holds folders and no images: classes, rather than one class.
fn holds_classes(folder: &Path) -> Result<bool> {
    let items = list(folder)?;
    let any = |is: fn(&ItemKind) -> bool| items.iter().any(|item| is(&item.kind));
    Ok(any(|kind| matches!(kind, ItemKind::Folder))
        && !any(|kind| matches!(kind, ItemKind::Image(_))))
}

/// The first of these folders in `root` that is there and holds classes.
pub(super) fn first_of<'n>(
    root: &Path,
    names: impl IntoIterator<Item = &'n str>,
) -> Result<Option<PathBuf>> {
    for folder in names.into_iter().map(|name| root.join(name)).filter(|path| path.is_dir()) {
        if holds_classes(&folder)? {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// The classes that a data set's folder, or one of its splits, has folders of: ids are the folders' names, and so are names,
/// with blanks for underscores.
///
/// # Errors
/// [`Error::Io`] naming what can't be read; [`Error::File`] for a folder without folders.
pub(super) fn class_folders(dir: &Path) -> Result<ClassList> {
    let splits = ["train"].into_iter().chain(HELD_OUT);
    let folder = first_of(dir, splits)?.unwrap_or_else(|| dir.to_path_buf());
    let folders = list(&folder)?.into_iter().filter(|item| matches!(item.kind, ItemKind::Folder));
    let entry = |id: String| ClassEntry { name: id.replace('_', " "), id };
    let entries: Vec<ClassEntry> = folders.map(|item| entry(item.name)).collect();
    match entries.is_empty() {
        true => {
            Err(Error::file(folder, "holds no class folders, whose names would be the classes"))
        }
        false => Ok(ClassList::from_entries(entries)),
    }
}

/// All pictures in a folder and the folders within it, sorted by name folder by folder, and a line on what was passed over,
/// if anything was.
///
/// # Errors
/// [`Error::Io`] naming what can't be read; [`Error::File`] for a folder without pictures.
pub fn pictures_in(dir: &Path) -> Result<(Vec<PathBuf>, Option<String>)> {
    let (mut found, mut passed_over) = (Vec::new(), PassedOver::default());
    collect(dir, &mut Vec::new(), &mut found, &mut passed_over)?;
    let line = passed_over.line();
    if found.is_empty() {
        let only = line.map_or_else(String::new, |line| format!("; it holds {line}"));
        return Err(Error::file(dir, format!("holds no {ENDINGS_IN_WORDS} file{only}")));
    }
    Ok((found, line.map(|line| format!("{}: passed over {line}", dir.display()))))
}

/// Whether a folder is one of those that it was reached by.
fn is_above(folder: &Path, above: &[PathBuf]) -> Result<bool> {
    let real = std::fs::canonicalize(folder).map_err(|source| Error::io(folder, source))?;
    Ok(above.contains(&real))
}

/// Adds the pictures in `dir`; `above` are the folders that it was reached by, links followed.
fn collect(
    dir: &Path,
    above: &mut Vec<PathBuf>,
    found: &mut Vec<PathBuf>,
    passed_over: &mut PassedOver,
) -> Result<()> {
    let real = std::fs::canonicalize(dir).map_err(|source| Error::io(dir, source))?;
    above.push(real);
    for item in list_all(dir)? {
        match item.kind {
            ItemKind::Folder if is_above(&item.path, above)? => {
                passed_over.add(
                    Some(&dir.display().to_string()),
                    &Item { kind: ItemKind::LinkBack, ..item },
                );
            }
            ItemKind::Folder => collect(&item.path, above, found, passed_over)?,
            // What can't be read is told where it is read.
            ItemKind::Image(_) | ItemKind::Missing(_) => found.push(item.path),
            _ => passed_over.add(Some(&dir.display().to_string()), &item),
        }
    }
    above.pop();
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder of empty files.
    pub fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn classes_are_the_folders_of_the_first_split() {
        let set =
            folder(&["train/red_fox/1.png", "train/cat/1.png", "train/read.me", "val/cat/1.png"]);
        let pairs = [("cat", "cat"), ("red_fox", "red fox")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(class_folders(set.path()).unwrap().pairs(), pairs);
        assert_eq!(class_folders(&set.path().join("train")).unwrap().pairs(), pairs);
        let said = class_folders(&set.path().join("val/cat")).unwrap_err().to_string();
        assert!(said.contains("cat: holds no class folders"), "{said}");
    }

    #[test]
    fn pictures_are_found_in_all_depths_and_in_order() {
        let set =
            folder(&["b/2.png", "b/1.JPG", "a.png", "b/c/0.jpeg", "b/notes.txt", ".hidden.png"]);
        let (found, passed_over) = pictures_in(set.path()).unwrap();
        let names: Vec<&Path> =
            found.iter().map(|path| path.strip_prefix(set.path()).unwrap()).collect();
        assert_eq!(names, ["a.png", "b/1.JPG", "b/2.png", "b/c/0.jpeg"].map(Path::new));
        let line = passed_over.unwrap();
        assert!(line.contains("1 hidden") && line.contains("1 .txt"), "{line}");
        let empty = folder(&["a/notes.txt"]);
        let said = pictures_in(empty.path()).unwrap_err().to_string();
        assert!(
            said.contains("holds no .jpg, .jpeg, .png, .webp, .bmp or .gif file; it holds 1 .txt"),
            "{said}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_back_are_passed_over_and_broken_ones_are_left_to_be_read() {
        let set = folder(&["a/1.png"]);
        let link = |to: &Path, name: &str| {
            std::os::unix::fs::symlink(to, set.path().join(name)).unwrap();
        };
        link(set.path(), "a/up");
        link(Path::new("nowhere.png"), "a/2.png");
        link(Path::new("itself.jpg"), "a/itself.jpg");
        let (found, passed_over) = pictures_in(set.path()).unwrap();
        assert_eq!(
            found,
            ["1.png", "2.png", "itself.jpg"].map(|name| set.path().join("a").join(name))
        );
        let line = passed_over.unwrap();
        assert!(line.contains("1 link back to a folder above"), "{line}");
        // A data set misses its images.
        assert!(list(&set.path().join("a")).is_err());
    }
}
