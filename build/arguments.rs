//! The structs of kernels' arguments: read from kernel files, laid out, written as Rust and as checks of C++.

use std::fmt::Write as _;
use std::path::PathBuf;

/// A kernel file or a header.
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// A struct that kernels take, or a part of one.
pub struct Structure {
    pub name: String,
    /// The file that defines it.
    pub path: PathBuf,
    comment: Vec<String>,
    fields: Vec<Field>,
    bytes: usize,
    align: usize,
}

struct Field {
    name: String,
    /// Its Rust type, or that of its elements.
    of: String,
    /// Elements of an array.
    count: Option<usize>,
    offset: usize,
    comment: Vec<String>,
}

/// Numbers of C++: their names, that of Rust, bytes.
const NUMBERS: [(&[&str], &str, usize); 6] = [
    (&["u64", "unsigned long long"], "u64", 8),
    (&["i64", "long long"], "i64", 8),
    (&["f64", "double"], "f64", 8),
    (&["u32", "unsigned", "unsigned int"], "u32", 4),
    (&["i32", "int"], "i32", 4),
    (&["f32", "float"], "f32", 4),
];

/// The structs of these names and those that they are made of, each behind its parts. The first source is the
/// kernel file, the others are what it includes.
///
/// Fields are numbers, structs and arrays of them with one dimension; behind them a part may have functions.
/// Comments above a struct or a field, or behind a field, belong to it.
pub fn read<'a>(
    sources: &[Source],
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<Structure>, String> {
    let tokens = sources.iter().map(|source| tokens(&source.text)).collect();
    let mut reader = Reader { sources, tokens, found: Vec::new(), open: Vec::new() };
    for name in names {
        if !reader.find(name)? {
            let at = sources.first().map(|source| source.path.display().to_string());
            return Err(format!(
                "{}: a kernel takes {name}, which neither this file nor a header of it defines \
                 (`struct {name} {{ … }};`)",
                at.unwrap_or_default()
            ));
        }
    }
    Ok(reader.found)
}

/// A word, a string, a comment or another character.
pub struct Token<'a> {
    pub text: &'a str,
    line: usize,
    /// Whether nothing stands before it on its line.
    first: bool,
}

impl Token<'_> {
    fn is_comment(&self) -> bool {
        self.text.starts_with("//") || self.text.starts_with("/*")
    }

    /// Whether it is a comment on the line above `next`, alone there.
    fn stands_above(&self, next: &Token<'_>) -> bool {
        self.is_comment() && self.first && self.line + 1 == next.line
    }

    /// What a comment says.
    fn said(&self) -> String {
        self.text.trim_start_matches(['/', '*']).trim_end_matches(['/', '*']).trim().into()
    }
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '/' if rest.starts_with("//") => rest.find('\n'),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map(|at| at + 4),
            '"' => rest[1..].find('"').map(|at| at + 2),
            _ if in_word(first) => rest.find(|c| !in_word(c)),
            _ => Some(first.len_utf8()),
        };
        let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
        if !first.is_whitespace() {
            let first = tokens.last().is_none_or(|token| token.line != line);
            tokens.push(Token { text, line, first });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

struct Reader<'a> {
    sources: &'a [Source],
    tokens: Vec<Vec<Token<'a>>>,
    found: Vec<Structure>,
    /// What is being read: a struct and those that it is part of.
    open: Vec<String>,
}

impl Reader<'_> {
    /// Reads the struct `name` unless it has been read; false if no source defines it.
    fn find(&mut self, name: &str) -> Result<bool, String> {
        if self.found.iter().any(|structure| structure.name == name) {
            return Ok(true);
        }
        let opening = ["struct", name, "{"];
        let place = self.tokens.iter().enumerate().find_map(|(file, tokens)| {
            let mut windows = tokens.windows(3);
            Some((file, windows.position(|three| three.iter().map(|t| t.text).eq(opening))?))
        });
        let Some((file, start)) = place else { return Ok(false) };
        if self.open.iter().any(|open| open == name) {
            return Err(format!("struct {name} holds itself"));
        }
        self.open.push(name.into());
        let path = self.sources[file].path.clone();
        let at = |detail: String| format!("{}: struct {name}: {detail}", path.display());
        let (comment, declared) = declared(&self.tokens[file], start).map_err(at)?;
        let mut structure = Structure {
            name: name.into(),
            path: path.clone(),
            comment,
            fields: Vec::new(),
            bytes: 0,
            align: 1,
        };
        for field in declared {
            let name = field.name.clone();
            self.place(field, &mut structure).map_err(|detail| at(format!("{name}: {detail}")))?;
        }
        structure.bytes = structure.bytes.next_multiple_of(structure.align);
        self.open.pop();
        self.found.push(structure);
        Ok(true)
    }

    /// Puts a field behind those that a struct has.
    fn place(&mut self, field: Declared, structure: &mut Structure) -> Result<(), String> {
        let number = NUMBERS.iter().find(|(names, ..)| names.contains(&field.of.as_str()));
        let (of, bytes, align) = match number {
            Some((_, name, bytes)) => (name.to_string(), *bytes, *bytes),
            None if self.find(&field.of)? => {
                let part = self.found.iter().find(|part| part.name == field.of);
                let (bytes, align) = part.map_or((0, 1), |part| (part.bytes, part.align));
                (field.of, bytes, align)
            }
            None => return Err(format!("`{}` is no number and no struct", field.of)),
        };
        let count = match &field.length {
            Some(length) => {
                Some(self.length(length).ok_or(format!("`{length}` is no known number"))?)
            }
            None => None,
        };
        let offset = structure.bytes.next_multiple_of(align);
        structure.bytes = offset + bytes * count.unwrap_or(1);
        structure.align = structure.align.max(align);
        let Declared { name, comment, .. } = field;
        structure.fields.push(Field { name, of, count, offset, comment });
        Ok(())
    }

    /// A number, or a constant that some source sets to one (`NAME = 4`).
    fn length(&self, length: &str) -> Option<usize> {
        let set = |three: &[Token<'_>]| three[0].text == length && three[1].text == "=";
        let mut places = self.tokens.iter().flat_map(|tokens| tokens.windows(3));
        length.parse().ok().or_else(|| places.find(|three| set(three))?[2].text.parse().ok())
    }
}

/// A field as it is written.
struct Declared {
    name: String,
    of: String,
    length: Option<String>,
    comment: Vec<String>,
    /// Where its declaration ends.
    line: usize,
}

/// The comment above the struct that begins with token `start`, and its fields.
fn declared(tokens: &[Token<'_>], start: usize) -> Result<(Vec<String>, Vec<Declared>), String> {
    let mut above = start;
    while above > 0 && tokens[above - 1].stands_above(&tokens[above]) {
        above -= 1;
    }
    let about = tokens[above..start].iter().map(Token::said).collect();
    let mut fields: Vec<Declared> = Vec::new();
    let (mut declaration, mut comment) = (Vec::new(), Vec::new());
    let mut rest = tokens[start + 3..].iter();
    loop {
        let token = rest.next().ok_or("it isn't closed")?;
        match token.text {
            "}" if declaration.is_empty() => return Ok((about, fields)),
            _ if token.is_comment() && declaration.is_empty() => {
                let here = |field: &&mut Declared| field.line == token.line && !token.first;
                let mut behind = fields.iter_mut().filter(here).peekable();
                if behind.peek().is_none() {
                    comment.push(token.said());
                }
                behind.for_each(|field| field.comment.push(token.said()));
            }
            ";" if declaration.is_empty() => {}
            ";" => {
                let comment = std::mem::take(&mut comment);
                fields.extend(fields_of(&declaration, &comment, token.line)?);
                declaration.clear();
            }
            // A function, to the end of its body.
            "{" if declaration.contains(&"(") => {
                let mut depth = 1;
                while depth > 0 {
                    match rest.next().ok_or("a function isn't closed")?.text {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                }
                declaration.clear();
                comment.clear();
            }
            text => declaration.push(text),
        }
    }
}

/// The fields of a declaration such as `u64 x, y[2]`, whose semicolon stands on `line`.
fn fields_of(
    declaration: &[&str],
    comment: &[String],
    line: usize,
) -> Result<Vec<Declared>, String> {
    let refused = |why: &str| format!("`{}`: {why}", declaration.join(" "));
    if declaration.iter().any(|text| ["*", "&"].contains(text)) {
        return Err(refused("a pointer goes to kernels as a u64"));
    }
    let mut fields: Vec<Declared> = Vec::new();
    for declarator in declaration.split(|text| *text == ",") {
        let bracket = declarator.iter().position(|text| *text == "[");
        let (words, array) = declarator.split_at(bracket.unwrap_or(declarator.len()));
        let length = match array {
            [] => None,
            ["[", length, "]"] => Some(length.to_string()),
            ["[", _, "]", "[", ..] => return Err(refused("an array has one dimension here")),
            _ => return Err(refused("not a plain field")),
        };
        let of = fields.first().map(|field| field.of.clone());
        let (of, name) = match (of, words) {
            (None, [of @ .., name]) if !of.is_empty() => (of.join(" "), name),
            (Some(of), [name]) => (of, name),
            _ => return Err(refused("not a plain field")),
        };
        if !words.iter().all(|word| word.starts_with(in_word)) {
            return Err(refused("not a plain field"));
        }
        fields.push(Declared {
            name: name.to_string(),
            of,
            length,
            comment: comment.to_vec(),
            line,
        });
    }
    Ok(fields)
}

impl Structure {
    /// C++ assertions that the compiler lays it out as Rust does.
    pub fn checks(&self) -> String {
        let Structure { name, bytes, .. } = self;
        let mut text = format!("static_assert(sizeof({name}) == {bytes});\n");
        for Field { name: field, offset, .. } in &self.fields {
            let _ = writeln!(text, "static_assert(offsetof({name}, {field}) == {offset});");
        }
        text
    }

    /// The struct in Rust. `of` says of which kernels, or structs, it is; a part may be left out, and is zero then.
    fn rust(&self, of: &str, is_part: bool) -> String {
        let Structure { name, bytes, .. } = self;
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        let default = if is_part { ", Default" } else { "" };
        let mut text = docs("", &self.comment);
        if !text.is_empty() {
            text.push_str("///\n");
        }
        let _ = write!(
            text,
            "/// {of} (`{file}`).\n\
             #[derive(Clone, Copy, Debug{default})]\n\
             pub struct {name} {{\n"
        );
        for Field { name, of, count, comment, .. } in &self.fields {
            let of = count.map_or(of.clone(), |count| format!("[{of}; {count}]"));
            let _ = writeln!(text, "{}    pub {name}: {of},", docs("    ", comment));
        }
        let _ = write!(
            text,
            "}}\n\n// SAFETY: C++ lays it out so, or the build would have failed.\n\
             unsafe impl KernelArgs for {name} {{\n    \
                 const NAME: &'static str = {name:?};\n    \
                 const BYTES: usize = {bytes};\n\n    \
                 fn write(&self, bytes: &mut [u8]) {{\n"
        );
        for Field { name, offset, .. } in &self.fields {
            let _ = writeln!(text, "        self.{name}.write(&mut bytes[{offset}..]);");
        }
        text.push_str("    }\n}\n\n");
        text
    }
}

/// What src/device/args.rs includes: the structs of all files, each once. Of a kernel, its name and that of the
/// struct that it takes are asked.
pub fn rust(structures: &[&Structure], kernels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for structure in structures {
        let name = structure.name.as_str();
        let takers: Vec<String> = kernels
            .iter()
            .filter(|(_, taken)| *taken == name)
            .map(|(symbol, _)| format!("`{symbol}`"))
            .collect();
        let of = match &takers[..] {
            [] => {
                let is_in = |whole: &&&Structure| whole.fields.iter().any(|f| f.of == name);
                let wholes = structures.iter().filter(is_in);
                let wholes: Vec<_> = wholes.map(|whole| format!("[`{}`]", whole.name)).collect();
                format!("Part of {}", wholes.join(", "))
            }
            [first, .., last] if takers.len() > 4 => {
                format!("Arguments of {} kernels, from {first} to {last}", takers.len())
            }
            few => format!("Arguments of {}", few.join(", ")),
        };
        text.push_str(&structure.rust(&of, takers.is_empty()));
    }
    text
}

/// Comments as documentation: brackets and stars outside of code are no links, HTML or emphasis.
fn docs(indent: &str, comments: &[String]) -> String {
    let mut text = String::new();
    let mut code = false;
    for line in comments.iter().flat_map(|comment| comment.lines()) {
        text.push_str(indent);
        text.push_str("/// ");
        for c in line.trim().chars() {
            code ^= c == '`';
            if !code && "[]<>*".contains(c) {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('\n');
    }
    text
}
