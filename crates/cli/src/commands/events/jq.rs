//! jq filters over records.

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::{Context, anyhow};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use wardian_events::{visible, visible_json};

use crate::failure::Failure;

type Filter = jaq_core::Filter<data::JustLut<Val>>;

/// A filter that is compiled.
pub(super) struct Jq(Filter);

impl Jq {
    pub(super) fn compile(code: &str) -> Result<Self, Failure> {
        let definitions = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs());
        let functions = jaq_core::funs()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs());
        let arena = Arena::default();
        let refused = |why: String| {
            Failure::from(anyhow!("not a jq filter: {why}"))
                .hint("each record is an object: try '.event.kind', or see the manual of jq")
        };
        let modules = Loader::new(definitions)
            .load(&arena, File { code, path: () })
            .map_err(|errors| refused(not_read(&errors)))?;
        let filter = Compiler::default()
            .with_funs(functions)
            .compile(modules)
            .map_err(|errors| {
                let unknown = errors.iter().flat_map(|(_, errors)| errors);
                let unknown: Vec<_> = unknown
                    .map(|(name, what)| format!("there is no {} `{name}`", what.as_str()))
                    .collect();
                refused(unknown.join(", "))
            })?;
        Ok(Self(filter))
    }

    /// Writes what the filter makes of a record, a line for each result: texts as they are, made visible, and all else as
    /// JSON.
    pub(super) fn write(&self, record: &str, out: &mut impl Write) -> anyhow::Result<()> {
        let record = read::parse_single(record.as_bytes()).context("not a record")?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.0.lut, Vars::new([]));
        for result in self.0.id.run((context, record)).map(unwrap_valr) {
            let line = match result {
                Ok(Val::TStr(text)) => visible(&String::from_utf8_lossy(&text)).into_owned(),
                Ok(value) => visible_json(&value.to_string()).into_owned(),
                Err(error) => return Err(anyhow!("the jq filter failed: {error}")),
            };
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Jq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Jq").finish_non_exhaustive()
    }
}

fn not_read(errors: &load::Errors<&str, ()>) -> String {
    let mut told = String::new();
    let mut say = |expected: &str, found: &str| {
        let found = found.chars().take(20).collect::<String>();
        let found = match &found[..] {
            "" => "its end".to_owned(),
            found => format!("`{found}`"),
        };
        let comma = if told.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(told, "{comma}expected {expected} at {found}");
    };
    for (_, error) in errors {
        match error {
            load::Error::Io(paths) => paths.iter().for_each(|(path, _)| say("no module", path)),
            load::Error::Lex(errors) => errors
                .iter()
                .for_each(|(expected, found)| say(expected.as_str(), found)),
            load::Error::Parse(errors) => errors
                .iter()
                .for_each(|(expected, found)| say(expected.as_str(), found)),
        }
    }
    told
}

/// A reader that has left is told apart from a filter that failed.
pub(super) fn as_io(error: anyhow::Error) -> io::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => error,
        Err(error) => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"seq":7,"event":{"kind":"dns","question":"a\u001b[2Jb","type":"A","n":9007199254740993}}"#;

    fn run(code: &str) -> Result<String, String> {
        let jq = Jq::compile(code).map_err(|failure| format!("{failure:?}"))?;
        let mut out = Vec::new();
        jq.write(RECORD, &mut out)
            .map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn filters_select_and_shape() {
        for (code, expected) in [
            (".seq", "7\n"),
            (".event.question", "a\\x1b[2Jb\n"),
            (".event | [.question]", "[\"a\\u001b[2Jb\"]\n"),
            ("select(.event.kind == \"request\")", ""),
            (".event.n", "9007199254740993\n"),
            (".event | keys | length, .[0]", "4\nkind\n"),
            ("select(.event.question | test(\"^a\")) | .seq", "7\n"),
        ] {
            assert_eq!(run(code).as_deref(), Ok(expected), "{code}");
        }
    }

    #[test]
    fn what_is_no_filter_is_named() {
        for (code, expected) in [
            (".event.", "expected"),
            ("frobnicate", "there is no filter `frobnicate`"),
            ("$x", "there is no variable `$x`"),
            ("", "its end"),
        ] {
            let told = run(code).unwrap_err();
            assert!(told.contains(expected), "{code}: {told}");
        }
        assert!(
            run(".seq | .x")
                .unwrap_err()
                .contains("the jq filter failed")
        );
    }
}
