//! Putting the sandbox's CA certificate where programs look for roots.
//!
//! Each place gets the host's own roots and the sandbox's: connections that the door does not
//! inspect are verified against the former.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::image::hidden::Cover;
use crate::image::keystore;
use crate::image::layout::LayerDirectories;
use crate::image::nss;
use crate::image::subject::subject_hash;
use crate::parcel::{Label, Occupied, Parcel};

/// The bundle that every variable of [`CA_VARIABLES`] names; made if the host has none.
pub const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// PEM bundles of known distributions, and what reads them.
const BUNDLES: [&str; 7] = [
    BUNDLE,                                              // Debian, Arch (a link), Alpine, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
    "/etc/pki/tls/cacert.pem",                           // OpenELEC
    "/etc/ssl/ca-bundle.pem",                            // openSUSE
    "/etc/ssl/cert.pem",                                 // Alpine, OpenSSL's own default
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",  // Arch
];

/// Java trust stores of known distributions; others are found next to the JDK.
const KEYSTORES: [&str; 4] = [
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
    "/etc/pki/java/cacerts",
    "/etc/ca-certificates/extracted/java-cacerts.jks",
];

/// Where each distribution's own update tool takes extra roots from, so that running it inside keeps ours.
const ANCHORS: [&str; 3] = [
    "/usr/local/share/ca-certificates/wardian.crt",
    "/etc/pki/ca-trust/source/anchors/wardian.pem",
    "/etc/ca-certificates/trust-source/anchors/wardian.pem",
];

/// Managed policies of Chromium's family, whose own root store does not read the system's bundle.
const CHROMIUM_POLICIES: [&str; 5] = [
    "/etc/chromium/policies/managed",
    "/etc/opt/chrome/policies/managed",
    "/etc/opt/chrome_for_testing/policies/managed",
    "/etc/opt/edge/policies/managed",
    "/etc/brave/policies/managed",
];

const FIREFOX_POLICIES: &str = "/etc/firefox/policies";

/// Where OpenSSL looks a root up by [`subject_hash`].
const HASHED: &str = "/etc/ssl/certs";

/// Environment variables by which runtimes are told of a bundle. All of them name [`BUNDLE`].
pub const CA_VARIABLES: [&str; 17] = [
    "SSL_CERT_FILE",           // OpenSSL, Go, Ruby, rustls-native-certs, httpx, uv
    "NODE_EXTRA_CA_CERTS",     // Node, Bun, Electron
    "REQUESTS_CA_BUNDLE",      // Python requests
    "CURL_CA_BUNDLE",          // curl
    "GIT_SSL_CAINFO",          // git
    "PIP_CERT",                // pip
    "CARGO_HTTP_CAINFO",       // cargo
    "NPM_CONFIG_CAFILE",       // npm, pnpm
    "YARN_HTTPS_CA_FILE_PATH", // Yarn 2 and later
    "DENO_CERT",               // Deno
    "AWS_CA_BUNDLE",           // AWS tools
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", // gcloud
    "HTTPLIB2_CA_CERTS",       // httplib2
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", // gRPC C core
    "NIX_SSL_CERT_FILE",       // Nix
    "HEX_CACERTS_PATH",        // Elixir's Hex
    "CODEX_CA_CERTIFICATE",    // Codex
];

/// The certificate (PEM) for the private home, where programs inside may have changed everything: NSS' own
/// database, which is no place of a distribution's.
pub fn pack(certificate: &str, home: &Path) -> io::Result<Parcel> {
    let mut parcel = Parcel::new()?;
    let own = decode(certificate);
    let own = own.first().map(Vec::as_slice).unwrap_or_default();
    for (name, content) in nss::files(own, "Wardian sandbox").into_iter().flatten() {
        let label = Label {
            path: home.join(nss::DIRECTORY).join(name),
            mode: 0o600,
            occupied: Occupied::Replace,
        };
        parcel.add(label, &content)?;
    }
    Ok(parcel)
}

/// Writes the certificate (PEM) into the upper layers, which are made anew at each start, and returns the
/// places that a program can look at, for the record.
pub fn place(certificate: &str, layers: &LayerDirectories) -> io::Result<Vec<PathBuf>> {
    let placer = Placer {
        certificate,
        layers,
    };
    let mut roots = None;
    let mut placed = Vec::new();
    for bundle in BUNDLES {
        let bundle = Path::new(bundle);
        match fs::canonicalize(bundle) {
            Ok(real) if !placed.contains(&real) => {
                let host = fs::read_to_string(&real)?;
                placer.write(
                    &real,
                    format!("{}\n{certificate}", host.trim_end()).as_bytes(),
                )?;
                placed.push(real);
                roots.get_or_insert(host);
            }
            Ok(_) => {}
            Err(_) if bundle == Path::new(BUNDLE) => {
                placer.write(bundle, certificate.as_bytes())?;
                placed.push(bundle.to_owned());
            }
            Err(_) => {}
        }
    }
    let stores = keystores();
    if !stores.is_empty() {
        let mut certificates = decode(roots.as_deref().unwrap_or_default());
        certificates.extend(decode(certificate));
        let store = keystore::jks(&certificates);
        for path in stores {
            placer.write(&path, &store)?;
            placed.push(path);
        }
    }
    let own = decode(certificate);
    let own = own.first().map(Vec::as_slice).unwrap_or_default();
    let hashed = subject_hash(own).map(|hash| Path::new(HASHED).join(format!("{hash}.0")));
    let anchors = ANCHORS.iter().map(PathBuf::from);
    for path in anchors.chain(hashed) {
        if path.parent().is_some_and(Path::is_dir) {
            placer.write(&path, certificate.as_bytes())?;
        }
    }
    placer.browsers()?;
    Ok(placed)
}

struct Placer<'a> {
    certificate: &'a str,
    layers: &'a LayerDirectories,
}

impl Placer<'_> {
    /// `path` is absolute and free of symlinks. What lies outside the layers is left alone.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut components = path.components();
        components.next();
        let Some(layer) = components.next().and_then(|name| name.as_os_str().to_str()) else {
            return Ok(());
        };
        let upper = self.layers.upper(layer);
        if !upper.is_dir() {
            return Ok(());
        }
        let cover = Cover {
            lower: &Path::new("/").join(layer),
            upper: &upper,
        };
        cover.replace_file(components.as_path(), content, 0o644)
    }

    fn browsers(&self) -> io::Result<()> {
        let der: String = self
            .certificate
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let policy = format!("{{\"CACertificates\":[\"{der}\"]}}\n");
        for directory in CHROMIUM_POLICIES {
            let path = Path::new(directory).join("wardian.json");
            self.write(&path, policy.as_bytes())?;
        }
        // A host that manages Firefox keeps its own policies: they cannot be merged without a guess.
        let firefox = Path::new(FIREFOX_POLICIES).join("policies.json");
        if !firefox.exists() {
            let root = Path::new(FIREFOX_POLICIES).join("wardian.pem");
            let policy = format!(
                "{{\"policies\":{{\"Certificates\":{{\"Install\":[\"{}\"]}}}}}}\n",
                root.display()
            );
            self.write(&root, self.certificate.as_bytes())?;
            self.write(&firefox, policy.as_bytes())?;
        }
        Ok(())
    }
}

/// Existing Java trust stores: the distributions' and those of JDKs below `/usr/lib/jvm` and `/opt`.
fn keystores() -> Vec<PathBuf> {
    let beside_jdks = ["/usr/lib/jvm", "/opt", "/usr/java"]
        .into_iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten())
        .flat_map(|entry| {
            ["lib/security/cacerts", "jre/lib/security/cacerts"]
                .map(|below| entry.path().join(below))
        });
    let mut found: Vec<_> = KEYSTORES
        .iter()
        .map(PathBuf::from)
        .chain(beside_jdks)
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The DER bodies of a PEM bundle; what does not decode is left out.
fn decode(pem: &str) -> Vec<Vec<u8>> {
    let mut certificates = Vec::new();
    let mut body: Option<String> = None;
    for line in pem.lines().map(str::trim) {
        match line {
            "-----BEGIN CERTIFICATE-----" => body = Some(String::new()),
            "-----END CERTIFICATE-----" => {
                certificates.extend(body.take().and_then(|text| STANDARD.decode(text).ok()));
            }
            line => {
                if let Some(body) = &mut body {
                    body.push_str(line);
                }
            }
        }
    }
    certificates
}
