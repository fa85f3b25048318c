//! Credentials from the wire types.

use super::convert::{Located, at, refuse_empty};
use super::decode::Spanned;
use super::wire::{CredentialTable, ForeignWord, InjectEntry, InjectTable, OneOrMany, SourceTable};
use super::{ManifestError, Source};
use crate::credential::{
    CredentialName, CredentialSource, CredentialSpec, ForeignLogins, Injection, PlaceholderShape,
    Presence, parse_host,
};
use crate::environment::EnvName;
use crate::rule::Origin;

pub(super) fn credential_name(
    source: &Source<'_>,
    name: &Spanned<String>,
) -> Result<CredentialName, ManifestError> {
    CredentialName::new(&name.value).ok_or_else(|| {
        source.place(name.span.start).error(format_args!(
            "`{}` is no name of a credential: lower-case letters, digits, `-` and `_`",
            name.value.escape_debug()
        ))
    })
}

pub(super) fn credential(
    source: &Source<'_>,
    name: &Spanned<String>,
    table: Spanned<CredentialTable>,
    origin: &Origin,
) -> Result<Located<CredentialSpec>, ManifestError> {
    let place = source.place(name.span.start);
    let name = credential_name(source, name)?;
    let CredentialTable {
        source: origin_of_secret,
        hosts,
        inject,
        placeholder,
        optional,
        foreign,
    } = table.value;
    refuse_empty(source, &hosts, "hosts")?;
    let hosts = hosts
        .value
        .iter()
        .map(|host| at(source, host, parse_host(&host.value)))
        .collect::<Result<_, _>>()?;
    let injection = match inject {
        None => Injection::Placeholder,
        Some(inject) => injection(source, &inject)?,
    };
    let placeholder = match placeholder {
        None => PlaceholderShape::for_name(&name),
        Some(shape) => at(source, &shape, PlaceholderShape::parse(&shape.value))?,
    };
    Ok(Located {
        value: CredentialSpec {
            source: secret_source(source, origin_of_secret)?,
            hosts,
            injection,
            placeholder,
            presence: match optional {
                true => Presence::Optional,
                false => Presence::Required,
            },
            foreign: match foreign {
                ForeignWord::Deny => ForeignLogins::Refused,
                ForeignWord::Allow => ForeignLogins::Allowed,
            },
            origin: origin.clone(),
            name,
        },
        place,
    })
}

fn secret_source(
    source: &Source<'_>,
    table: Spanned<SourceTable>,
) -> Result<CredentialSource, ManifestError> {
    let SourceTable {
        env,
        file,
        command,
        login,
    } = table.value;
    let refused = |message: &str| Err(source.place(table.span.start).error(message));
    match (env, file, command, login) {
        (Some(OneOrMany(names)), None, None, None) => {
            if names.is_empty() {
                return refused("`env` names at least one variable");
            }
            for name in &names {
                if EnvName::new(&name.value).is_none() {
                    return Err(source
                        .place(name.span.start)
                        .error("this is no name of an environment variable"));
                }
            }
            Ok(CredentialSource::Env(
                names.into_iter().map(|name| name.value).collect(),
            ))
        }
        (None, Some(path), None, None) => {
            let placed = path.value.starts_with('/') || path.value.starts_with("~/");
            if !placed || path.value.contains('\0') {
                return refused("`file` is a path that begins with `/` or `~/`");
            }
            Ok(CredentialSource::File(path.value))
        }
        (None, None, Some(words), None) => {
            let words: Vec<String> = words.value.into_iter().map(|word| word.value).collect();
            let program = words.first().is_some_and(|program| !program.is_empty());
            if !program || words.iter().any(|word| word.contains('\0')) {
                return refused("`command` is a program and its arguments");
            }
            Ok(CredentialSource::Command(words))
        }
        (None, None, None, Some(preset)) => Ok(CredentialSource::Login(preset.value)),
        _ => refused("a source is exactly one of `env`, `file`, `command` and `login`"),
    }
}

fn injection(
    source: &Source<'_>,
    inject: &Spanned<InjectEntry>,
) -> Result<Injection, ManifestError> {
    let refused = |message: &str| Err(source.place(inject.span.start).error(message));
    match &inject.value {
        InjectEntry::Word(word) if word == "placeholder" => Ok(Injection::Placeholder),
        InjectEntry::Word(_) => refused("the only word here is \"placeholder\""),
        InjectEntry::Table(InjectTable {
            header: Some(header),
            format,
            basic: None,
        }) => {
            let format = format.as_ref().map_or("{}", |format| &format.value);
            at(source, header, Injection::header(&header.value, format))
        }
        InjectEntry::Table(InjectTable {
            header: None,
            format: None,
            basic: Some(username),
        }) => at(source, username, Injection::basic(&username.value)),
        InjectEntry::Table(_) => {
            refused("this should be { header, format }, { basic } or \"placeholder\"")
        }
    }
}
