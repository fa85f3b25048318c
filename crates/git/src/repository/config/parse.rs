use std::path::Path;

use gix::bstr::{BStr, BString, ByteSlice};
use gix::config::parse::{EventRef, Events};
use gix::config::value::normalize;

use super::{Scope, Setting};
use crate::repository::{RepositoryError, files};

/// Settings of one file in their order, or `None` if there is no such file.
pub(super) fn file(
    path: &Path,
    scope: Scope,
    conditional: bool,
) -> Result<Option<Vec<Setting>>, RepositoryError> {
    let Some(text) = files::read(path, files::SMALL)? else {
        return Ok(None);
    };
    let settings = text_of(&text, scope, conditional);
    settings
        .map(Some)
        // Not the parser's message: it quotes the file, which an include may have named.
        .ok_or_else(|| RepositoryError::malformed(path, "git cannot read it as configuration"))
}

fn text_of(text: &[u8], scope: Scope, conditional: bool) -> Option<Vec<Setting>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let events = Events::from_bytes(text, None).ok()?;
    let mut settings = Vec::new();
    for section in events.sections() {
        let EventRef::SectionHeader {
            name,
            separator,
            subsection_name,
        } = section.header()
        else {
            continue;
        };
        let mut reader = Reader {
            settings: &mut settings,
            template: Setting {
                scope,
                conditional,
                section: lower(name),
                subsection: subsection_name.map(|name| match separator {
                    // The form `[section.subsection]` does not know upper case.
                    Some(separator) if *separator == "." => name.to_ascii_lowercase().into(),
                    _ => name.to_owned(),
                }),
                key: String::new(),
                value: None,
            },
            value: None,
        };
        section.body().for_each(|event| reader.take(event));
        reader.finish();
    }
    Some(settings)
}

struct Reader<'a> {
    settings: &'a mut Vec<Setting>,
    /// Carries the key that is being read.
    template: Setting,
    /// `None` before the equals sign.
    value: Option<BString>,
}

impl Reader<'_> {
    fn take(&mut self, event: EventRef<'_>) {
        match event {
            EventRef::SectionValueName(name) => {
                self.finish();
                self.template.key = lower(name);
            }
            EventRef::KeyValueSeparator => self.value = Some(BString::default()),
            EventRef::Value(part) | EventRef::ValueNotDone(part) | EventRef::ValueDone(part) => {
                if let Some(value) = &mut self.value {
                    value.extend_from_slice(part);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        let value = self.value.take();
        if !self.template.key.is_empty() {
            self.settings.push(Setting {
                value: value.map(|value| normalize(&value).into_owned()),
                ..self.template.clone()
            });
            self.template.key.clear();
        }
    }
}

fn lower(name: &BStr) -> String {
    name.to_str_lossy().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Option<String>)> {
        let shown = |setting: Setting| {
            let subsection = setting.subsection.map(|name| format!("{name}."));
            let key = format!(
                "{}.{}{}",
                setting.section,
                subsection.unwrap_or_default(),
                setting.key
            );
            (key, setting.value.map(|value| value.to_string()))
        };
        let settings = text_of(text.as_bytes(), Scope::User, false).unwrap();
        settings.into_iter().map(shown).collect()
    }

    #[test]
    fn values_are_those_of_git() {
        let settings = read(concat!(
            "[Core]\n\tBare\n\tautoCRLF =\n",
            "[remote \"A.b\"]\n\turl = \"a;b\" # comment\n\turl = one \\\n two\n",
            "[Old.Style] key=v\n",
        ));
        let of = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        assert_eq!(
            settings,
            [
                of("core.bare", None),
                of("core.autocrlf", Some("")),
                of("remote.A.b.url", Some("a;b")),
                of("remote.A.b.url", Some("one  two")),
                of("old.style.key", Some("v")),
            ]
        );
    }

    #[test]
    fn what_git_cannot_read_is_nothing() {
        assert!(text_of(b"[core\nkey", Scope::User, false).is_none());
        assert!(text_of(b"root:x:0:0:root:/root:/bin/bash\n", Scope::User, false).is_none());
    }
}
