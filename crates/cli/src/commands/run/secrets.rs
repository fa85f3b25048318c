//! Reading credentials where the user has them: variables, files, commands.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use wardian_policy::{CredentialSource, CredentialSpec, PlaceholderShape, Presence};
use wardian_supervisor::protocol::Secret;
use zeroize::Zeroizing;

/// A credential longer than this is a mistake in the source.
const MAX_LENGTH: usize = 64 << 10;

/// The values of all credentials that have one. A missing optional credential is left out.
pub(super) fn read<'a>(
    specs: impl Iterator<Item = &'a CredentialSpec>,
    home: &Path,
) -> anyhow::Result<Vec<Secret>> {
    let mut secrets = Vec::new();
    for spec in specs {
        let name = spec.name();
        let value = value(spec.source(), home)
            .with_context(|| format!("cannot read the credential `{name}`"))?;
        match (value, spec.presence()) {
            (Some(value), _) => secrets.push(Secret {
                name: name.as_str().to_owned(),
                placeholder: placeholder(spec.placeholder()),
                value: value.as_str().to_owned(),
            }),
            (None, Presence::Optional) => {}
            (None, Presence::Required) => bail!(
                "the credential `{name}` has no value: {}",
                why_empty(spec.source())
            ),
        }
    }
    Ok(secrets)
}

/// For a source that gave nothing.
fn why_empty(source: &CredentialSource) -> String {
    match source {
        CredentialSource::Env(names) => {
            format!("{} is not set, or empty", names.join(" or "))
        }
        CredentialSource::File(path) => format!("{path} is empty or does not exist"),
        CredentialSource::Command(_) => "its command printed nothing".to_owned(),
    }
}

fn value(source: &CredentialSource, home: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    let text = match source {
        CredentialSource::Env(names) => names
            .iter()
            .filter_map(std::env::var_os)
            .find(|value| !value.is_empty())
            .map(|value| {
                value
                    .into_string()
                    .map(Zeroizing::new)
                    .map_err(|_| anyhow!("the variable is not UTF-8"))
            })
            .transpose()?,
        CredentialSource::File(path) => from_file(&expand(path, home))?,
        CredentialSource::Command(argv) => Some(from_command(argv)?),
    };
    let Some(text) = text else {
        return Ok(None);
    };
    let trimmed = text.trim_end_matches(['\r', '\n']);
    if trimmed.len() > MAX_LENGTH {
        bail!("the value is longer than {MAX_LENGTH} bytes");
    }
    if trimmed.chars().any(char::is_control) {
        bail!(
            "the value holds a line break or another control character, which no header can carry"
        );
    }
    Ok((!trimmed.is_empty()).then(|| Zeroizing::new(trimmed.to_owned())))
}

pub(super) fn expand(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(below) => home.join(below),
        None => PathBuf::from(path),
    }
}

fn from_file(path: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn from_command(argv: &[String]) -> anyhow::Result<Zeroizing<String>> {
    let [program, arguments @ ..] = argv else {
        bail!("the command is empty");
    };
    // Its messages and questions are for the person at the terminal.
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {program:?}"))?;
    let text = Zeroizing::new(output.stdout);
    if !output.status.success() {
        bail!("{program:?} failed: {}", output.status);
    }
    let text =
        std::str::from_utf8(&text).map_err(|_| anyhow!("what {program:?} printed is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn placeholder(shape: &PlaceholderShape) -> String {
    let mut random = [0u8; PlaceholderShape::RANDOM];
    getrandom::fill(&mut random).expect("the kernel's random source answers once it is seeded");
    shape.render(&random)
}
