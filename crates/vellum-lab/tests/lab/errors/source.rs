//! The core's public functions that may fail, with what their comments say of errors, read from its source.

use std::collections::BTreeMap;
use std::path::Path;

/// What a comment says under `# Errors`; empty if it says nothing.
#[derive(Debug, Default)]
pub(super) struct Function {
    errors: String,
}

/// By names as in `Space::map`.
pub(super) type Functions = BTreeMap<String, Function>;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vellum/src");
/// Files that are compiled for tests alone.
const OF_TESTS: [&str; 4] = ["tests.rs", "testing.rs", "races.rs", "stress.rs"];

pub(super) fn functions() -> Functions {
    let mut functions = Functions::new();
    read_folder(Path::new(SOURCE), &mut functions);
    functions
}

fn read_folder(folder: &Path, functions: &mut Functions) {
    for entry in std::fs::read_dir(folder).expect("the core's source") {
        let path = entry.expect("the core's source").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "tests" && name != "loom" {
            read_folder(&path, functions);
        } else if name.ends_with(".rs") && !OF_TESTS.contains(&name) {
            read_text(&std::fs::read_to_string(&path).expect("a source"), functions);
        }
    }
}

/// Reads what stands before the tests of a file.
fn read_text(text: &str, functions: &mut Functions) {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let (mut of, mut comment) = (String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let words = line.trim_start();
        if line.starts_with('}') {
            of.clear();
        } else if words.starts_with("impl") {
            of = type_of(words);
        } else if let Some(said) = words.strip_prefix("///") {
            comment += said.trim();
            comment.push('\n');
            continue;
        } else if words.starts_with("#[") {
            continue;
        } else if let Some(name) = public_function(words) {
            let mut signature = words.to_string();
            while !signature.contains(['{', ';']) {
                signature += lines.next().expect("a signature ends");
            }
            let returned = signature.split_once("->").map_or("", |(_, returned)| returned.trim_start());
            if returned.starts_with("Result<") || returned.contains("::Result<") {
                let call = if of.is_empty() { name.to_string() } else { format!("{of}::{name}") };
                let errors = comment.split_once("# Errors\n").map_or("", |(_, errors)| errors);
                let errors = errors.split("\n# ").next().unwrap_or_default().to_string();
                functions.insert(call, Function { errors });
            }
        }
        comment.clear();
    }
}

/// The type in `impl<…> Type<…> {`.
fn type_of(line: &str) -> String {
    let mut depth = 0;
    let rest = line.trim_start_matches("impl").trim_start_matches(|c| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        depth > 0 || c == '>' || c == ' '
    });
    rest.split(['<', ' ']).next().unwrap_or_default().to_string()
}

/// The name in `pub fn name(…`.
fn public_function(line: &str) -> Option<&str> {
    let words = line.strip_prefix("pub ")?;
    let words = words.strip_prefix("const ").unwrap_or(words);
    let words = words.strip_prefix("unsafe ").unwrap_or(words);
    words.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// Whether the comment of `call` names that error, or its type as a whole, or refers to a comment that does.
pub(super) fn names(functions: &Functions, call: &str, kind: &str, name: &str) -> bool {
    fn look(functions: &Functions, call: &str, wanted: &[String], passed: &mut Vec<String>) -> bool {
        let Some(Function { errors }) = functions.get(call) else { return false };
        passed.push(call.to_string());
        if wanted.iter().any(|wanted| errors.contains(wanted)) {
            return true;
        }
        let others = functions.keys().filter(|other| errors.contains(&format!("[`{other}`]")));
        let others: Vec<_> = others.filter(|other| !passed.contains(other)).cloned().collect();
        others.iter().any(|other| look(functions, other, wanted, passed))
    }
    look(functions, call, &[format!("[`{kind}::{name}`]"), format!("[`{kind}`]")], &mut Vec::new())
}

/// The errors that the comment of a function names itself.
pub(super) fn own_names(function: &Function) -> Vec<String> {
    let parts = function.errors.split("[`").skip(1);
    let names = parts.filter_map(|part| part.split_once("`]").map(|(name, _)| name));
    names.filter_map(|name| name.strip_prefix("Error::").map(str::to_string)).collect()
}

#[test]
fn functions_are_found() {
    let text = "impl<'vm, M: Machine> Space<'vm, M> {
    /// Says something.
    ///
    /// # Errors
    /// [`Error::Invalid`], and those of [`Space::two`].
    #[inline]
    pub fn one(
        &self,
    ) -> Result<(), Error> {
        inner(|| -> Result<(), Error> {})
    }
    pub(crate) fn hidden(&self) -> Result<(), Error> {}
    pub fn none(&self) -> Option<u64> {}
    pub unsafe fn two<B: Backing + 'static>(&self) -> Result<u64, Error> {}
}

pub fn free() -> Result<(), Error> {}
";
    let mut functions = Functions::new();
    read_text(text, &mut functions);
    assert_eq!(functions.keys().collect::<Vec<_>>(), ["Space::one", "Space::two", "free"]);
    assert_eq!(own_names(&functions["Space::one"]), ["Invalid"]);
    assert!(names(&functions, "Space::one", "Error", "Invalid"));
    assert!(!names(&functions, "Space::one", "Error", "Limit") && !names(&functions, "free", "Error", "Invalid"));
}
