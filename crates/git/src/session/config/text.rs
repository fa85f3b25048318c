use gix::bstr::{BStr, BString, ByteVec};

/// Text of a configuration file, see "Syntax" in git-config(1). What is put in is what git reads.
#[derive(Debug, Default)]
pub(crate) struct ConfigText {
    text: Vec<u8>,
    section: Option<(String, Option<BString>)>,
}

/// Has no place in a configuration file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unwritable;

impl ConfigText {
    /// `section` and `key` are names that git allows; the others are any bytes.
    pub(crate) fn set(
        &mut self,
        section: &str,
        subsection: Option<&BStr>,
        key: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<(), Unwritable> {
        let value = value.as_ref();
        let unwritable =
            subsection.is_some_and(|name| name.iter().any(|byte| b"\n\0".contains(byte)));
        if unwritable || value.contains(&0) {
            return Err(Unwritable);
        }
        let heading = (section.to_owned(), subsection.map(BStr::to_owned));
        if self.section.as_ref() != Some(&heading) {
            self.heading(section, subsection);
            self.section = Some(heading);
        }
        self.text.push_str("\t");
        self.text.push_str(key);
        self.text.push_str(" = \"");
        for byte in value {
            match byte {
                b'\n' => self.text.push_str("\\n"),
                b'"' | b'\\' => self.text.extend_from_slice(&[b'\\', *byte]),
                _ => self.text.push_byte(*byte),
            }
        }
        self.text.push_str("\"\n");
        Ok(())
    }

    fn heading(&mut self, section: &str, subsection: Option<&BStr>) {
        self.text.push_str("[");
        self.text.push_str(section);
        if let Some(name) = subsection {
            self.text.push_str(" \"");
            for byte in name.iter() {
                if b"\"\\".contains(byte) {
                    self.text.push_byte(b'\\');
                }
                self.text.push_byte(*byte);
            }
            self.text.push_str("\"");
        }
        self.text.push_str("]\n");
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.text
    }
}
