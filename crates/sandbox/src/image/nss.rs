//! The certificate database that NSS reads in a user's home, as `certutil -A -t C,,` fills it: for
//! Chromium, whose own root store heeds it, and for whatever else links NSS.
//!
//! Format: NSS' `lib/softoken/sdb.c` and `sftkdb.c`. An object is a row, an attribute of PKCS #11 a
//! column that is named by its number. NSS adds columns that it came to know later, and signs the
//! trust when a password is set.

use sha1::{Digest, Sha1};

use crate::image::der::SelfSigned;
use crate::image::sqlite::{Table, Value, database};

/// Below the home directory.
pub(super) const DIRECTORY: &str = ".pki/nssdb";

/// Every attribute of NSS 3.87.
const ATTRIBUTES: &str = "a0 a1 a2 a3 a10 a11 a12 a80 a81 a82 a83 a84 a85 a86 a87 a88 a89 a8a a8b \
    a90 a100 a101 a102 a103 a104 a105 a106 a107 a108 a109 a10a a10b a10c a110 a111 a120 a121 a122 \
    a123 a124 a125 a126 a127 a128 a129 a130 a131 a132 a133 a134 a160 a161 a162 a163 a164 a165 a166 \
    a170 a180 a181 a200 a201 a202 a210 a300 a301 a302 a400 a401 a402 a403 a404 a405 a406 a480 a481 \
    a482 a500 a501 a502 a503 a40000211 a40000212 a80000001 ace534351 ace534352 ace534353 ace534354 \
    ace534355 ace534356 ace534357 ace534358 ace534364 ace534365 ace534366 ace534367 ace534368 \
    ace534369 ace534373 ace534374 ace536351 ace536352 ace536353 ace536354 ace536355 ace536356 \
    ace536357 ace536358 ace536359 ace53635a ace53635b ace53635c ace53635d ace53635e ace53635f \
    ace536360 ace5363b4 ace5363b5 ad5a0db00";

// Attributes (`pkcs11t.h`, `pkcs11n.h`) as columns.
const CLASS: &str = "a0";
const TOKEN: &str = "a1";
const PRIVATE: &str = "a2";
const LABEL: &str = "a3";
const VALUE: &str = "a11";
const CERTIFICATE_TYPE: &str = "a80";
const ISSUER: &str = "a81";
const SERIAL_NUMBER: &str = "a82";
const SUBJECT: &str = "a101";
const MODIFIABLE: &str = "a170";
const TRUST_SERVER_AUTH: &str = "ace536358";
const TRUST_CLIENT_AUTH: &str = "ace536359";
const TRUST_CODE_SIGNING: &str = "ace53635a";
const TRUST_EMAIL_PROTECTION: &str = "ace53635b";
const CERT_SHA1_HASH: &str = "ace5363b4";

// Their values. Numbers are 32 bits, big endian.
const FALSE: &[u8] = &[0];
const TRUE: &[u8] = &[1];
const CERTIFICATE: &[u8] = &1u32.to_be_bytes();
const X_509: &[u8] = &0u32.to_be_bytes();
const TRUST: &[u8] = &0xce53_4353_u32.to_be_bytes();
const TRUSTED_DELEGATOR: &[u8] = &0xce53_4352_u32.to_be_bytes();
const VALID_DELEGATOR: &[u8] = &0xce53_435b_u32.to_be_bytes();
const MUST_VERIFY: &[u8] = &0xce53_4353_u32.to_be_bytes();

/// The files of a database in which the certificate (DER) named `label` is trusted for TLS servers.
/// `None` for a certificate that is no small self-signed one.
pub(super) fn files(certificate: &[u8], label: &str) -> Option<[(&'static str, Vec<u8>); 2]> {
    let names = SelfSigned::parse(certificate)?;
    let hash = Sha1::digest(certificate);
    let common = [
        (TOKEN, TRUE),
        (PRIVATE, FALSE),
        (MODIFIABLE, TRUE),
        (ISSUER, names.subject),
        (SERIAL_NUMBER, names.serial),
    ];
    let public = [
        row(
            1,
            &common,
            &[
                (CLASS, CERTIFICATE),
                (CERTIFICATE_TYPE, X_509),
                (LABEL, label.as_bytes()),
                (SUBJECT, names.subject),
                (VALUE, certificate),
            ],
        ),
        row(
            2,
            &common,
            &[
                (CLASS, TRUST),
                (TRUST_SERVER_AUTH, TRUSTED_DELEGATOR),
                (TRUST_CLIENT_AUTH, VALID_DELEGATOR),
                (TRUST_CODE_SIGNING, MUST_VERIFY),
                (TRUST_EMAIL_PROTECTION, MUST_VERIFY),
                (CERT_SHA1_HASH, &hash),
            ],
        ),
    ];
    let meta = "CREATE TABLE metaData (id PRIMARY KEY UNIQUE ON CONFLICT REPLACE, item1, item2)";
    Some([
        (
            "cert9.db",
            database(&[objects("nssPublic", public.to_vec())])?,
        ),
        // Without a key database NSS does not open the other one for reading.
        (
            "key4.db",
            database(&[
                objects("nssPrivate", Vec::new()),
                Table {
                    name: "metaData",
                    sql: meta.to_owned(),
                    rows: Vec::new(),
                },
            ])?,
        ),
    ])
}

fn objects<'a>(name: &'a str, rows: Vec<Vec<Value<'a>>>) -> Table<'a> {
    let columns: Vec<_> = ATTRIBUTES.split(' ').collect();
    let columns = columns.join(", ");
    Table {
        name,
        sql: format!("CREATE TABLE {name} (id PRIMARY KEY UNIQUE ON CONFLICT ABORT, {columns})"),
        rows,
    }
}

fn row<'a>(id: u8, common: &[(&str, &'a [u8])], own: &[(&str, &'a [u8])]) -> Vec<Value<'a>> {
    let value = |attribute: &str| {
        let mut all = common.iter().chain(own);
        all.find(|(name, _)| *name == attribute)
            .map_or(Value::Null, |(_, value)| Value::Blob(value))
    };
    std::iter::once(Value::Integer(id))
        .chain(ATTRIBUTES.split(' ').map(value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    fn tool(directory: &Path, program: &str, words: &[&str]) -> Result<String, String> {
        let output = Command::new(program)
            .args(words)
            .current_dir(directory)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(format!("{output:?}"))
        }
    }

    /// A database of ours in `ours`, and a certificate in `leaf.pem` that its authority signed.
    fn prepare() -> tempfile::TempDir {
        let base = tempfile::tempdir().unwrap();
        let script = "set -e
            new='req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
            openssl $new -x509 -subj '/CN=Wardian sandbox Ünder' -utf8 -days 2 -keyout ca.key -out ca.pem
            openssl x509 -in ca.pem -outform DER -out ca.der
            openssl $new -subj /CN=origin.test -keyout leaf.key -out leaf.csr
            openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -days 1 -out leaf.pem
            mkdir ours";
        tool(base.path(), "/bin/sh", &["-c", script]).unwrap();
        let certificate = fs::read(base.path().join("ca.der")).unwrap();
        for (name, content) in files(&certificate, "Wardian sandbox").unwrap() {
            fs::write(base.path().join("ours").join(name), content).unwrap();
        }
        base
    }

    #[test]
    fn holds_what_certutil_would_write() {
        let base = prepare();
        let path = base.path();
        let script = "mkdir theirs; certutil -N -d sql:theirs --empty-password
            certutil -A -d sql:theirs -n 'Wardian sandbox' -t C,, -i ca.pem";
        tool(path, "/bin/sh", &["-c", script]).unwrap();
        let program = "import sqlite3, sys
for file in ('cert9.db', 'key4.db'):
    c = sqlite3.connect(f'{sys.argv[1]}/{file}')
    assert c.execute('pragma integrity_check').fetchall() == [('ok',)]
    for name, sql in c.execute(\"select name, sql from sqlite_master where type = 'table'\").fetchall():
        print(name, sql)
        if name == 'nssPublic':
            c.row_factory = sqlite3.Row
            for row in c.execute('select * from nssPublic order by id'):
                # Each draws its own id. Hints to find a key by, the old trust for step-up and MD5 are not ours.
                print({k: row[k] for k in row.keys() if row[k] not in (None, b'\\xa5\\0Z')
                    and k not in ('id', 'a102', 'ace536360', 'ace5363b5')})";
        let dump = |which| tool(path, "/usr/bin/python3", &["-c", program, which]).unwrap();
        assert_eq!(dump("ours"), dump("theirs"));
    }

    #[test]
    fn nss_verifies_a_servers_certificate_by_it() {
        let base = prepare();
        let path = base.path();
        let certutil = |words: &[&str]| tool(path, "certutil", words);
        let listed = certutil(&["-L", "-d", "sql:ours"]).unwrap();
        assert!(
            listed
                .lines()
                .any(|line| line.split_whitespace().eq(["Wardian", "sandbox", "C,,"])),
            "{listed}"
        );
        certutil(&[
            "-A", "-d", "sql:ours", "-n", "leaf", "-t", ",,", "-i", "leaf.pem",
        ])
        .unwrap();
        let verify = ["-V", "-u", "V", "-n", "leaf", "-d", "sql:ours"];
        certutil(&verify).unwrap();

        // Setting a password signs what is trusted; it is still trusted then.
        fs::write(path.join("password"), "secret\n").unwrap();
        let words = [
            "-force",
            "-dbdir",
            "sql:ours",
            "-changepw",
            "NSS Certificate DB",
            "-newpwfile",
            "password",
        ];
        tool(path, "modutil", &words).unwrap();
        certutil(&verify).unwrap();

        // The control: without that trust it is not.
        certutil(&[
            "-M",
            "-d",
            "sql:ours",
            "-n",
            "Wardian sandbox",
            "-t",
            ",,",
            "-f",
            "password",
        ])
        .unwrap();
        certutil(&verify).unwrap_err();
    }
}
