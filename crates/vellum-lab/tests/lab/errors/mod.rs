//! The table of errors in `docs/ERRORS.md`: every row is provoked, and has changed nothing, or what it says.
//!
//! A row is a line in `ranges`, `accesses` or `others`: what is called, what is wrong, and the call. Then
//! `UPDATE_DOCS=1 cargo test -p vellum-lab --test lab errors` writes the page.

mod accesses;
mod others;
mod ranges;
mod source;
mod world;

use std::fmt::Write;
use vellum_lab::quiet::quietly;
use world::{Told, World, with_world};

/// A mistake in a call, and what makes it.
struct Row {
    call: &'static str,
    mistake: &'static str,
    make: Box<dyn for<'a, 'vm> Fn(&'a World<'vm>) -> Told>,
}

/// Adds mistakes of a call to a list of rows.
macro_rules! provoke {
    ($rows:ident, $call:expr, $($mistake:literal => |$w:ident| $told:expr;)*) => {
        $($rows.push(crate::errors::Row {
            call: $call,
            mistake: $mistake,
            make: Box::new(move |$w: &crate::errors::World<'_>| $told),
        });)*
    };
}
use provoke;

/// Functions that return a `Result` and have no row.
const NO_MISTAKES: [(&str, &str); 2] = [
    ("Vm::audit", "what it finds is a mistake of the core"),
    ("$name::compare_exchange", "an atomic's: what was there is no mistake"),
];

/// Errors which a function documents and which are not provoked.
const NOT_PROVOKED: [(&str, &str, &str); 1] = [(
    "Object::write_back",
    "OutOfMemory",
    "the copy comes from the reserve, which is empty only while as many CPUs write as it has frames",
)];

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    ranges::add(&mut rows);
    accesses::add(&mut rows);
    others::add(&mut rows);
    rows
}

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ERRORS.md");
const HEAD: &str = "| call | mistake | error | number |\n|---|---|---|---|\n";
const PARTS_HEAD: &str = "| call | mistake | what is done |\n|---|---|---|\n";

/// What each row comes to. Panics in the end if one does.
fn made(rows: &[Row]) -> Vec<(&Row, Told)> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for row in rows {
        match quietly(|| with_world(|world| (row.make)(world))) {
            Ok(told) => all.push((row, told)),
            Err(panic) => wrong.push(format!("{}: {}: {panic}", row.call, row.mistake)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    all
}

/// Both tables of the page.
fn tables(rows: &[(&Row, Told)]) -> (String, String) {
    let (mut all, mut parts) = (HEAD.to_string(), PARTS_HEAD.to_string());
    for (Row { call, mistake, .. }, told) in rows {
        let number = told.number.map_or("–".to_string(), |number| number.to_string());
        let _ = writeln!(all, "| `{call}` | {mistake} | `{}` | {number} |", told.error);
        if let Some(done) = told.done {
            let _ = writeln!(parts, "| `{call}` | {mistake} | {done} |");
        }
    }
    (all, parts)
}

/// The page with other tables.
fn with_tables(page: &str, tables: &(String, String)) -> String {
    let replaced = |page: &str, head: &str, table: &str| {
        let (before, rest) = page.split_once(head).expect("the page has both tables");
        let end: usize = rest.split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
        format!("{before}{table}{}", &rest[end..])
    };
    replaced(&replaced(page, HEAD, &tables.0), PARTS_HEAD, &tables.1)
}

#[test]
fn the_page_has_every_error() {
    let page = std::fs::read_to_string(PATH).expect("the page");
    let new = with_tables(&page, &tables(&made(&rows())));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PATH, &new).expect("the page can be written");
        return;
    }
    let only = |one: &str, other: &str| -> Vec<String> {
        let is_new = |line: &&str| !other.lines().any(|there| there == *line);
        one.lines().filter(is_new).map(str::to_string).collect()
    };
    let (not_there, not_so) = (only(&new, &page), only(&page, &new));
    assert!(
        page == new,
        "run this test with UPDATE_DOCS=1.\nNot on the page, or in another place: {not_there:#?}\nNot provoked: {not_so:#?}"
    );
}

/// No row stands twice, and each is of a function that there is.
#[test]
fn rows_are_of_functions() {
    let (rows, functions) = (rows(), source::functions());
    for (place, row) in rows.iter().enumerate() {
        let same = |other: &Row| (other.call, other.mistake) == (row.call, row.mistake);
        assert!(!rows[..place].iter().any(same), "twice: {}, {}", row.call, row.mistake);
        assert!(functions.contains_key(row.call), "no such function, or it cannot fail: {}", row.call);
    }
    for (call, why) in NO_MISTAKES {
        assert!(functions.contains_key(call), "no such function, or it cannot fail: {call} ({why})");
        assert!(!rows.iter().any(|row| row.call == call), "{call} has rows");
    }
}

#[test]
fn every_function_that_fails_has_a_row() {
    let (rows, functions) = (rows(), source::functions());
    assert!(functions.len() > 30, "the parser finds functions: {functions:?}");
    let has_row =
        |call: &String| rows.iter().any(|row| row.call == call) || NO_MISTAKES.iter().any(|(name, _)| name == call);
    let missing: Vec<_> = functions.keys().filter(|call| !has_row(call)).collect();
    assert!(missing.is_empty(), "public functions that may fail, without a row: {missing:#?}");
}

/// What a function's comment says of its errors is what is provoked: each error that is provoked stands there, or in a
/// comment to which it refers; and each error that stands there by itself is provoked.
#[test]
fn comments_name_the_errors() {
    let (rows, functions) = (rows(), source::functions());
    let mut wrong = Vec::new();
    let mut seen: Vec<(&str, String)> = Vec::new();
    for (Row { call, mistake, .. }, told) in made(&rows) {
        let name = told.error.split([' ', '(']).next().unwrap_or_default().to_string();
        if functions.contains_key(*call) && !source::names(&functions, call, &told.kind, &name) {
            wrong.push(format!("{call} does not name {}::{name} ({mistake})", told.kind));
        }
        seen.push((call, name));
    }
    for (call, function) in &functions {
        for name in source::own_names(function) {
            let is_seen = seen.iter().any(|(row, error)| row == call && *error == name);
            if !is_seen && !NOT_PROVOKED.iter().any(|&(row, error, _)| row == call && error == name) {
                wrong.push(format!("{call} names {name}, which nothing provokes"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
