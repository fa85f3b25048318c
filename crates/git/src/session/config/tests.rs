use std::path::PathBuf;
use std::process::Command;

use gix::bstr::{BStr, ByteSlice};
use proptest::prelude::*;

use super::text::{ConfigText, Unwritable};
use crate::repository::Places;
use crate::repository::config::Config;

/// Bytes that have a meaning in configuration files, more often than others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = proptest::sample::select(b"\"\\\n\r\t\x08#;[]= \x00!x\xff".to_vec());
    let byte = prop_oneof![special, any::<u8>()];
    proptest::collection::vec(byte, 0..20)
}

/// What git itself reads, as (key, value) pairs.
fn read_by_git(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, text).unwrap();
    let output = Command::new("git")
        .args(["config", "--null", "--list", "--file"])
        .arg(&file)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{:?}", text.as_bstr());
    let lines = output.stdout.split(|byte| *byte == 0);
    let pairs = lines.filter(|line| !line.is_empty()).map(|line| {
        let (key, value) = line.split_once_str("\n").unwrap();
        (key.to_vec(), value.to_vec())
    });
    pairs.collect()
}

/// What we read, likewise.
fn read_by_us(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, text).unwrap();
    let places = Places {
        user: vec![PathBuf::from(&file)],
        ..Places::default()
    };
    let config = Config::of_user(&places).unwrap();
    let pairs = config.settings().iter().map(|setting| {
        let mut key = setting.section.clone().into_bytes();
        if let Some(name) = &setting.subsection {
            key.push(b'.');
            key.extend_from_slice(name);
        }
        key.push(b'.');
        key.extend_from_slice(setting.key.as_bytes());
        (key, setting.value.clone().unwrap().into())
    });
    pairs.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn git_reads_what_was_put_in(
        settings in proptest::collection::vec((proptest::option::of(bytes()), bytes()), 1..4),
    ) {
        let mut text = ConfigText::default();
        let mut expected = Vec::new();
        for (subsection, value) in settings {
            let name = subsection.as_deref().map(BStr::new);
            let writable = !value.contains(&0)
                && !subsection.iter().flatten().any(|byte| b"\n\0".contains(byte));
            let outcome = text.set("remote", name, "url", &value);
            prop_assert_eq!(outcome, if writable { Ok(()) } else { Err(Unwritable) });
            if writable {
                let key = match &subsection {
                    Some(name) => [b"remote.", name.as_slice(), b".url"].concat(),
                    None => b"remote.url".to_vec(),
                };
                expected.push((key, value));
            }
        }
        let text = text.into_bytes();
        prop_assert_eq!(read_by_git(&text), expected.clone(), "{:?}", text.as_bstr());
        prop_assert_eq!(read_by_us(&text), expected, "{:?}", text.as_bstr());
    }
}
