//! The floors of `docs/ARCHITECTURE.md`: a part of the core uses what lies on its floor or below, but for a list of
//! arrows that still run upwards, which may become shorter and not longer.
//!
//! What uses what is read from the source: every path that begins in the core (`use` or not), and every call of a
//! method that a type has from another part than its own, as `Cx`, `Vm` and `Space` have: by its name, if only one part
//! of the core has methods of that name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ARCHITECTURE.md");
const FLOORS_HEAD: &str = "| floor | what is there |\n|---|---|\n";
const ARROWS_HEAD: &str = "| from | to | by name | by a method | which |\n|---|---|---|---|---|\n";
/// Files that are compiled for tests alone.
const OF_TESTS: [&str; 4] = ["tests.rs", "testing.rs", "races.rs", "stress.rs"];
/// And folders of such.
const FOLDERS_OF_TESTS: [&str; 3] = ["tests", "testing", "loom"];

/// Names of methods of the core that methods of the standard library have, too.
const OF_STD: [&str; 1] = ["map"];

/// A file of the core.
struct Source {
    /// Its modules, from the root of the core.
    modules: Vec<String>,
    /// Without comments and tests.
    text: String,
}

impl Source {
    /// The folder, or the file at the root.
    fn part(&self) -> &str {
        &self.modules[0]
    }
}

/// The files of the core, but for `lib.rs`.
fn sources() -> Vec<Source> {
    let mut all = Vec::new();
    read_folder(Path::new(SOURCE), &mut Vec::new(), &mut all);
    all.retain(|source: &Source| source.modules != ["lib"]);
    all.sort_by(|one, other| one.modules.cmp(&other.modules));
    all
}

fn read_folder(folder: &Path, modules: &mut Vec<String>, all: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).expect("the core's source") {
        let path = entry.expect("the core's source").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        if path.is_dir() && !FOLDERS_OF_TESTS.contains(&name.as_str()) {
            modules.push(name);
            read_folder(&path, modules, all);
            modules.pop();
        } else if name.ends_with(".rs") && !OF_TESTS.contains(&name.as_str()) {
            let text = std::fs::read_to_string(&path).expect("a source");
            let own = name.trim_end_matches(".rs");
            let mut modules = modules.clone();
            modules.extend((own != "mod").then(|| own.to_string()));
            all.push(Source { modules, text: without_tests(&text) });
        }
    }
}

/// Without comments, the module of tests, and single lines that are there for tests.
fn without_tests(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            lines.next();
            continue;
        }
        kept += line.split("//").next().unwrap_or_default();
        kept.push('\n');
    }
    kept
}

/// What one part uses of another.
#[derive(Default)]
struct Arrow {
    by_name: u32,
    by_method: u32,
    which: BTreeSet<String>,
}

/// By part and what it uses.
type Arrows = BTreeMap<(String, String), Arrow>;

fn arrows(sources: &[Source]) -> Arrows {
    let mut arrows = Arrows::new();
    let exports = exports();
    let extensions = extensions(sources);
    for source in sources {
        for (part, name) in paths(source, &exports).into_iter().filter(|(part, _)| part != source.part()) {
            let arrow = arrows.entry((source.part().to_string(), part)).or_default();
            arrow.by_name += 1;
            arrow.which.insert(name);
        }
        for name in calls(&source.text) {
            let Some(part) = extensions.get(name).filter(|part| *part != source.part()) else { continue };
            let arrow = arrows.entry((source.part().to_string(), part.clone())).or_default();
            arrow.by_method += 1;
            arrow.which.insert(format!(".{name}()"));
        }
    }
    arrows
}

/// Which part has what stands at the root by `pub use`.
fn exports() -> BTreeMap<String, String> {
    let lib = std::fs::read_to_string(Path::new(SOURCE).join("lib.rs")).expect("the root");
    let uses = lib.lines().filter_map(|line| line.strip_prefix("pub use "));
    let named = uses.flat_map(|path| expanded(path).0);
    named.filter_map(|path| Some((path.last()?.clone(), path.first()?.clone()))).collect()
}

/// The parts that the paths of a file lead to, with the last name of each path.
fn paths(source: &Source, exports: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut text = source.text.as_str();
    while let Some((place, start)) =
        ["crate::", "super::"].into_iter().filter_map(|start| Some((text.find(start)?, start))).min()
    {
        let is_begun = !text[..place].ends_with(|c: char| c == ':' || c == '_' || c.is_alphanumeric());
        let (all, length) = expanded(&text[place..]);
        text = &text[place + if is_begun { length.max(start.len()) } else { start.len() }..];
        for path in all.iter().filter(|_| is_begun) {
            let above = path.iter().take_while(|part| *part == "super").count();
            let below = path.iter().skip_while(|part| *part == "super" || *part == "crate");
            let within = if path[0] == "crate" { 0 } else { source.modules.len().saturating_sub(above) };
            let whole: Vec<&String> = source.modules[..within].iter().chain(below).collect();
            let Some(first) = whole.first() else { continue };
            let part = exports.get(*first).unwrap_or(first);
            found.push((part.to_string(), whole.last().expect("it has a first").to_string()));
        }
    }
    found
}

/// The paths that one with braces stands for, and how long it is.
fn expanded(text: &str) -> (Vec<Vec<String>>, usize) {
    let (mut all, mut open, mut path) = (Vec::new(), Vec::new(), Vec::new());
    let (mut word, mut length) = (String::new(), 0);
    let ends_word = |path: &mut Vec<String>, word: &mut String| {
        if !word.is_empty() && word != "self" {
            path.push(word.clone());
        }
        !std::mem::take(word).is_empty()
    };
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            ':' => _ = ends_word(&mut path, &mut word),
            '{' if text[..length].ends_with("::") => open.push(path.clone()),
            ',' | '}' if !open.is_empty() => {
                if ends_word(&mut path, &mut word) {
                    all.push(path.clone());
                }
                path = open.last().expect("one is open").clone();
                if c == '}' {
                    open.pop();
                    word.clear();
                    if open.is_empty() {
                        return (all, length + 1);
                    }
                }
            }
            c if c.is_whitespace() && !open.is_empty() => {}
            _ => break,
        }
        length += c.len_utf8();
    }
    ends_word(&mut path, &mut word);
    all.push(path);
    (all, length)
}

/// Methods that types have from another part than that which declares them, by name: from which part. Names that
/// methods of several parts have are left out.
fn extensions(sources: &[Source]) -> BTreeMap<String, String> {
    let mut homes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut methods: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for source in sources {
        let mut of = "";
        for line in source.text.lines() {
            let words =
                line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
            if let Some(rest) = words.strip_prefix("struct ").or(words.strip_prefix("enum ")) {
                homes.entry(first_word(rest)).or_default().insert(source.part());
            } else if line.starts_with("impl") {
                of = type_of(line);
            } else if line.starts_with('}') {
                of = "";
            } else if let Some((before, rest)) = line.split_once("fn ")
                && !of.is_empty()
                && before.ends_with(' ')
                && !before.contains(['(', '{', '"']) | before.contains("pub(")
            {
                methods.entry(first_word(rest)).or_default().insert((source.part(), of));
            }
        }
    }
    let of_one = methods.into_iter().filter(|(name, _)| !OF_STD.contains(name)).filter_map(|(name, of)| {
        let parts: BTreeSet<&str> = of.iter().map(|(part, _)| *part).collect();
        let (part, of) = of.into_iter().next().filter(|_| parts.len() == 1)?;
        let is_at_home = homes.get(of).is_none_or(|homes| homes.contains(part));
        (!is_at_home).then(|| (name.to_string(), part.to_string()))
    });
    of_one.collect()
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The type in `impl<…> Type<…> {`; none of what implements a trait.
fn type_of(line: &str) -> &str {
    let mut depth = 0;
    let rest = line.trim_start_matches("impl").trim_start_matches(|c| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        depth > 0 || c == '>' || c == ' '
    });
    if line.contains(" for ") { "" } else { first_word(rest) }
}

/// Names of the methods that are called.
fn calls(text: &str) -> impl Iterator<Item = &str> {
    text.split('.').skip(1).filter_map(|rest| {
        let name = first_word(rest);
        let after = rest[name.len()..].trim_start_matches("::<");
        (!name.is_empty() && rest[name.len()..].starts_with(['(', ':']) && !after.is_empty()).then_some(name)
    })
}

/// The rows of the table that begins with `head`: what stands in its cells.
fn rows<'a>(page: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let (_, rest) = page.split_once(head).expect("the page has the table");
    let lines = rest.lines().take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// On which floor each part lies; the hall lies on none.
fn floors(page: &str) -> BTreeMap<String, Option<usize>> {
    let mut floors = BTreeMap::new();
    for (floor, row) in rows(page, FLOORS_HEAD).iter().enumerate() {
        let floor = (row[0] != "–").then_some(floor);
        assert_eq!(row[0], floor.map_or("–".to_string(), |floor| floor.to_string()), "floors have numbers, from below");
        for part in row[1].split('`').skip(1).step_by(2) {
            let before = floors.insert(part.trim_end_matches(".rs").to_string(), floor);
            assert_eq!(before, None, "{part} lies on two floors");
        }
    }
    floors
}

/// Those that run upwards.
fn upwards(arrows: Arrows, floors: &BTreeMap<String, Option<usize>>) -> Arrows {
    let floor = |part: &String| floors.get(part).copied().flatten();
    let is_upward = |ends: &(String, String)| floor(&ends.0).zip(floor(&ends.1)).is_some_and(|(from, to)| from < to);
    arrows.into_iter().filter(|(ends, _)| is_upward(ends)).collect()
}

fn table(arrows: &Arrows) -> String {
    let mut table = ARROWS_HEAD.to_string();
    for ((from, to), Arrow { by_name, by_method, which }) in arrows {
        let which: Vec<String> = which.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(table, "| `{from}` | `{to}` | {by_name} | {by_method} | {} |", which.join(", "));
    }
    table
}

#[test]
fn every_part_lies_on_a_floor() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let floors = floors(&page);
    let sources = sources();
    let parts: BTreeSet<&str> = sources.iter().map(Source::part).collect();
    let named: BTreeSet<&str> = floors.keys().map(String::as_str).collect();
    assert_eq!(parts, named, "what there is, and what the page names");
}

#[test]
fn nothing_more_runs_upwards() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let arrows = upwards(arrows(&sources()), &floors(&page));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let (before, rest) = page.split_once(ARROWS_HEAD).expect("the page has the table");
        let end: usize = rest.split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
        std::fs::write(PAGE, format!("{before}{}{}", table(&arrows), &rest[end..])).expect("the page can be written");
        return;
    }
    let mut wrong = Vec::new();
    let mut listed = BTreeMap::new();
    for row in rows(&page, ARROWS_HEAD) {
        let count = |cell: &str| cell.parse::<u32>().expect("a count");
        listed.insert((row[0].trim_matches('`'), row[1].trim_matches('`')), (count(row[2]), count(row[3])));
    }
    for ((from, to), arrow) in &arrows {
        let (by_name, by_method) = listed.remove(&(from.as_str(), to.as_str())).unwrap_or_default();
        if arrow.by_name > by_name || arrow.by_method > by_method {
            let (names, methods) = (arrow.by_name, arrow.by_method);
            wrong.push(format!("{from} uses {to}, which lies above: {names} and {methods}, of {:?}", arrow.which));
        }
    }
    wrong.extend(listed.keys().map(|(from, to)| format!("{from} does not use {to} any more")));
    assert!(wrong.is_empty(), "{wrong:#?}\nWhat has become less: run this test with UPDATE_DOCS=1.");
}

fn source(modules: &[&str], text: &str) -> Source {
    Source { modules: modules.iter().map(|name| name.to_string()).collect(), text: without_tests(text) }
}

#[test]
fn paths_are_found() {
    let text = "
use crate::phys::{AllocFlags, folio::{self, Folio}, Pfn};
use super::super::tlb::Flush; // crate::swap::no
use super::{One, Two};
#[cfg(test)]
use crate::testing::Machine;
pub(crate) fn one() { crate::reclaim::refaulted(1); let _ = crate::Error::X; }
";
    let exports = BTreeMap::from([("Error".to_string(), "error".to_string())]);
    let found = paths(&source(&["space", "class"], text), &exports);
    let found: Vec<String> = found.iter().map(|(part, name)| format!("{part}/{name}")).collect();
    let phys = ["phys/AllocFlags", "phys/folio", "phys/Folio", "phys/Pfn"];
    let others = ["tlb/Flush", "space/One", "space/Two", "reclaim/refaulted", "error/X"];
    assert_eq!(found, [&phys[..], &others[..]].concat());
}

#[test]
fn methods_from_above_are_found() {
    let hall = source(&["cpu"], "pub(crate) struct Cx<M> {}\nimpl<M> Cx<M> {\n    pub(crate) fn enter() {}\n}\n");
    let high =
        "impl<M> Cx<M> {\n    pub(crate) fn swap_put(&self) {\n        self.both();\n    }\n    fn both(&self) {}\n}\n";
    let low = "struct Frame;\nimpl Frame {\n    fn both(&self) {}\n    fn use_it(&self, cx: &Cx) {\n        cx.swap_put();\n    }\n}\n";
    let all = [hall, source(&["swap", "slots"], high), source(&["phys", "frame"], low)];
    let found: Vec<String> =
        arrows(&all).into_iter().map(|((from, to), arrow)| format!("{from} {to} {:?}", arrow.which)).collect();
    assert_eq!(found, ["phys swap {\".swap_put()\"}"]);
}

#[test]
fn floors_are_read_and_arrows_found() {
    let page = format!("{FLOORS_HEAD}| 0 | `phys`, `moved.rs` |\n| 1 | `swap` |\n| – | `vm.rs` |\n\n{ARROWS_HEAD}\n");
    let floors = floors(&page);
    let expected = [("phys", Some(0)), ("moved", Some(0)), ("swap", Some(1)), ("vm", None)];
    assert_eq!(floors, expected.into_iter().map(|(part, floor)| (part.to_string(), floor)).collect());
    let sources = [
        source(&["phys"], "use crate::swap::Slot; use crate::vm::Vm;"),
        source(&["swap"], "use crate::phys::Pfn;"),
        source(&["vm"], "use crate::swap::Slot;"),
    ];
    let table = table(&upwards(arrows(&sources), &floors));
    assert_eq!(table, format!("{ARROWS_HEAD}| `phys` | `swap` | 1 | 0 | `Slot` |\n"));
}
